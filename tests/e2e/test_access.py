"""Who may do what, by real clients: anonymous pulls, refused pushes, mounts with and without the right."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.guarded import ADMIN, Guarded, guard, password_of
from tests.e2e.logins import Pusher
from tests.e2e.taking import CLIENTS, done, log_in, refused

pytestmark = pytest.mark.e2e

FORBIDDEN = "forbidden"
# What is shown by those that do not show the answer's own words.
CURT = {"ctr": "401 Unauthorized", "regctl": "unauthorized", "oras-py": "unauthorized"}
CURTLY_DENIED = {"ctr": [FORBIDDEN], "oras-py": [FORBIDDEN, "Cannot respond to request for authentication"]}
WRONG = ("wrong", "unauthorized", "authentication", "invalid username/password")
# They try to mount from where they know the bytes to be, or from anywhere; others look first, or do not try.
HOPEFUL = {"docker", "ctr", "regctl"}
USERS = [ADMIN, *(f"{who}-{client}" for who in ("alice", "bob", "carol") for client in CLIENTS)]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guard(tmp_path_factory.mktemp("server"), {user: password_of(user) for user in USERS}) as running:
        yield running


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def pusher(client: str, request: pytest.FixtureRequest, guarded: Guarded, tmp_path: Path) -> Iterator[Pusher]:
    taken = CLIENTS[client](request, guarded.server, tmp_path)
    yield taken
    taken.put_away()


def test_anyone_pulls_what_is_public_and_nothing_else(pusher: Pusher, client: str, guarded: Guarded) -> None:
    public, team = f"public/{client}", f"team/{client}-anonymous"
    log_in(pusher, f"alice-{client}")
    for repository in (public, team):
        done(pusher.push(repository))
    done(pusher.logout())

    refused(pusher.push(f"{public}-other"), CURT.get(client, f"log in to push to {public}-other"))
    assert f"{public}-other" not in guarded.repositories()
    done(pusher.pull(public))
    assert pusher.pulled() == pusher.image
    refused(pusher.pull(team), CURT.get(client, f"log in to pull {team}"))


def test_who_logs_in_pushes_and_pulls(pusher: Pusher, client: str, guarded: Guarded) -> None:
    user, repository = f"alice-{client}", f"team/{client}"

    # One of her own: regctl tries a wrong password so often that her right one has to wait.
    wrong = pusher.login(f"carol-{client}", "wrong")
    if pusher.asks:
        refused(wrong, *WRONG)
    refused(pusher.push(repository), *WRONG)
    assert repository not in guarded.repositories()

    log_in(pusher, user)
    done(pusher.push(repository))
    done(pusher.pull(repository))

    assert pusher.pulled() == pusher.image
    assert guarded.movers(repository) == [user]


def test_who_may_not_push_is_told_so(pusher: Pusher, client: str, guarded: Guarded) -> None:
    read, hidden = f"team/{client}-refused", f"hidden/{client}-refused"
    before = guarded.server.stored()

    log_in(pusher, f"bob-{client}")
    refused(pusher.push(read), f"bob-{client} may not push to {read}", *CURTLY_DENIED.get(client, []))
    log_in(pusher, f"alice-{client}")
    # Most ask by HEAD first, whose answer says no more than its status.
    refused(pusher.push(hidden), FORBIDDEN, f"alice-{client} may not push to {hidden}")

    assert guarded.server.stored() == before
    assert {read, hidden}.isdisjoint(guarded.repositories())


def test_a_mount_from_what_may_be_read(pusher: Pusher, client: str, guarded: Guarded) -> None:
    source, target = f"team/{client}-from", f"team/{client}-to"
    log_in(pusher, f"alice-{client}")
    done(pusher.push(source))
    stored = guarded.server.stored()

    done(pusher.copy(source, target))

    if pusher.mounts:
        assert set(guarded.mounts(target, source)) == {201}
        assert set(guarded.mounts(target)) == {201}
    assert guarded.server.stored() == stored
    assert guarded.digest(target) == guarded.digest(source)


def test_no_mount_from_what_is_hidden(pusher: Pusher, client: str, guarded: Guarded) -> None:
    hidden, target = f"hidden/{client}", f"team/{client}-hidden"
    log_in(pusher, ADMIN)
    done(pusher.push(hidden))
    done(pusher.pull(hidden))

    log_in(pusher, f"alice-{client}")
    done(pusher.push(target))

    # Whoever has the bytes pushes them, and learns nothing of who else has them.
    assert {one["status"] for one in guarded.uploads(target)} == {202}
    assert bool(guarded.mounts(target)) is (client in HOPEFUL)
    copied = pusher.copy(hidden, f"{target}-copy")
    refused(copied, f"alice-{client} may not pull {hidden}", *CURTLY_DENIED.get(client, []))
    assert f"{target}-copy" not in guarded.repositories()
