"""What is kept of upstreams, counted as budgets count it."""

import pytest

from storage.stock import Stock, is_of, take_stock, upstream_of
from tests.storage.conftest import Opener
from tests.storage.fetching import fetch_image
from tests.storage.pushing import push_blob

SHARED, PUSHED, OWN = bytes(1000), bytes(300), bytes(70)


async def test_stock(opener: Opener) -> None:
    store = opener()
    await push_blob(store, "team/app", PUSHED)
    await fetch_image(store, "@docker.io/library/a", b"manifest a", [SHARED, OWN], ["1", "2"])
    await fetch_image(store, "@docker.io/library/b", b"manifest b", [SHARED], ["1"])
    await fetch_image(store, "@quay.io/c", b"manifest c", [SHARED, PUSHED])
    with store.database.scanning() as connection:
        found, whole = take_stock(connection)
    assert found == {
        "docker.io": Stock(2, 3, 2, 1000 + 70 + 2 * 10),
        "quay.io": Stock(1, 0, 1, 1000 + 10),
    }
    assert whole == Stock(3, 3, 3, 1000 + 70 + 3 * 10)


async def test_an_empty_one(opener: Opener) -> None:
    store = opener()
    await push_blob(store, "team/app", PUSHED)
    with store.database.scanning() as connection:
        assert take_stock(connection) == ({}, Stock(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("repository", "upstream"),
    [
        ("@docker.io/library/alpine", "docker.io"),
        ("@localhost:5001/a/b", "localhost:5001"),
        ("team/app", ""),
        ("docker.io/library/alpine", ""),
    ],
)
def test_whose_it_is(repository: str, upstream: str) -> None:
    assert upstream_of(repository) == upstream
    assert is_of("docker.io")(repository) is (upstream == "docker.io")
