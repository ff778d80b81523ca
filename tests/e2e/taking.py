"""The clients by name, as tests take them: logged in nowhere, each in a folder of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.guarded import password_of
from tests.e2e.logins import Crane, Ctr, Docker, Oras, OrasPy, Podman, Pusher, Regctl, Skopeo, Told
from tests.e2e.serving import Server
from tests.e2e.test_podman import with_store

Take = Callable[[pytest.FixtureRequest, Server, Path], Pusher]


def tool(name: str, kind: type[Skopeo | Crane | Oras | Regctl]) -> Take:
    def take(request: pytest.FixtureRequest, server: Server, folder: Path) -> Pusher:
        return kind(request.getfixturevalue("require")(name), server, folder)

    return take


def stored(name: str) -> Take:
    def take(request: pytest.FixtureRequest, server: Server, folder: Path) -> Pusher:
        store = request.getfixturevalue("scratch") / "containers"
        return Podman(with_store(request.getfixturevalue("require")(name), store, "vfs"), server, folder)

    return take


def engine(name: str, kind: type[Docker | Ctr]) -> Take:
    def take(request: pytest.FixtureRequest, server: Server, folder: Path) -> Pusher:
        return kind(request.getfixturevalue(name), server, folder)

    return take


def oras_py(request: pytest.FixtureRequest, server: Server, folder: Path) -> Pusher:
    return OrasPy(server, folder, request.getfixturevalue("monkeypatch"))


CLIENTS: dict[str, Take] = {
    "docker": engine("docker", Docker),
    "podman": stored("podman"),
    "buildah": stored("buildah"),
    "skopeo": tool("skopeo", Skopeo),
    "crane": tool("crane", Crane),
    "ctr": engine("ctr", Ctr),
    "oras": tool("oras", Oras),
    "oras-py": oras_py,
    "regctl": tool("regctl", Regctl),
}


def log_in(pusher: Pusher, user: str) -> None:
    done(pusher.login(user, password_of(user)))


def done(told: Told) -> None:
    assert told.ok, told.text


def refused(told: Told, *expected: str) -> None:
    assert not told.ok, told.text
    assert any(text.lower() in told.text.lower() for text in expected), told.text
