"""Container engines that pull through a cache, set up by what `registry snippet` prints for them.

What they do past the cache ends at a port where nobody listens: no test leaves this machine.
"""

import base64
import contextlib
import json
import shutil
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from registry.cli.snippets import SNIPPETS, Place
from tests.e2e import daemons
from tests.e2e.clients import Client
from tests.e2e.images import TAG, Layout, read_layout
from tests.e2e.logins import Told, config_of
from tests.e2e.serving import Server
from tests.e2e.test_containerd import forget
from tests.e2e.upstreams import DEBIAN, HUB

NOWHERE = "http://127.0.0.1:1"
OUTSIDE = {"HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1"}
ALL = (HUB, DEBIAN)


def kept_in(client: Client) -> Client:
    """What it does outside this machine fails at once."""
    return client.within(**OUTSIDE)


def snippet(name: str, host: str, *upstreams: str) -> dict[str, str]:
    """Path → text."""
    place = Place(f"http://{host}", upstreams or ALL)
    return {file.path: file.text for file in SNIPPETS[name].write(place)}


class Engine(ABC):
    """`upstreams` are those that it can pull from through a cache."""

    upstreams: ClassVar[tuple[str, ...]] = ALL

    def __init__(self, client: Client, cache: Server, folder: Path) -> None:
        self.client, self.cache, self.folder = kept_in(client).at(folder), cache, folder

    @abstractmethod
    def pull(self, upstream: str, repository: str, tag: str = TAG) -> Told:
        """Nothing of any image is at hand before."""

    @abstractmethod
    def image(self, source: Layout) -> frozenset[str]:
        """The digests that it knows an image by."""

    @abstractmethod
    def pulled(self) -> frozenset[str]: ...

    @abstractmethod
    def forget(self) -> None: ...

    def log_in(self, user: str, password: str) -> None:
        """To the cache, by the file that a login leaves."""
        secret = base64.b64encode(f"{user}:{password}".encode()).decode()
        file = self.folder / "config.json"
        file.write_text(json.dumps({"auths": {self.cache.host: {"auth": secret}}}))
        self.client = self.client.within(DOCKER_CONFIG=str(self.folder), REGISTRY_AUTH_FILE=str(file))

    def run(self, *arguments: str | Path) -> Told:
        done = self.client.attempt(*arguments)
        return Told(done.returncode, (done.stdout + done.stderr).decode(errors="replace"))


class Folders(Engine):
    """Clients that copy images into a folder."""

    def image(self, source: Layout) -> frozenset[str]:
        return frozenset(source.blobs)

    def pulled(self) -> frozenset[str]:
        return frozenset(read_layout(self.there)[1])

    def forget(self) -> None:
        shutil.rmtree(self.there, ignore_errors=True)

    @property
    def there(self) -> Path:
        return self.folder / "there"


class Crane(Folders):
    """By path, as people type it."""

    def pull(self, upstream: str, repository: str, tag: str = TAG) -> Told:
        self.forget()
        name = f"{self.cache.host}/{upstream}/{repository}:{tag}"
        return self.run("pull", "--format=oci", name, self.there)


class Oras(Folders):
    def pull(self, upstream: str, repository: str, tag: str = TAG) -> Told:
        self.forget()
        name = f"{self.cache.host}/{upstream}/{repository}:{tag}"
        return self.run("cp", "--from-plain-http", "--to-oci-layout", name, f"{self.there}:{TAG}")


class Skopeo(Folders):
    def pull(self, upstream: str, repository: str, tag: str = TAG) -> Told:
        self.forget()
        mirrors = f"--registries-conf={write_mirrors(self.cache, self.folder)}"
        return self.run(mirrors, "copy", f"docker://{upstream}/{repository}:{tag}", f"oci:{self.there}:{TAG}")


class Podman(Engine):
    """podman, and buildah with the same verbs."""

    def __init__(self, client: Client, cache: Server, folder: Path) -> None:
        mirrors = str(write_mirrors(cache, folder))
        super().__init__(client.within(CONTAINERS_REGISTRIES_CONF=mirrors), cache, folder)

    def pull(self, upstream: str, repository: str, tag: str = TAG) -> Told:
        self.forget()
        return self.run("pull", f"{upstream}/{repository}:{tag}")

    def image(self, source: Layout) -> frozenset[str]:
        return frozenset([config_of(source)])

    def pulled(self) -> frozenset[str]:
        return frozenset(self.client("images", "--no-trunc", "--quiet").split())

    def forget(self) -> None:
        self.client("rmi", "--all", "--force")


def write_mirrors(cache: Server, folder: Path) -> Path:
    (text,) = snippet("podman", cache.host).values()
    path = folder / "registries.conf"
    path.write_text(text)
    return path


class Ctr(Engine):
    def __init__(self, client: Client, cache: Server, folder: Path) -> None:
        super().__init__(client, cache, folder)
        self.hosts = folder / "certs.d"
        for path, text in snippet("containerd", cache.host).items():
            name = Path(path).parent.name
            (self.hosts / name).mkdir(parents=True)
            (self.hosts / name / "hosts.toml").write_text(text)
        self._login: tuple[str, ...] = ()

    def log_in(self, user: str, password: str) -> None:
        self._login = ("--user", f"{user}:{password}")

    def pull(self, upstream: str, repository: str, tag: str = TAG) -> Told:
        self.forget()
        name = f"{upstream}/{'' if '/' in repository else 'library/'}{repository}:{tag}"
        flags = (f"--hosts-dir={self.hosts}", "--all-platforms", *self._login)
        return self.run("images", "pull", *flags, name)

    def image(self, source: Layout) -> frozenset[str]:
        return frozenset(source.blobs)

    def pulled(self) -> frozenset[str]:
        return frozenset(self.client("content", "list", "--quiet").split())

    def forget(self) -> None:
        forget(self.client)


class Docker(Engine):
    upstreams: ClassVar[tuple[str, ...]] = (HUB,)

    def pull(self, upstream: str, repository: str, tag: str = TAG) -> Told:
        assert upstream == HUB
        self.forget()
        return self.run("pull", f"{repository}:{tag}")

    def image(self, source: Layout) -> frozenset[str]:
        return frozenset([config_of(source)])

    def pulled(self) -> frozenset[str]:
        return frozenset(self.client("image", "ls", "--no-trunc", "--quiet").split())

    def forget(self) -> None:
        self.client("image", "prune", "--all", "--force")


class DockerBuild(Docker):
    """The BuildKit inside the Docker Engine: what is pulled is the base of a build."""

    def pull(self, upstream: str, repository: str, tag: str = TAG) -> Told:
        self.forget()
        (self.folder / "Dockerfile").write_text(f"FROM {repository}:{tag}\nCOPY Dockerfile /\n")
        done = self.client.within(DOCKER_BUILDKIT="1").attempt("build", "--tag=built", self.folder)
        return Told(done.returncode, (done.stdout + done.stderr).decode(errors="replace"))

    def image(self, source: Layout) -> frozenset[str]:
        config = json.loads(source.blobs[config_of(source)])
        return frozenset(config["rootfs"]["diff_ids"])

    def pulled(self) -> frozenset[str]:
        """The layers of what was built, without its own."""
        told = self.client("image", "inspect", "--format={{json .RootFS.Layers}}", "built")
        return frozenset(json.loads(told)[:-1])

    def forget(self) -> None:
        super().forget()
        self.client("builder", "prune", "--all", "--force")


@contextlib.contextmanager
def dockerd(program: Client, cache: Server, folder: Path) -> Iterator[str]:
    (text,) = snippet("docker-mirror", cache.host).values()
    settings = folder.with_suffix(".json")
    settings.write_text(text)
    with daemons.docker_engine(kept_in(program), folder, "--config-file", str(settings)) as address:
        yield address


class BuildKit(Engine):
    """What is pulled is the base of a build."""

    def pull(self, upstream: str, repository: str, tag: str = TAG) -> Told:
        self.forget()
        context = self.folder / "context"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(f"FROM {upstream}/{repository}:{tag}\nCOPY Dockerfile /\n")
        places = [flag for kind in ("context", "dockerfile") for flag in ("--local", f"{kind}={context}")]
        output = ("--output", f"type=oci,dest={self.there}")
        return self.run("build", "--progress=plain", "--frontend=dockerfile.v0", *places, *output)

    def image(self, source: Layout) -> frozenset[str]:
        manifest = json.loads(source.blobs[source.digest])
        return frozenset(layer["digest"] for layer in manifest["layers"])

    def pulled(self) -> frozenset[str]:
        """The layers of what was built, without its own."""
        with tarfile.open(self.there) as archive:

            def read(name: str) -> dict[str, list[dict[str, str]]]:
                member = archive.extractfile(name)
                assert member
                found: dict[str, list[dict[str, str]]] = json.load(member)
                return found

            (built,) = read("index.json")["manifests"]
            layers = read(f"blobs/{built['digest'].replace(':', '/')}")["layers"]
        return frozenset(layer["digest"] for layer in layers[:-1])

    def forget(self) -> None:
        self.there.unlink(missing_ok=True)
        self.client("prune", "--all")

    @property
    def there(self) -> Path:
        return self.folder / "built.tar"
