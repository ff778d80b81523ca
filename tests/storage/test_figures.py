"""What caches count: added up over processes and restarts, the later of what each has seen."""

import asyncio

import pytest

from storage.figures import Counts, State, Tally, add, read
from storage.store import Store, open_store
from tests.storage.conftest import Opener

HUB, QUAY = "docker.io", "quay.io"


def found(store: Store) -> dict[str, Tally]:
    with store.database.scanning() as connection:
        return read(connection)


async def test_processes_add_up(opener: Opener) -> None:
    store, other = opener(), opener()
    first: Counts = {(HUB, "hit"): 3, (HUB, "served"): 2**40}
    await add(store.database, first, {}, 100)
    await add(other.database, {(HUB, "hit"): 4, (QUAY, "miss"): 1}, {}, 200)
    assert found(store) == {
        HUB: Tally({"hit": 7, "served": 2**40}, 100, State()),
        QUAY: Tally({"miss": 1}, 200, State()),
    }


def test_a_restart_keeps_them(root: str) -> None:
    for _ in range(2):
        store = open_store(root, durable=False)
        asyncio.run(add(store.database, {(HUB, "hit"): 5}, {HUB: State(answered=7)}, 100))
        tally = found(store)[HUB]
        store.close()
    assert tally == Tally({"hit": 10}, 100, State(answered=7))


FAILED = State(failed=50, why="it answered 500", resting=55)


@pytest.mark.parametrize(
    ("before", "seen", "after"),
    [
        (State(), FAILED, FAILED),
        (FAILED, State(), FAILED),
        (FAILED, State(answered=60), State(60, 50, "it answered 500", 55)),
        (State(answered=60), State(answered=40), State(answered=60)),
        (FAILED, State(failed=70, why="it is gone"), State(None, 70, "it is gone", 55)),
        (FAILED, State(failed=40, why="it was gone", resting=99), State(None, 50, "it answered 500", 99)),
    ],
)
async def test_the_later_is_what_is_known(opener: Opener, before: State, seen: State, after: State) -> None:
    store = opener()
    await add(store.database, {}, {HUB: before}, 1)
    await add(store.database, {}, {HUB: seen}, 2)
    assert found(store)[HUB] == Tally({}, 1, after)


async def test_no_answer_has_to_be_worked_out_again(opener: Opener) -> None:
    store = opener()
    before = store.names.generation.current
    await add(store.database, {(HUB, "hit"): 1}, {}, 1)
    assert store.names.generation.current == before
