"""No log ever has a secret, whatever a client shows it as, and whatever goes wrong meanwhile."""

import base64
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from starlette.routing import Router

from registry.app import build
from registry.auth.passwords import Passwords
from registry.auth.robots import Robots
from registry.auth.tokens import Tokens
from registry.settings import Settings
from storage.store import Store
from tests.api.test_audit import settle
from tests.inprocess import Answer, ask, opened

RIGHT, WRONG = "pa55-of-alice", "gu355-of-mallory"
FORM = (b"content-type", b"application/x-www-form-urlencoded")
PATHS = (b"/v2/", b"/v2/team/app/blobs/uploads/", b"/v2/team/app/tags/list", b"/token")
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJub2JvZHkifQ.c2VjcmV0"


@dataclass
class House:
    """A service where alice has an account; `secrets` are those that were shown or handed out."""

    app: Router
    robot: str
    trail: Path
    log: io.StringIO
    secrets: set[str] = field(default_factory=lambda: {RIGHT, WRONG, JWT})

    async def show(self, *headers: tuple[bytes, bytes], query: str = "", form: str = "") -> set[int]:
        """The same on every sort of path; the statuses."""
        said = [*headers, *([FORM] if form else [])]
        self.secrets |= {value.rpartition(b" ")[2].decode() for _, value in headers}
        found = [
            await ask(self.app, method, path, query=query.encode(), headers=said, body=body(form))
            for path in PATHS
            for method in ("GET", "POST", "DELETE")
        ]
        for answer in found:
            self.secrets |= issued(answer)
        return {answer.status for answer in found}

    async def tokens(self) -> dict[str, str]:
        """That alice was given, by their sort."""
        credentials = basic(f"alice:{RIGHT}")
        answer = await ask(self.app, "GET", b"/token", query=b"offline_token=true", headers=[credentials])
        assert issued(answer)
        self.secrets |= issued(answer)
        return {key: json.loads(answer.body)[key] for key in ("token", "refresh_token")}

    def require_silence(self) -> None:
        text = self.log.getvalue() + (self.trail.read_text() if self.trail.exists() else "")
        assert text.count("\n") >= len(PATHS)
        for secret in {self.robot, *self.secrets}:
            assert secret not in text
            assert secret[-8:] not in text


def body(form: str) -> Iterator[dict[str, object]]:
    yield {"type": "http.request", "body": form.encode(), "more_body": False}


def basic(text: str) -> tuple[bytes, bytes]:
    return (b"authorization", b"Basic " + base64.b64encode(text.encode()))


def issued(answer: Answer) -> set[str]:
    if answer.status != 200 or b"token" not in answer.body:
        return set()
    return {value for key, value in json.loads(answer.body).items() if key.endswith("token")}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    with opened(tmp_path_factory.mktemp("store")) as store:
        yield store, settle(store, ("alice", RIGHT))


@pytest.fixture
async def house(
    store: tuple[Store, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[House]:
    caplog.set_level("DEBUG")
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    trail = tmp_path / "audit.log"
    app = build(store[0], Settings(root=store[0].layout.root, audit_log=str(trail), anonymous="none"))
    house = House(app, store[1], trail, log)
    yield house
    logging.getLogger().removeHandler(handler)
    house.require_silence()


SHOWN = [
    f"Basic {base64.b64encode(text.encode()).decode()}"
    for text in (
        f"alice:{RIGHT}",
        f"alice:{WRONG}",
        f"{RIGHT}:",
        f"{RIGHT}:{RIGHT}",
        f"{WRONG}:x",
        f"{WRONG}\n:\x1b{WRONG}",
        WRONG,
        "alice:ROBOT",
        "ROBOT:",
        "ROBOT:x",
        "alice:TOKEN",
        f"alice:{JWT}",
    )
] + [
    *("Bearer ROBOT", "Bearer TOKEN", "Bearer REFRESH", f"Bearer {JWT}", f"Bearer {WRONG}", "Bearer TOKENx"),
    *(
        f"Basic alice:{WRONG}",
        f"Digest {WRONG}",
        f"Negotiate {WRONG}",
        WRONG,
        "ROBOT",
        "TOKEN",
        f"token {RIGHT}",
    ),
]


@pytest.mark.parametrize("shown", SHOWN)
async def test_in_a_header(house: House, shown: str) -> None:
    await house.show((b"authorization", (await replace(house, shown)).encode()))


async def replace(house: House, text: str) -> str:
    """With tokens of now for their names, inside Basic too."""
    if not any(name in text for name in ("ROBOT", "TOKEN", "REFRESH")):
        scheme, _, encoded = text.partition(" ")
        try:
            plain = base64.b64decode(encoded, validate=True).decode()
        except ValueError:
            return text
        if scheme != "Basic" or plain == encoded:
            return text
        filled = plain.replace("ROBOT", house.robot)
        if "TOKEN" in plain:
            filled = filled.replace("TOKEN", (await house.tokens())["token"])
        return f"Basic {base64.b64encode(filled.encode()).decode()}"
    tokens = await house.tokens()
    text = text.replace("ROBOT", house.robot).replace("REFRESH", tokens["refresh_token"])
    return text.replace("TOKEN", tokens["token"])


async def test_in_two_headers(house: House) -> None:
    assert await house.show(basic(f"alice:{RIGHT}"), basic(f"alice:{WRONG}")) <= {401, 405}


@pytest.mark.parametrize("name", ["access_token", "password", "token", "account", "auth", "_state"])
async def test_in_a_query(house: House, name: str) -> None:
    for secret in (RIGHT, house.robot, (await house.tokens())["token"]):
        await house.show(query=urlencode([("n", "1"), (name, secret), ("service", "x")]))
        await house.show(query=f"{secret}&{name}={secret}")


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "password", "username": "alice", "password": RIGHT, "access_type": "offline"},
        {"grant_type": "password", "username": "alice", "password": WRONG},
        {"grant_type": "password", "username": RIGHT, "password": WRONG},
        {"grant_type": "password", "username": "x", "password": "ROBOT"},
        {"grant_type": "refresh_token", "refresh_token": "REFRESH"},
        {"grant_type": "refresh_token", "refresh_token": "TOKEN"},
        {"grant_type": "refresh_token", "refresh_token": WRONG},
        {"grant_type": "magic", "password": RIGHT},
        {"password": RIGHT},
    ],
)
async def test_in_a_form(house: House, form: dict[str, str]) -> None:
    filled = {name: await replace(house, value) if value.isupper() else value for name, value in form.items()}
    await house.show(form=urlencode(filled))


@pytest.mark.parametrize("broken", [(Passwords, "check"), (Robots, "find"), (Tokens, "read")])
async def test_while_something_breaks(
    house: House, monkeypatch: pytest.MonkeyPatch, broken: tuple[type, str]
) -> None:
    """A traceback shows where, and no values."""
    tokens = await house.tokens()

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(*broken, fail)
    headers = [
        *(basic(f"alice:{WRONG}"), basic(f"x:{house.robot}")),
        *((b"authorization", f"Bearer {text}".encode()) for text in (house.robot, tokens["token"], JWT)),
    ]
    statuses = [await house.show(header) for header in headers]
    assert any(500 in each for each in statuses)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    await house.show(form=urlencode(form))
    assert "RuntimeError: broken" in house.log.getvalue()
    assert '"outcome": "failed"' in house.trail.read_text()
