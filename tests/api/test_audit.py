"""The audit trail of requests: what is written, of whom, why; and what is not."""

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest

from registry.access import Action, Actor, Operation
from registry.api.access_log import Entry
from registry.api.audit import ITSELF, Audit
from registry.app import build
from registry.auth import robots
from registry.auth.rules import Entry as Rule
from registry.changes import BlobRemoved
from registry.names import RepositoryName
from registry.settings import Settings
from storage.digest import Digest
from storage.errors import StoreFull
from storage.secrets import Secrets
from storage.store import Store
from tests.api.world import IMAGE, SPARE, begin, digest, push_blob, push_image, push_manifest
from tests.builders import index
from tests.inprocess import ask, connect_app, opened

EVERYTHING = frozenset(Action)
ACCESS = (
    Rule(("team/*", "public/*"), EVERYTHING, users=("alice",)),
    Rule(("public/*",), frozenset({Action.PULL}), anonymous=True),
)
OTHER = index(annotations={"another": "one"})
ALICE, BOB = ("alice", "secret"), ("bob", "b")
ALWAYS = {"time", "id", "remote", "agent"}

Line = dict[str, Any]


@dataclass
class House:
    """A service with alice, bob and the robot ci; `lines` are those of its trail."""

    client: httpx.AsyncClient
    path: Path
    robot: str
    store: Store
    read: int = field(default=0)

    def lines(self) -> list[Line]:
        """Those that are new."""
        written = self.path.read_text().splitlines() if self.path.exists() else []
        found = [json.loads(line) for line in written[self.read :]]
        self.read = len(written)
        return found

    def told(self) -> list[Line]:
        """Without what is in all of them."""
        lines = self.lines()
        assert all(set(line) >= ALWAYS for line in lines)
        return [{key: value for key, value in line.items() if key not in ALWAYS} for line in lines]

    async def get(self, path: str, auth: tuple[str, str] | None = None, **headers: str) -> httpx.Response:
        return await self.client.get(path, auth=auth, headers=headers)


def settle(store: Store, *users: tuple[str, str]) -> str:
    """Users with their passwords, and a robot, whose secret is returned."""
    salt = bcrypt.gensalt(4)
    lines = [f"{name}:{bcrypt.hashpw(password.encode(), salt).decode()}\n" for name, password in users]
    Path(store.layout.htpasswd).write_text("".join(lines))
    os.chmod(store.layout.htpasswd, 0o600)
    secrets, scopes = Secrets(store.files, store.layout), ("repository:ci/*:pull,push",)
    _, secret = robots.create(store.layout.robots, secrets, "ci", scopes, now=0, expires=None)
    return secret


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    with opened(tmp_path) as store:
        robot = settle(store, ALICE, BOB)
        path = tmp_path / "audit.log"
        settings = Settings(
            root=store.layout.root, access=ACCESS, audit_log=str(path), immutable_tags=("*:v*",)
        )
        async with connect_app(build(store, settings)) as client:
            yield House(client, path, robot, store)


async def test_a_push_a_move_and_a_delete(house: House) -> None:
    house.client.auth = httpx.BasicAuth(*ALICE)
    house.client.headers["User-Agent"] = "docker/29"
    await push_image(house.client, "team/app", "latest")
    first, *lines = house.lines()
    assert (first["audit"], first["outcome"], first["who"]) == ("login", "done", "alice")
    assert [line["id"] for line in lines].count(lines[-1]["id"]) == 2  # the manifest and its tag
    assert {(line["who"], line["outcome"], line["rule"], line["agent"]) for line in lines} == {
        ("alice", "done", "entry 1 of access", "docker/29")
    }
    assert [(line["audit"], line.get("what"), line.get("bytes")) for line in lines[:2]] == [
        ("push", "blob", 10),
        ("push", "blob", 64),
    ]
    manifest, tag = lines[2:]
    assert (manifest["audit"], manifest["what"], manifest["repository"]) == ("push", "manifest", "team/app")
    assert (tag["audit"], tag["reference"], tag["digest"]) == ("tag", "latest", manifest["digest"])
    assert "old" not in tag

    await push_manifest(house.client, "team/app", OTHER, "latest")
    await house.client.delete("/v2/team/app/manifests/latest")
    await house.client.delete(f"/v2/team/app/manifests/{digest(OTHER)}")
    moved = [(line["audit"], line.get("old", ""), line.get("digest", "")) for line in house.lines()]
    assert moved == [
        ("push", "", digest(OTHER)),
        ("tag", manifest["digest"], digest(OTHER)),
        ("tag", digest(OTHER), ""),
        ("delete", "", digest(OTHER)),
    ]
    assert (await house.client.head(f"/v2/team/app/manifests/{manifest['digest']}")).status_code == 200
    assert house.lines() == []


async def test_the_id_is_that_of_the_answer(house: House) -> None:
    answer = await house.client.post(
        "/v2/team/app/blobs/uploads/", params={"digest": digest(SPARE)}, content=SPARE, auth=ALICE
    )
    assert {line["id"] for line in house.lines()} == {answer.headers["X-Request-Id"]}
    await push_blob_and_mount(house)
    assert [(line["audit"], line["repository"]) for line in house.lines()] == [("mount", "public/app")]


async def push_blob_and_mount(house: House) -> None:
    answer = await house.client.post(
        "/v2/public/app/blobs/uploads/", params={"mount": digest(SPARE), "from": "team/app"}, auth=ALICE
    )
    assert answer.status_code == 201


async def test_an_upload_in_pieces_is_one_line(house: House) -> None:
    house.client.auth = httpx.BasicAuth(*ALICE)
    upload = await begin(house.client, "team/app", SPARE)
    assert [line["audit"] for line in house.lines()] == ["login"]
    await house.client.put(f"/v2/team/app/blobs/uploads/{upload}", params={"digest": digest(SPARE)})
    await house.client.delete(f"/v2/team/app/blobs/{digest(SPARE)}")
    assert [line["audit"] for line in house.lines()] == ["push", "delete"]


@pytest.mark.parametrize(
    ("path", "auth", "status", "told"),
    [
        ("/v2/", None, 401, {}),
        ("/v2/team/app/tags/list", None, 401, {}),
        ("/v2/public/app/tags/list", None, 404, {}),
        ("/token", None, 200, {}),
        ("/v2/", ALICE, 200, {"audit": "login", "who": "alice"}),
        ("/token", ALICE, 200, {"audit": "login", "who": "alice"}),
        ("/token", BOB, 200, {"audit": "login", "who": "bob"}),
        ("/token", ("any", "ROBOT"), 200, {"audit": "login", "who": "token:ci"}),
        ("/token", ("alice", "wrong"), 401, {"audit": "login", "who": "alice", "status": 401}),
        ("/v2/", ("alice", "wrong"), 401, {"audit": "login", "who": "alice", "action": "ping"}),
        ("/v2/", ("my password", ""), 401, {"audit": "login", "who": "", "outcome": "refused"}),
        ("/v2/", ("", ""), 401, {"audit": "refused", "who": "", "outcome": "refused"}),
        ("/nothing", ("alice", "wrong"), 404, {}),
    ],
)
async def test_logins(house: House, path: str, auth: tuple[str, str] | None, status: int, told: Line) -> None:
    if auth:
        auth = (auth[0], auth[1].replace("ROBOT", house.robot))
    assert (await house.get(path, auth)).status_code == status
    lines = house.told()
    assert len(lines) == bool(told)
    for line in lines:
        assert line["outcome"] == ("done" if status == 200 else "refused")
        assert line.items() >= told.items()
        assert line["rule"]


async def test_a_login_by_form_is_of_whom_the_form_names(house: House) -> None:
    form = {"grant_type": "password", "username": "alice", "password": "secret", "access_type": "offline"}
    answer = await house.client.post("/token", data=form)
    refresh = answer.json()["refresh_token"]
    await house.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": refresh})
    await house.client.post("/token", data={**form, "password": "wrong"})
    await house.client.post("/token", data={**form, "username": "nobody"})
    await house.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": "wrong"})
    found = [(line["audit"], line["outcome"], line["who"]) for line in house.told()]
    done, refused = ("login", "done", "alice"), ("login", "refused")
    assert found == [done, done, (*refused, "alice"), (*refused, ""), (*refused, "")]


async def test_credentials_on_every_request_are_one_login_an_hour() -> None:
    clock, lines = [1000.0], list[str]()
    audit = Audit(lines.append, why=lambda *_: "", knows=lambda _: False, clock=lambda: clock[0])

    def come(name: str, address: str) -> int:
        entry = Entry({"type": "http", "headers": [], "client": (address, 1)}, "id", None)
        entry.actor, entry.operation, entry.status = Actor(name), Operation(Action.PING), 200
        before = len(lines)
        audit.begin(entry)
        audit.end(entry)
        return len(lines) - before

    assert [come("alice", "192.0.2.1"), come("alice", "192.0.2.1")] == [1, 0]
    assert [come("alice", "192.0.2.2"), come("bob", "192.0.2.1"), come("", "192.0.2.1")] == [1, 1, 0]
    clock[0] += 3599
    assert come("alice", "192.0.2.1") == 0
    clock[0] += 1
    assert come("alice", "192.0.2.1") == 1
    assert sum(come(f"user{number}", "") for number in range(5000)) == 5000
    assert come("user4999", "") == 0


async def test_too_many_failures(house: House) -> None:
    for number in range(10):
        await house.get("/v2/", ("alice", f"wrong {number}"))
    house.lines()
    answer = await house.get("/v2/", ("alice", "wrong"))
    (line,) = house.told()
    assert (answer.status_code, line["audit"], line["who"], line["status"]) == (429, "login", "alice", 429)
    assert line["rule"].startswith("too many logins from this address have failed")


async def test_refusals_say_why(house: House) -> None:
    await house.get("/v2/", BOB)
    await push_image_as_alice(house)
    house.lines()
    answer = await house.client.put("/v2/team/app/manifests/latest", content=IMAGE, auth=BOB)
    assert answer.status_code == 403
    (line,) = house.told()
    assert line == {
        "audit": "refused",
        "outcome": "refused",
        "who": "bob",
        "action": "push",
        "repository": "team/app",
        "reference": "latest",
        "status": 403,
        "rule": "bob may not push to team/app: nothing allows it",
    }
    answer = await house.client.delete("/v2/team/app/manifests/v1", auth=ALICE)
    assert answer.status_code == 403
    (line,) = house.told()
    assert (line["who"], line["action"], "immutable" in line["rule"]) == ("alice", "delete", True)


async def push_image_as_alice(house: House) -> None:
    house.client.auth = httpx.BasicAuth(*ALICE)
    await push_image(house.client, "team/app", "v1")
    house.client.auth = httpx.Auth()


async def test_a_token_that_does_not_reach_so_far(house: House) -> None:
    answer = await house.get("/token?scope=repository:team/app:pull", ALICE)
    bearer = f"Bearer {answer.json()['token']}"
    assert [line["audit"] for line in house.lines()] == ["login"]
    await house.get("/v2/team/app/tags/list", Authorization=bearer)
    assert house.lines() == []
    answer = await house.client.post("/v2/team/app/blobs/uploads/", headers={"Authorization": bearer})
    (line,) = house.told()
    assert (answer.status_code, line["audit"], line["who"]) == (401, "refused", "alice")
    assert line["rule"] == "the token was not made to push to team/app"


async def test_a_write_that_fails_by_our_fault(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(house.store.uploads, "create", full)
    await house.client.post("/v2/team/app/blobs/uploads/", auth=ALICE)
    _, line = house.told()
    assert line == {
        "audit": "push",
        "outcome": "failed",
        "who": "alice",
        "action": "push",
        "repository": "team/app",
        "status": 507,
    }


def test_a_change_that_nobody_asked_for_is_the_registrys() -> None:
    lines: list[str] = []
    audit = Audit(lines.append, why=lambda *_: "never asked", knows=lambda _: False)
    audit.notify(BlobRemoved(RepositoryName("a"), Digest.of(b"")))
    (line,) = map(json.loads, lines)
    assert (line["audit"], line["who"], "id" in line, "rule" in line) == ("delete", ITSELF, False, False)


async def test_nothing_is_written_where_nobody_asked_for_it(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "registry")
    async with connect_app(build(store, Settings(root=store.layout.root))) as client:
        await push_blob(client, "own/quiet", SPARE)
    assert '"audit"' not in caplog.text


async def test_it_may_stand_among_the_access_lines(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "registry")
    async with connect_app(build(store, Settings(root=store.layout.root, audit_log="-"))) as client:
        await push_blob(client, "own/loud", SPARE)
    audit, access = (json.loads(record.getMessage()) for record in caplog.records)
    assert (audit["audit"], audit["who"], access["status"]) == ("push", "", 201)
    assert (audit["id"], audit["rule"]) == (access["id"], "nobody has an account yet")


HOSTILE = (b'"', b"\\", b"\n", b"\r", b"\x1b[31m", b"\x7f", b"\xff\xfe", b"\xc2\x85", b'", "who": "root')


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_whatever_a_client_sends_a_line_is_a_line(
    store: Store, caplog: pytest.LogCaptureFixture, hostile: bytes
) -> None:
    caplog.set_level("INFO", "registry")
    settings = Settings(root=store.layout.root, audit_log="-", anonymous="none")
    app = build(store, settings)
    for path in (b"/v2/", b"/v2/a" + hostile, b"/v2/a/manifests/" + hostile):
        await ask(
            app,
            "GET",
            path,
            query=b"last=" + hostile,
            headers=[(b"user-agent", hostile), (b"authorization", b"Basic " + hostile)],
        )
    lines = [record.getMessage() for record in caplog.records]
    assert [json.loads(line).get("audit") for line in lines].count("refused") == 1
    assert len(lines) == 4
    for line in lines:
        assert line.isascii()
        assert line.isprintable()
