"""Who a request is from by its password or its robot's secret."""

import base64
import time
from pathlib import Path

import pytest

from registry.access import Actor, Shown
from registry.auth.basic import BasicAuthenticator
from registry.auth.htpasswd import User
from registry.auth.robots import Robots, create, new_secret, revoke
from registry.errors import Unauthenticated
from storage.files import Files
from storage.layout import Layout
from storage.secrets import Secrets

ALICE = User("alice", b"$2b$05$" + b"." * 53)


class Known:
    """Alice with her password, and who was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    async def check(self, user: str, password: str, address: str) -> User | None:
        self.asked.append((user, password, address))
        return ALICE if (user, password) == ("alice", "pass:wörd") else None


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"))


@pytest.fixture
def secrets(layout: Layout) -> Secrets:
    return Secrets(Files(layout.degraded, durable=False), layout)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def basic(layout: Layout, known: Known) -> BasicAuthenticator:
    return BasicAuthenticator(known, Robots(layout.robots))


def shown(user: str, password: str, scheme: str = "Basic ") -> Shown:
    encoded = base64.b64encode(f"{user}:{password}".encode())
    return Shown(scheme.encode() + encoded, address="192.0.2.7")


@pytest.mark.parametrize("scheme", ["Basic ", "basic ", "BASIC   "])
async def test_a_user(basic: BasicAuthenticator, known: Known, scheme: str) -> None:
    assert await basic.identify(shown("alice", "pass:wörd", scheme)) == ALICE.as_actor
    assert known.asked == [("alice", "pass:wörd", "192.0.2.7")]


async def test_all_that_is_wrong_is_wrong_alike(basic: BasicAuthenticator) -> None:
    said = set()
    for user, password in (("alice", "other"), ("nobody", "pass:wörd"), ("", ""), ("alice", "ocir_x")):
        with pytest.raises(Unauthenticated) as caught:
            await basic.identify(shown(user, password))
        said.add((str(caught.value), caught.value.error))
    assert said == {("the user name or the password is wrong", "")}


@pytest.mark.parametrize("user", ["alice", "", "token", "x" * 1000])
async def test_a_robot_by_any_name(
    basic: BasicAuthenticator, layout: Layout, secrets: Secrets, known: Known, user: str
) -> None:
    scopes = ("repository:ci/*:pull",)
    robot, secret = create(layout.robots, secrets, "ci", scopes, now=time.time(), expires=None)
    expected = Actor("token:ci", grants=robot.grants, fingerprint=robot.fingerprint)
    assert await basic.identify(shown(user, secret)) == expected
    assert await basic.identify(Shown(f"Bearer {secret}".encode())) == expected
    assert await basic.identify(Shown(f"bearer  {secret}".encode())) == expected
    assert known.asked == []


async def test_robots_that_are_gone(basic: BasicAuthenticator, layout: Layout, secrets: Secrets) -> None:
    now = time.time()
    _, expired = create(layout.robots, secrets, "old", (), now=now - 60, expires=now - 1)
    _, revoked = create(layout.robots, secrets, "bad", (), now=now, expires=None)
    revoke(layout.robots, secrets, "bad")
    for secret in (expired, revoked, new_secret()[0]):
        with pytest.raises(Unauthenticated, match="is unknown, has expired or was revoked") as caught:
            await basic.identify(shown("ci", secret))
        assert caught.value.error == ""
        with pytest.raises(Unauthenticated, match="is unknown, has expired or was revoked") as caught:
            await basic.identify(Shown(f"Bearer {secret}".encode()))
        assert caught.value.error == "invalid_token"


@pytest.mark.parametrize("token", [b"ocir_", b"ocir_\xff", b"ocir_short", b"ocir_ x"])
async def test_what_begins_like_a_robots_secret_is_nobody_elses(
    basic: BasicAuthenticator, token: bytes
) -> None:
    with pytest.raises(Unauthenticated):
        await basic.identify(Shown(b"Bearer " + token))


@pytest.mark.parametrize(
    "header",
    [b"", b"Bearer", b"Bearer eyJhbGciOi", b"Bearer OCIR_x", b"Digest x", b"Basics x", b" Basic x"],
)
async def test_other_schemes_are_left_to_others(basic: BasicAuthenticator, header: bytes) -> None:
    assert await basic.identify(Shown(header)) is None


@pytest.mark.parametrize(
    "header",
    [
        b"Basic",
        b"Basic ",
        b"Basic YQ==",  # no colon
        b"Basic YTpi!",
        b"Basic YTpi YTpi",
        b"Basic YTp",
        b"Basic YTpi\n",
        b"Basic YTpi\t",
        b"Basic Og-_",  # the other alphabet
        b"Basic /zpi",  # \xff:b
        b"Basic \xe4\xf6",
    ],
)
async def test_malformed(basic: BasicAuthenticator, header: bytes, known: Known) -> None:
    with pytest.raises(Unauthenticated, match="base64 of NAME:PASSWORD in UTF-8"):
        await basic.identify(Shown(header))
    assert known.asked == []
