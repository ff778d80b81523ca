"""Robot tokens: made, found, expired, revoked."""

import json
import os
import re
import stat
from pathlib import Path

import pytest

from registry.access import Action, Operation
from registry.auth import robots as module
from registry.auth.robots import (
    RobotExists,
    RobotMissing,
    Robots,
    check_name,
    check_scope,
    create,
    new_secret,
    number_of,
    revoke,
)
from registry.names import RepositoryName
from storage.files import Files
from storage.layout import Layout
from storage.secrets import Secrets

NOW = 1_800_000_000.0
PULL_PUSH = ("repository:ci/*:pull,push",)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"))


@pytest.fixture
def secrets(layout: Layout) -> Secrets:
    return Secrets(Files(layout.degraded, durable=False), layout)


def test_a_secret_is_known_by_its_form() -> None:
    secret, number = new_secret()
    assert re.fullmatch(r"ocir_[0-9a-f]{8}_[0-9a-f]{72}", secret)
    assert number_of(secret) == number
    last = "1" if secret[-1] == "0" else "0"
    for text in ("", "ocir_", secret[:-1], secret + "0", secret + "\n", secret[:-1] + last, "x" + secret):
        assert number_of(text) is None
    assert len({new_secret()[0] for _ in range(100)}) == 100


def test_from_its_making_to_its_end(layout: Layout, secrets: Secrets) -> None:
    robots = Robots(layout.robots)
    assert (robots.all, robots.exist) == ({}, False)
    made, secret = create(layout.robots, secrets, "ci", PULL_PUSH, now=NOW, expires=NOW + 60)
    assert robots.exist
    assert robots.find(secret, NOW) == made == robots.named("ci", NOW)
    assert (made.name, made.actor, made.scopes, made.created) == ("ci", "token:ci", PULL_PUSH, int(NOW))
    assert robots.find(secret, NOW + 59.9) == made
    assert robots.find(secret, NOW + 60) is None
    assert robots.named("ci", NOW + 60) is None
    assert robots.exist
    assert revoke(layout.robots, secrets, "ci") == made
    assert (robots.find(secret, NOW), robots.named("ci", NOW), robots.exist) == (None, None, False)


def test_without_an_end(layout: Layout, secrets: Secrets) -> None:
    robot, secret = create(layout.robots, secrets, "ci", PULL_PUSH, now=NOW, expires=None)
    assert Robots(layout.robots).find(secret, NOW * 10) == robot


def test_the_file_is_for_its_owner_and_has_no_secret(layout: Layout, secrets: Secrets) -> None:
    _, secret = create(layout.robots, secrets, "ci", PULL_PUSH, now=NOW, expires=NOW + 60)
    with open(layout.robots) as file:
        text = file.read()
    assert secret[14:] not in text
    (entry,) = json.loads(text)["robots"]
    assert set(entry) == {"name", "id", "digest", "scopes", "created", "expires"}
    assert stat.S_IMODE(os.stat(layout.robots).st_mode) == 0o600


def test_its_rights(layout: Layout, secrets: Secrets) -> None:
    robot, _ = create(layout.robots, secrets, "ci", PULL_PUSH, now=NOW, expires=None)

    def allowed(action: Action, name: str) -> bool:
        return any(grant.covers(Operation(action, RepositoryName(name))) for grant in robot.grants)

    assert [allowed(action, "ci/app") for action in (Action.PULL, Action.PUSH, Action.MOVE)] == [True] * 3
    assert not allowed(Action.DELETE, "ci/app")
    assert not allowed(Action.PULL, "other/app")


def test_others_are_not_found(layout: Layout, secrets: Secrets) -> None:
    _, secret = create(layout.robots, secrets, "ci", PULL_PUSH, now=NOW, expires=None)
    robots = Robots(layout.robots)
    same_number = secret[:14] + "0" * 64
    forged = same_number + module._checksum(same_number)
    assert number_of(forged) == number_of(secret)
    for text in (forged, new_secret()[0], "", "secret", "ocir_" + "é" * 81, secret.upper()):
        assert robots.find(text, NOW) is None


def test_the_whole_digest_is_compared(
    layout: Layout, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a number that nobody has: by a function whose time does not depend on where two differ."""
    _, secret = create(layout.robots, secrets, "ci", PULL_PUSH, now=NOW, expires=None)
    compared: list[tuple[int, int]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    robots = Robots(layout.robots)
    for text in (secret, new_secret()[0]):
        robots.find(text, NOW)
    assert compared == [(64, 64)] * 2


def test_a_fingerprint_is_of_the_secret_and_the_rights(layout: Layout, secrets: Secrets) -> None:
    found = set()
    for scopes in (PULL_PUSH, PULL_PUSH, ("repository:ci/*:pull",)):
        robot, _ = create(layout.robots, secrets, "ci", scopes, now=NOW, expires=None)
        found.add(robot.fingerprint)
        assert Robots(layout.robots).all["ci"].fingerprint == robot.fingerprint
        revoke(layout.robots, secrets, "ci")
    assert len(found) == 3
    assert all(len(each) == 16 for each in found)


def test_names_are_one_robots(layout: Layout, secrets: Secrets) -> None:
    create(layout.robots, secrets, "ci", PULL_PUSH, now=NOW, expires=None)
    with pytest.raises(RobotExists, match="there is a token ci"):
        create(layout.robots, secrets, "ci", PULL_PUSH, now=NOW, expires=None)
    with pytest.raises(RobotMissing, match="there is no token cd: `registry token list`"):
        revoke(layout.robots, secrets, "cd")
    assert list(Robots(layout.robots).all) == ["ci"]


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", ".a", "a/b", "x" * 65, "a\n", "é"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a token"):
        check_name(name)


@pytest.mark.parametrize(
    "scope",
    [
        *("repository:ci/*:pull,push", "repository:*:*", "repository:team/app:delete"),
        *("repository:a:create,move", "registry:catalog:*"),
    ],
)
def test_scopes(scope: str) -> None:
    assert check_scope(scope) == scope


@pytest.mark.parametrize(
    "scope",
    [
        *("", "ci/*", "repository:ci/*", "repository:ci/*:", "repository:ci/*:read", "repository:CI:pull"),
        *("repository:a:pull,read", "repository:a:pull repository:b:pull", "repository:[ab]:pull"),
        *("registry:catalog:pull", "repository(plugin):a:pull", "repository:a:pull\n", "repository:a?:pull"),
    ],
)
def test_scopes_that_are_none(scope: str) -> None:
    with pytest.raises(ValueError, match="is no scope: expected repository:PATTERN:ACTIONS"):
        check_scope(scope)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "[]",
            "{}",
            '{"robots": {}}x',
            '{"robots": [1]}',
            '{"robots": [{"name": "ci"}]}',
            "[" * 99_999,
        ),
        '{"robots": [{"name": "a b", "id": "", "digest": "", "scopes": [], "created": 0, "expires": null}]}',
        '{"robots": [{"name": "a", "id": "", "digest": "", "scopes": ["x"], "created": 0, "expires": 1}]}',
        '{"robots": [{"name": 1, "id": "", "digest": "", "scopes": [], "created": 0, "expires": null}]}',
    ],
)
def test_a_file_that_is_none_takes_nobody_in_and_opens_nothing(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "robots.json"
    path.write_text(text)
    path.chmod(0o600)
    robots = Robots(str(path))
    assert (robots.all, robots.exist) == ({}, True)
    assert len(caplog.records) == 1
    assert "it is not what `registry token` writes" in caplog.text
