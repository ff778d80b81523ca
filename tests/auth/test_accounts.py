"""Who there is to log in."""

import time
from pathlib import Path

import pytest

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
    assert (accounts.exist, accounts.user_fingerprint("alice")) == (False, None)
    add(layout.htpasswd, secrets, User("alice", HASH))
    first = accounts.user_fingerprint("alice")
    assert (accounts.exist, first is None) == (True, False)
    set_hash(layout.htpasswd, secrets, User("alice", OTHER))
    assert accounts.user_fingerprint("alice") not in (first, None)
    remove(layout.htpasswd, secrets, "alice")
    assert (accounts.exist, accounts.user_fingerprint("alice")) == (True, None)


def test_robots(accounts: Accounts, layout: Layout, secrets: Secrets) -> None:
    assert accounts.robot("ci") is None
    now = time.time()
    robot, _ = create(layout.robots, secrets, "ci", (), now=now, expires=now + 60)
    create(layout.robots, secrets, "old", (), now=now - 60, expires=now - 1)
    assert (accounts.exist, accounts.robot("ci"), accounts.robot("old")) == (True, robot, None)
    for name in ("ci", "old"):
        revoke(layout.robots, secrets, name)
    assert (accounts.exist, accounts.robot("ci")) == (False, None)
