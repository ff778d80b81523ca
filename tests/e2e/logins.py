"""Clients that log in, push and pull: each with a home of its own, and one new image at hand."""

import gzip
import json
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from oras.client import OrasClient

from tests.e2e.clients import Client, closed_environment
from tests.e2e.images import TAG, Layout, make_layout, read_layout, sha256, tar
from tests.e2e.serving import Server
from tests.e2e.test_containerd import forget, load


@dataclass(frozen=True, slots=True)
class Told:
    code: int
    text: str  # all that the client printed

    @property
    def ok(self) -> bool:
        return self.code == 0


class Pusher(ABC):
    """One client. What it pulls becomes the image at hand, where the client has a store of its own."""

    asks: ClassVar[bool] = True  # whether its login asks the registry
    mounts: ClassVar[bool] = True  # whether it mounts what another repository has

    def __init__(self, client: Client, server: Server, folder: Path) -> None:
        home = folder / "home"
        self.client = client.within(**closed_environment(home)).at(folder)
        self.server, self.folder, self.home = server, folder, home
        self.source = make_layout(folder / "source", layers=1)

    @property
    def host(self) -> str:
        return self.server.host

    def name(self, repository: str) -> str:
        return f"{self.host}/{repository}:{TAG}"

    def run(self, *arguments: str | Path, stdin: bytes = b"") -> Told:
        done = self.client.attempt(*arguments, stdin=stdin)
        return Told(done.returncode, (done.stdout + done.stderr).decode(errors="replace"))

    @abstractmethod
    def login(self, user: str, password: str) -> Told: ...

    @abstractmethod
    def logout(self) -> Told: ...

    @abstractmethod
    def push(self, repository: str) -> Told:
        """The image at hand."""

    @abstractmethod
    def pull(self, repository: str) -> Told:
        """Nothing of the image is at hand before."""

    @property
    def image(self) -> frozenset[str]:
        """Digests of what was at hand in the beginning: those that `pulled` compares."""
        return frozenset(self.source.blobs)

    @abstractmethod
    def pulled(self) -> frozenset[str]: ...

    def copy(self, source: str, target: str) -> Told:
        told = self.pull(source)
        return self.push(target) if told.ok else told

    @abstractmethod
    def put_away(self) -> None:
        """What was pulled, and all that a store shared with other tests would keep."""


class Folders(Pusher):
    """Clients that keep no images: they copy from a folder and into another."""

    def pulled(self) -> frozenset[str]:
        return frozenset(read_layout(self._there)[1])

    @property
    def _there(self) -> Path:
        return self.folder / "there"

    def put_away(self) -> None:
        shutil.rmtree(self._there, ignore_errors=True)

    def _fresh(self) -> Path:
        self.put_away()
        return self._there


class Skopeo(Folders):
    def login(self, user: str, password: str) -> Told:
        flags = ("--tls-verify=false", f"--username={user}", "--password-stdin")
        return self.run("login", *flags, self.host, stdin=password.encode())

    def logout(self) -> Told:
        return self.run("logout", self.host)

    def push(self, repository: str) -> Told:
        source = f"oci:{self.source.path}:{TAG}"
        return self.run("copy", "--dest-tls-verify=false", source, f"docker://{self.name(repository)}")

    def pull(self, repository: str) -> Told:
        target = f"oci:{self._fresh()}:{TAG}"
        return self.run("copy", "--src-tls-verify=false", f"docker://{self.name(repository)}", target)

    def copy(self, source: str, target: str) -> Told:
        names = [f"docker://{self.name(repository)}" for repository in (source, target)]
        return self.run("copy", "--src-tls-verify=false", "--dest-tls-verify=false", *names)


class Crane(Folders):
    asks = False

    def login(self, user: str, password: str) -> Told:
        flags = ("--username", user, "--password-stdin")
        return self.run("auth", "login", self.host, *flags, stdin=password.encode())

    def logout(self) -> Told:
        return self.run("auth", "logout", self.host)

    def push(self, repository: str) -> Told:
        return self.run("push", self.source.path, self.name(repository))

    def pull(self, repository: str) -> Told:
        return self.run("pull", "--format=oci", self.name(repository), self._fresh())

    def copy(self, source: str, target: str) -> Told:
        return self.run("copy", self.name(source), self.name(target))


class Oras(Folders):
    def login(self, user: str, password: str) -> Told:
        flags = ("--plain-http", "--username", user, "--password-stdin")
        return self.run("login", *flags, self.host, stdin=password.encode())

    def logout(self) -> Told:
        return self.run("logout", self.host)

    def push(self, repository: str) -> Told:
        source = f"{self.source.path}:{TAG}"
        return self.run("cp", "--from-oci-layout", "--to-plain-http", source, self.name(repository))

    def pull(self, repository: str) -> Told:
        target = f"{self._fresh()}:{TAG}"
        return self.run("cp", "--from-plain-http", "--to-oci-layout", self.name(repository), target)

    def copy(self, source: str, target: str) -> Told:
        flags = ("--from-plain-http", "--to-plain-http")
        return self.run("cp", *flags, self.name(source), self.name(target))


class Regctl(Folders):
    def login(self, user: str, password: str) -> Told:
        self._set_http()
        return self.run(
            "registry", "login", self.host, "--user", user, "--pass-stdin", stdin=password.encode()
        )

    def logout(self) -> Told:
        return self.run("registry", "logout", self.host)

    def push(self, repository: str) -> Told:
        return self._copy(f"ocidir://{self.source.path}:{TAG}", self.name(repository))

    def pull(self, repository: str) -> Told:
        return self._copy(self.name(repository), f"ocidir://{self._fresh()}:{TAG}")

    def copy(self, source: str, target: str) -> Told:
        return self._copy(self.name(source), self.name(target))

    def _copy(self, source: str, target: str) -> Told:
        self._set_http()
        return self.run("image", "copy", source, target)

    def _set_http(self) -> None:
        self.client("registry", "set", "--skip-check", "--tls=disabled", self.host)


class OrasPy(Pusher):
    """oras for Python: one file as an artifact; each verb is a new client, as in a new process."""

    asks = False
    mounts = False

    def __init__(self, server: Server, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(Client("oras-py", {}), server, folder)
        patch.setenv("HOME", str(self.home))  # it runs in this process: no logins or proxies of the user
        patch.setenv("NO_PROXY", "127.0.0.1")
        # It takes every refusal for a failure that may pass, and waits two minutes in all.
        patch.setattr("oras.decorator.time", SimpleNamespace(sleep=lambda _: None))
        self._file = folder / "data.bin"
        self._file.write_bytes(self.source.blobs[self.source.digest])

    def login(self, user: str, password: str) -> Told:
        self._client.login(username=user, password=password, hostname=self.host, tls_verify=False)
        return Told(0, "")

    def logout(self) -> Told:
        (self.home / ".docker" / "config.json").unlink()
        return Told(0, "")

    def push(self, repository: str) -> Told:
        files = [str(self._file)]
        try:
            self._client.push(self.name(repository), files=files, disable_path_validation=True)
        except ValueError as error:
            return Told(1, str(error))
        return Told(0, "")

    def pull(self, repository: str) -> Told:
        self.put_away()
        try:
            self._client.pull(self.name(repository), outdir=str(self.folder / "back"))
        except ValueError as error:
            return Told(1, str(error))
        return Told(0, "")

    @property
    def image(self) -> frozenset[str]:
        return frozenset([sha256(self._file.read_bytes())])

    def pulled(self) -> frozenset[str]:
        return frozenset(sha256(path.read_bytes()) for path in (self.folder / "back").rglob("*.bin"))

    def put_away(self) -> None:
        shutil.rmtree(self.folder / "back", ignore_errors=True)

    @property
    def _client(self) -> OrasClient:
        return OrasClient(hostname=self.host, insecure=True)


class Ctr(Pusher):
    """ctr keeps no login: each command takes it."""

    asks = False

    def __init__(self, client: Client, server: Server, folder: Path) -> None:
        super().__init__(client, server, folder)
        self._flags: tuple[str, ...] = ("--plain-http",)
        self.at_hand = self.name("here/any")
        load(self.client, self.source, self.at_hand)

    def login(self, user: str, password: str) -> Told:
        self._flags = ("--plain-http", "--user", f"{user}:{password}")
        return Told(0, "")

    def logout(self) -> Told:
        self._flags = ("--plain-http",)
        return Told(0, "")

    def push(self, repository: str) -> Told:
        return self.run("images", "push", *self._flags, self.name(repository), self.at_hand)

    def pull(self, repository: str) -> Told:
        forget(self.client)
        self.at_hand = self.name(repository)
        return self.run("images", "pull", *self._flags, "--all-platforms", self.at_hand)

    def pulled(self) -> frozenset[str]:
        return frozenset(self.client("content", "list", "--quiet").split())

    def put_away(self) -> None:
        forget(self.client)


class Store(Pusher):
    """Clients that know an image by its configuration's digest."""

    @property
    def image(self) -> frozenset[str]:
        return frozenset([config_of(self.source)])


class Docker(Store):
    def __init__(self, client: Client, server: Server, folder: Path) -> None:
        super().__init__(client, server, folder)
        self.client("load", stdin=docker_archive(self.source))

    def login(self, user: str, password: str) -> Told:
        flags = (f"--username={user}", "--password-stdin")
        return self.run("login", *flags, self.host, stdin=password.encode())

    def logout(self) -> Told:
        return self.run("logout", self.host)

    def push(self, repository: str) -> Told:
        self.client("tag", config_of(self.source), self.name(repository))
        return self.run("push", self.name(repository))

    def pull(self, repository: str) -> Told:
        self.put_away()
        return self.run("pull", self.name(repository))

    def pulled(self) -> frozenset[str]:
        return frozenset(self.client("image", "ls", "--no-trunc", "--quiet").split())

    def put_away(self) -> None:
        self.client("image", "prune", "--all", "--force")


class Podman(Store):
    """podman, and buildah with the same verbs."""

    def __init__(self, client: Client, server: Server, folder: Path) -> None:
        super().__init__(client, server, folder)
        self.client("pull", f"oci:{self.source.path}:{TAG}")

    def login(self, user: str, password: str) -> Told:
        flags = ("--tls-verify=false", f"--username={user}", "--password-stdin")
        return self.run("login", *flags, self.host, stdin=password.encode())

    def logout(self) -> Told:
        return self.run("logout", self.host)

    def push(self, repository: str) -> Told:
        digest = config_of(self.source).removeprefix("sha256:")
        return self.run("push", "--tls-verify=false", digest, f"docker://{self.name(repository)}")

    def pull(self, repository: str) -> Told:
        self.put_away()
        return self.run("pull", "--tls-verify=false", self.name(repository))

    def pulled(self) -> frozenset[str]:
        return frozenset(self.client("images", "--no-trunc", "--quiet").split())

    def put_away(self) -> None:
        self.client("rmi", "--all", "--force")


def config_of(source: Layout) -> str:
    digest: str = json.loads(source.blobs[source.digest])["config"]["digest"]
    return digest


def docker_archive(source: Layout) -> bytes:
    """As `docker save` writes it, with the configuration unchanged: `docker load` takes no layout."""
    manifest = json.loads(source.blobs[source.digest])
    config, layers = config_of(source), [layer["digest"] for layer in manifest["layers"]]
    files = {f"{digest[7:]}.tar": gzip.decompress(source.blobs[digest]) for digest in layers}
    named = [{"Config": f"{config[7:]}.json", "RepoTags": None, "Layers": list(files)}]
    return tar(
        {**files, f"{config[7:]}.json": source.blobs[config], "manifest.json": json.dumps(named).encode()}
    )
