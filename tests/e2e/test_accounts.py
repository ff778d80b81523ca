"""Accounts that come, change and go while real clients use them."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e import reading
from tests.e2e.clients import Client, closed_environment
from tests.e2e.conftest import Require
from tests.e2e.guarded import ADMIN, Guarded, guard, password_of, settle, write_users
from tests.e2e.logins import Pusher
from tests.e2e.serving import serve
from tests.e2e.taking import CLIENTS, done, log_in, refused

pytestmark = pytest.mark.e2e

GUIDE = Path(__file__).parents[2] / "docs" / "clients.md"
OTHERS = ("podman", "buildah", "skopeo", "crane", "oras", "regctl")
THREE = ("docker", "skopeo", "crane")
USERS = {user: password_of(user) for user in (ADMIN, *(f"alice-{client}" for client in THREE))}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    with guard(tmp_path, USERS) as running:
        yield running


@pytest.fixture
def pushers(request: pytest.FixtureRequest, guarded: Guarded, tmp_path: Path) -> Iterator[dict[str, Pusher]]:
    taken = {client: CLIENTS[client](request, guarded.server, tmp_path / client) for client in THREE}
    yield taken
    for pusher in taken.values():
        pusher.put_away()


def command(guarded: Guarded, *arguments: str) -> str:
    place = ["--root", str(guarded.server.root)]
    told = [sys.executable, "-m", "registry", *arguments, *place]
    return subprocess.run(told, capture_output=True, text=True, check=True).stdout


def bearer(guarded: Guarded, user: str, password: str) -> dict[str, str]:
    url = f"http://{guarded.server.host}/token?service=oci-registry"
    reply = httpx.get(url, auth=(user, password), trust_env=False)
    assert reply.status_code == 200, reply.text
    return {"Authorization": f"Bearer {reply.json()['token']}"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def tokens(guarded: Guarded) -> int:
    """How many were given."""
    return sum(
        one["target"].startswith("/token") and one["status"] == 200 for one in guarded.server.requests()
    )


def status(guarded: Guarded, headers: dict[str, str]) -> int:
    return httpx.get(f"http://{guarded.server.host}/v2/", headers=headers, trust_env=False).status_code


def test_a_robots_secret_is_a_password_until_it_is_revoked(
    pushers: dict[str, Pusher], guarded: Guarded
) -> None:
    made = ("token", "create", "ci", "--scope", "repository:ci/*:pull,push", "--json")
    secret = json.loads(command(guarded, *made))["secret"]
    shown = [bearer(guarded, "robot", secret), basic("robot", secret)]
    for client, pusher in pushers.items():
        done(pusher.login("robot", secret))
        done(pusher.push(f"ci/{client}"))
        done(pusher.pull(f"ci/{client}"))
        assert pusher.pulled() == pusher.image
        refused(pusher.push(f"team/{client}"), "denied", "forbidden")
        assert guarded.movers(f"ci/{client}") == ["token:ci"]
    assert [status(guarded, headers) for headers in shown] == [200, 200]

    command(guarded, "token", "revoke", "ci")
    settle()

    for client, pusher in pushers.items():
        refused(pusher.push(f"ci/{client}-late"), "unauthorized", "gone")
        refused(pusher.pull(f"ci/{client}"), "unauthorized", "gone")
    assert [status(guarded, headers) for headers in shown] == [401, 401]
    assert guarded.repositories() == [f"ci/{client}" for client in sorted(pushers)]


def test_a_new_password_and_a_removal_end_what_was_before(
    pushers: dict[str, Pusher], guarded: Guarded
) -> None:
    shown = []
    for client, pusher in pushers.items():
        user = f"alice-{client}"
        log_in(pusher, user)
        done(pusher.push(f"team/{client}"))
        shown += [bearer(guarded, user, password_of(user)), basic(user, password_of(user))]
    assert {status(guarded, headers) for headers in shown} == {200}

    left = {user: f"new {password}" for user, password in USERS.items() if user != "alice-crane"}
    write_users(guarded.htpasswd, left | {ADMIN: password_of(ADMIN)})
    settle()

    for client, pusher in pushers.items():
        refused(pusher.push(f"team/{client}-late"), "unauthorized", "gone")
        refused(pusher.pull(f"team/{client}"), "unauthorized", "gone")
    assert {status(guarded, headers) for headers in shown} == {401}
    assert guarded.repositories() == [f"team/{client}" for client in sorted(pushers)]
    docker = pushers["docker"]
    done(docker.login("alice-docker", left["alice-docker"]))
    done(docker.pull("team/docker"))


def test_docker_keeps_a_token_and_no_password(pushers: dict[str, Pusher], guarded: Guarded) -> None:
    docker = pushers["docker"]
    log_in(docker, "alice-docker")

    kept = json.loads((docker.home / "config.json").read_text())["auths"][guarded.server.host]

    assert kept["identitytoken"]
    assert base64.b64decode(kept["auth"]) == b"alice-docker:"
    done(docker.push("team/kept"))
    done(docker.pull("team/kept"))
    # Docker exchanges what it keeps by a form.
    assert ("POST", 200) in {
        (one["method"], one["status"]) for one in guarded.server.requests() if one["target"] == "/token"
    }
    for client in ("skopeo", "crane"):  # and so do others, out of its file
        other = pushers[client]
        (other.home / "config.json").write_bytes((docker.home / "config.json").read_bytes())
        done(other.push(f"team/kept-{client}"))
        assert guarded.movers(f"team/kept-{client}") == ["alice-docker"]
    done(docker.logout())
    refused(docker.pull("team/kept"), "log in to pull team/kept")


def test_a_file_as_kubernetes_has_it(pushers: dict[str, Pusher], guarded: Guarded) -> None:
    for client in ("crane", "skopeo"):
        pusher, user = pushers[client], f"alice-{client}"
        auth = base64.b64encode(f"{user}:{password_of(user)}".encode()).decode()
        (pusher.home / "config.json").write_text(json.dumps({"auths": {guarded.server.host: {"auth": auth}}}))

        done(pusher.push(f"team/{client}"))
        done(pusher.pull(f"team/{client}"))

        assert guarded.movers(f"team/{client}") == [user]


def test_the_logins_of_the_documentation(
    docker: Client, require: Require, guarded: Guarded, tmp_path: Path
) -> None:
    for tool in OTHERS:
        require(tool)
    text = GUIDE.read_text().partition("## Logging in")[2]
    lines = text.partition("```sh\n")[2].partition("```")[0].splitlines()
    (tmp_path / "password.txt").write_text(password_of("alice-docker") + "\n")
    for line in lines:
        tool, *_ = line.split()
        environment = dict(docker.environment) | closed_environment(tmp_path / tool)
        shown = line.replace("127.0.0.1:5000", guarded.server.host).replace("alice", "alice-docker")
        shown = shown.replace("docker login", f"{docker.program} login")
        Client("sh", environment, tmp_path)("-c", shown)

    assert {line.split()[0] for line in lines} == {"docker", *OTHERS}


def test_a_push_outlasts_its_token(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    clients = ("docker", "podman")
    users = {f"alice-{client}": password_of(f"alice-{client}") for client in clients}
    with guard(tmp_path, users | {ADMIN: password_of(ADMIN)}, module="tests.e2e.short_tokens") as guarded:
        pushers = [CLIENTS[client](request, guarded.server, tmp_path / client) for client in clients]
        for client, pusher in zip(clients, pushers, strict=True):
            log_in(pusher, f"alice-{client}")
        before = bearer(guarded, "alice-docker", password_of("alice-docker"))
        assert status(guarded, before) == 200
        asked = tokens(guarded)

        with ThreadPoolExecutor(len(clients)) as pool:
            told = list(
                pool.map(lambda one: one[0].push(f"team/{one[1]}"), zip(pushers, clients, strict=True))
            )

        for one, client in zip(told, clients, strict=True):
            done(one)
            assert guarded.movers(f"team/{client}") == [f"alice-{client}"]
        assert status(guarded, before) == 401
        assert tokens(guarded) - asked >= 2 * len(clients)  # one to begin with, and one to go on with
        for pusher in pushers:
            pusher.put_away()


def test_the_first_user_closes_an_open_registry(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        docker = CLIENTS["docker"](request, server, tmp_path / "docker")
        done(docker.login("anyone", "anything"))
        done(docker.push("open/docker"))
        done(docker.pull("open/docker"))
        reading.get(server, "open/docker/tags/list")

        write_users(server.root / "htpasswd", {"carol": password_of("carol")})
        settle()

        reading.get(server, "open/docker/tags/list", status=401)
        refused(docker.push("open/late"), "unauthorized")
        log_in(docker, "carol")
        done(docker.push("open/late"))
        docker.put_away()
