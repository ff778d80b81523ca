"""What clients need in their own files to pull through this server, and to push to it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from urllib.parse import urlsplit

from registry.auth.addresses import is_loopback
from registry.upstream.settings import HUB


@dataclass(frozen=True, slots=True)
class Place:
    """Where clients find the server: a URL without a path; the registries that it fetches from."""

    url: str
    upstreams: tuple[str, ...]

    @property
    def host(self) -> str:
        """HOST:PORT, as it stands in image names."""
        return urlsplit(self.url).netloc

    @property
    def is_plain(self) -> bool:
        return self.url.startswith("http:")

    @property
    def is_loopback(self) -> bool:
        return is_loopback(urlsplit(self.url).hostname or "")


@dataclass(frozen=True, slots=True)
class File:
    """`form` is json, toml, yaml or sh."""

    path: str
    form: str
    text: str


@dataclass(frozen=True, slots=True)
class Snippet:
    """`after` says what has to be done for it to count. `inside`: what reads it has a network of its own."""

    write: Callable[[Place], Sequence[File]]
    after: str
    inside: bool = False
    only: str = ""  # the one upstream that it can be for


_COMMENT = {"toml": "# ", "yaml": "# ", "sh": "# "}  # JSON has none


def shown(files: Sequence[File]) -> str:
    """All of them, each below its path."""
    return "\n".join(f"{_comment(file)}{file.text}" for file in files)


def _comment(file: File) -> str:
    return f"{_COMMENT[file.form]}{file.path}\n" if file.form in _COMMENT else ""


def _docker(place: Place) -> Sequence[File]:
    value: dict[str, list[str]] = {"registry-mirrors": [place.url]}
    if place.is_plain and not place.is_loopback:
        value["insecure-registries"] = [place.host]
    return [File("/etc/docker/daemon.json", "json", f"{json.dumps(value, indent=2)}\n")]


_HOSTS = Template("""\
# Where it does not answer, containerd goes on to $name itself.
[host."$url"]
  capabilities = ["pull", "resolve"]
""")
_OWN_HOSTS = Template("""\
[host."$url"]
  capabilities = ["pull", "resolve", "push"]
""")


def _hosts(place: Place) -> Mapping[str, str]:
    """hosts.toml by the name of its folder."""
    files = {name: _HOSTS.substitute(name=name, url=place.url) for name in place.upstreams}
    return files | ({place.host: _OWN_HOSTS.substitute(url=place.url)} if place.is_plain else {})


def _containerd(place: Place) -> Sequence[File]:
    return [
        File(f"/etc/containerd/certs.d/{name}/hosts.toml", "toml", text)
        for name, text in _hosts(place).items()
    ]


_PODMAN = Template("""\
[[registry]]
location = "$name"

[[registry.mirror]]
location = "$host/$name"
insecure = $insecure
""")
_PODMAN_OWN = Template("""\
[[registry]]
location = "$host"
insecure = true
""")


def _podman(place: Place) -> Sequence[File]:
    insecure = "true" if place.is_plain else "false"
    parts = [_PODMAN.substitute(name=name, host=place.host, insecure=insecure) for name in place.upstreams]
    own = [_PODMAN_OWN.substitute(host=place.host)] if place.is_plain else []
    return [File("/etc/containers/registries.conf.d/cache.conf", "toml", "\n".join([*parts, *own]))]


_BUILDKIT = Template("""\
[registry."$name"]
  mirrors = ["$host"]
""")
_BUILDKIT_OWN = Template("""\
[registry."$host"]
  http = true
""")


def _buildkitd(place: Place) -> str:
    parts = [_BUILDKIT.substitute(name=name, host=place.host) for name in place.upstreams]
    own = [_BUILDKIT_OWN.substitute(host=place.host)] if place.is_plain else []
    return "\n".join([*parts, *own])


def _buildkit(place: Place) -> Sequence[File]:
    return [File("/etc/buildkit/buildkitd.toml", "toml", _buildkitd(place))]


_KIND = Template("""\
# The nodes of a cluster: sh kind-cache.sh [CLUSTER]. Again after a node was added.
# kind before 0.27 also needs, when the cluster is made, in its configuration:
#   containerdConfigPatches:
#     - |-
#       [plugins."io.containerd.grpc.v1.cri".registry]
#         config_path = "/etc/containerd/certs.d"
set -eu
for node in $$(kind get nodes --name "$${1:-kind}"); do
$files
done
""")
_KIND_FILE = Template("""\
  docker exec "$$node" mkdir -p '$folder'
  docker exec -i "$$node" cp /dev/stdin '$folder/hosts.toml' <<'END'
${text}END""")


def _kind(place: Place) -> Sequence[File]:
    files = [
        _KIND_FILE.substitute(folder=f"/etc/containerd/certs.d/{name}", text=text)
        for name, text in _hosts(place).items()
    ]
    return [File("kind-cache.sh", "sh", _KIND.substitute(files="\n".join(files)))]


def _k3d(place: Place) -> Sequence[File]:
    names = [*place.upstreams, *([place.host] if place.is_plain else [])]
    lines = [f'  "{name}":\n    endpoint:\n      - "{place.url}"\n' for name in names]
    return [File("registries.yaml", "yaml", f"mirrors:\n{''.join(lines)}")]


_ACTIONS = Template("""\
# A repository with capitals in its name needs another name below $host.
# With access control on, docker/login-action before the build: registry: $host.
name: image
on: push
jobs:
  image:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: docker/setup-buildx-action@v3
        with:
          driver-opts: network=host
          buildkitd-config-inline: |
$buildkitd
      - uses: docker/build-push-action@v6
        with:
          push: true
          tags: $host/$${{ github.repository }}:$${{ github.sha }}
          cache-from: type=registry,ref=$host/$${{ github.repository }}/cache:main
          cache-to: type=registry,ref=$host/$${{ github.repository }}/cache:main,mode=max
""")
_GITLAB = Template("""\
# With access control on, before the build: docker login $host
build:
  image: docker:28
  services:
    - docker:28-dind
  script:
    - |
      cat > buildkitd.toml <<'END'
$buildkitd
      END
    - docker buildx create --use --driver-opt network=host --buildkitd-config buildkitd.toml
    - >-
      docker buildx build --push
      --tag "$host/$$CI_PROJECT_PATH:$$CI_COMMIT_SHA"
      --cache-from "type=registry,ref=$host/$$CI_PROJECT_PATH/cache:main"
      --cache-to "type=registry,ref=$host/$$CI_PROJECT_PATH/cache:main,mode=max"
      .
""")


def _indented(text: str, width: int) -> str:
    return "\n".join(f"{' ' * width}{line}" if line else "" for line in text.rstrip("\n").split("\n"))


def _actions(place: Place) -> Sequence[File]:
    text = _ACTIONS.substitute(host=place.host, buildkitd=_indented(_buildkitd(place), 12))
    return [File(".github/workflows/image.yml", "yaml", text)]


def _gitlab(place: Place) -> Sequence[File]:
    text = _GITLAB.substitute(host=place.host, buildkitd=_indented(_buildkitd(place), 6))
    return [File(".gitlab-ci.yml", "yaml", text)]


SNIPPETS: Mapping[str, Snippet] = {
    "docker-mirror": Snippet(
        _docker,
        "put it into /etc/docker/daemon.json, then: systemctl restart docker. It is for Docker Hub alone, "
        "which has to be the default upstream of the server",
        only=HUB,
    ),
    "containerd": Snippet(
        _containerd,
        'nothing has to be restarted; a kubelet\'s containerd needs config_path = "/etc/containerd/certs.d" '
        "in its config.toml, and ctr --hosts-dir /etc/containerd/certs.d",
    ),
    "podman": Snippet(_podman, "podman, buildah, skopeo and CRI-O read it at their next call"),
    "buildkit": Snippet(
        _buildkit,
        "restart buildkitd; for a builder of buildx: docker buildx create --driver-opt network=host "
        "--buildkitd-config FILE",
    ),
    "kind": Snippet(_kind, "run it with sh when the cluster is up", inside=True),
    "k3d": Snippet(_k3d, "k3d cluster create --registry-config registries.yaml", inside=True),
    "github-actions": Snippet(_actions, "commit it", inside=True),
    "gitlab": Snippet(_gitlab, "commit it; the runner has to allow privileged containers", inside=True),
}
