"""Who a client certificate makes of its bearer."""

import pytest

from registry.access import ANONYMOUS, Actor, Authenticator, Shown
from registry.api.identities import Identities
from registry.auth.certificates import Certificates
from registry.errors import Unauthenticated

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("shown", "actor"),
    [
        (Shown(), None),
        (Shown(certificate="build"), Actor("cert:build")),
        (Shown(certificate="alice"), Actor("cert:alice")),
        (Shown(authorization=b"Basic x", certificate="build"), None),
        (Shown(authorization=b"Basic x"), None),
    ],
)
async def test_identify(shown: Shown, actor: Actor | None) -> None:
    assert await Certificates().identify(shown) == actor


class Passwords:
    """Knows everyone by the header."""

    async def identify(self, shown: Shown) -> Actor | None:
        return Actor(shown.authorization.decode()) if shown.authorization else None


@pytest.mark.parametrize("backwards", [False, True])
async def test_an_authorization_wins_in_any_order(backwards: bool) -> None:
    both: list[Authenticator] = [Passwords(), Certificates()]
    identities = Identities(both[::-1] if backwards else both)
    assert (await identities.identify(Shown(b"alice", "build"))).name == "alice"
    assert (await identities.identify(Shown(b"", "build"))).name == "cert:build"
    assert await identities.identify(Shown()) == ANONYMOUS


async def test_a_header_that_nobody_reads_is_no_leave_to_use_the_certificate() -> None:
    with pytest.raises(Unauthenticated):
        await Identities([Certificates()]).identify(Shown(b"Bearer x", "build"))
