"""Users and robots by name."""

import time
from pathlib import Path

import pytest

from registry.access import Action, Actor, Grant
from registry.auth.accounts import Accounts
from registry.auth.htpasswd import Htpasswd, User, add, remove, set_hash
from registry.auth.robots import Robots, create, revoke
from storage.files import Files
from storage.layout import Layout
from storage.secrets import Secrets
from tests.auth.test_htpasswd import HASH, OTHER


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"))


@pytest.fixture
def secrets(layout: Layout) -> Secrets:
    return Secrets(Files(layout.degraded, durable=False), layout)


@pytest.fixture
def accounts(layout: Layout) -> Accounts:
    return Accounts(Htpasswd(layout.htpasswd), Robots(layout.robots))


def test_users(accounts: Accounts, layout: Layout, secrets: Secrets) -> None:
    assert accounts.find("alice") is None
    add(layout.htpasswd, secrets, User("alice", HASH))
    assert accounts.find("alice") == Actor("alice", fingerprint=User("alice", HASH).fingerprint)
    set_hash(layout.htpasswd, secrets, User("alice", OTHER))
    assert accounts.find("alice") == Actor("alice", fingerprint=User("alice", OTHER).fingerprint)
    assert accounts.has("alice")
    remove(layout.htpasswd, secrets, "alice")
    assert accounts.find("alice") is None
    assert not accounts.has("alice")


def test_robots(accounts: Accounts, layout: Layout, secrets: Secrets) -> None:
    assert accounts.find("token:ci") is None
    now = time.time()
    robot, _ = create(layout.robots, secrets, "ci", ("repository:ci/*:pull",), now=now, expires=int(now) + 60)
    create(layout.robots, secrets, "old", (), now=now - 60, expires=int(now) - 1)
    grants = (Grant(("ci/*",), frozenset({Action.PULL})),)
    assert accounts.find("token:ci") == Actor(
        "token:ci", grants=grants, expires=robot.expires, fingerprint=robot.fingerprint
    )
    assert accounts.find("token:old") is None
    assert accounts.find("ci") is None, "a robot is no user"
    revoke(layout.robots, secrets, "ci")
    assert accounts.find("token:ci") is None
