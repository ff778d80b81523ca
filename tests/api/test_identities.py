"""Who a request is from: asked once in a while, kept apart by all that was shown."""

import pytest

from registry.access import ANONYMOUS, Actor, Shown
from registry.api import identities
from registry.api.identities import Identities, authorization_of
from registry.errors import Unauthenticated


class Reads:
    """The name that is shown; `asked` are all that it was shown."""

    def __init__(self) -> None:
        self.asked: list[Shown] = []

    async def identify(self, shown: Shown) -> Actor | None:
        self.asked.append(shown)
        if shown.authorization == b"wrong":
            raise Unauthenticated("wrong")
        name = shown.authorization.decode() or shown.certificate
        return Actor(name) if name != "unread" else None


@pytest.fixture
def reads() -> Reads:
    return Reads()


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def known(reads: Reads, now: list[float]) -> Identities:
    return Identities([reads], clock=lambda: now[0])


SHOWN = (
    Shown(b"alice"),
    Shown(b"bob"),
    Shown(b"alice", address="192.0.2.1"),
    Shown(b"alice", certificate="build"),
    Shown(certificate="build"),
    Shown(certificate="alice"),
)


async def test_what_is_shown_is_asked_about_once_in_a_moment(
    known: Identities, reads: Reads, now: list[float]
) -> None:
    for _ in range(3):
        for shown in SHOWN:
            actor = await known.identify(shown)
            assert (actor.name, actor.address) == (
                shown.authorization.decode() or shown.certificate,
                shown.address,
            )
            standing = known.known(shown)
            assert standing is not None
            assert standing.actor is actor
    assert reads.asked == list(SHOWN), "each by itself, and none twice"
    now[0] += identities._LASTING
    assert known.known(SHOWN[0]) is None
    await known.identify(SHOWN[0])
    assert len(reads.asked) == len(SHOWN) + 1


async def test_nothing_shown_is_anonymous_and_nobody_is_asked(known: Identities, reads: Reads) -> None:
    for address in ("192.0.2.1", "192.0.2.2"):
        found = known.known(Shown(address=address))
        assert found is not None
        assert (found.actor.name, found.actor.address) == ("", address)
    assert not reads.asked


async def test_without_authenticators_everyone_is_anonymous() -> None:
    assert await Identities().identify(Shown(b"alice")) == ANONYMOUS


@pytest.mark.parametrize("shown", [Shown(b"wrong"), Shown(b"unread")])
async def test_what_is_wrong_or_unread_is_refused_each_time(
    known: Identities, reads: Reads, shown: Shown
) -> None:
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await known.identify(shown)
    assert len(reads.asked) == 2


async def test_memory_is_bounded(known: Identities) -> None:
    for number in range(identities._MOST + 10):
        await known.identify(Shown(str(number).encode()))
    assert len(known._known) <= identities._MOST


async def test_no_credential_stays_in_memory(known: Identities) -> None:
    await known.identify(Shown(b"alice's password", certificate="build"))
    assert not any(b"password" in key for key, _ in known._known)


def test_two_headers_are_one_too_many() -> None:
    """RFC 9110, section 5.3: it is no list; who is in front may believe the other one."""
    one = (b"authorization", b"a")
    assert authorization_of([(b"host", b"x"), one]) == b"a"
    assert authorization_of([(b"host", b"x")]) == b""
    with pytest.raises(Unauthenticated, match="more than one"):
        authorization_of([one, one])
