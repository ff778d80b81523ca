"""What goes first: tables of holdings, without an index."""

from collections.abc import Mapping, Sequence

import pytest

from storage.holdings import Holdings, Kept, Place
from storage.least_used import Choice, least_used, least_used_tagged

NOW, SINCE = 1000, 940
SIZE = 10  # of each blob

# Blobs: 1 to 9 are manifests, 11 and on are layers.
Manifests = Mapping[int, Kept]


def kept(
    used: int, *names: int, belonging: Sequence[int] = (), tagged: bool = True, going: bool = False
) -> Kept:
    return Kept(used, tagged, going, list(names), [(1, blob) for blob in belonging])


def holdings(
    manifests: Manifests,
    *loose: int,
    active: int = 0,
    free: Sequence[int] = (),
    more: Mapping[Place, Kept] | None = None,
) -> Holdings:
    """A repository that has all that its manifests name; `loose` are further links, `free` count nothing."""
    all_manifests = {(1, blob): each for blob, each in manifests.items()} | dict(more or {})
    links = {
        (repository, child)
        for (repository, _), each in all_manifests.items()
        for child in each.names
        if (repository, child) not in all_manifests
    }
    links |= {(1, blob) for blob in loose}
    sizes = {blob: SIZE for _, blob in {*links, *all_manifests} if blob not in free}
    return Holdings(all_manifests, links, sizes, {1: "@a/b", 2: "@a/c"}, {1: active, 2: active})


def gone(choice: Choice) -> list[int]:
    assert all(repository == 1 for repository, _ in choice.manifests)
    return [blob for _, blob in choice.manifests]


IMAGES = {1: kept(300, 11, 12), 2: kept(100, 11, 13), 3: kept(200, 14)}
# 8 is an index of 1 and 2, 9 one of 2 and 3.
INDEXES = {
    1: kept(10, 11, tagged=False),
    2: kept(10, 12, tagged=False),
    3: kept(10, 13, tagged=False),
    8: kept(100, 1, 2, belonging=[1, 2]),
    9: kept(200, 2, 3, belonging=[2, 3]),
}


@pytest.mark.parametrize(
    ("leave", "manifests", "left"),
    [
        (70, [], 70),
        (69, [2], 50),  # 11 is 1's too
        (50, [2], 50),
        (49, [2, 3], 30),
        (29, [2, 3, 1], 0),
        (0, [2, 3, 1], 0),
        (-5, [2, 3, 1], 0),
    ],
)
def test_the_least_recently_used_goes_first(leave: int, manifests: list[int], left: int) -> None:
    found = least_used(holdings(IMAGES), leave, since=SINCE)
    assert gone(found) == manifests
    assert found.left == left
    assert not found.links


@pytest.mark.parametrize(
    ("leave", "manifests", "left"),
    [(79, [8, 1], 50), (49, [8, 1, 9, 2, 3], 0)],
)
def test_an_index_goes_as_one_and_leaves_what_another_names(
    leave: int, manifests: list[int], left: int
) -> None:
    found = least_used(holdings(INDEXES), leave, since=SINCE)
    assert gone(found) == manifests
    assert found.left == left


def test_a_child_that_was_pulled_keeps_its_index() -> None:
    found = least_used(holdings({**INDEXES, 1: kept(500, 11, tagged=False)}), 79, since=SINCE)
    assert gone(found) == [9, 3]


def test_what_refers_to_a_manifest_goes_with_it_and_after_it() -> None:
    manifests = {1: kept(10, 11, belonging=[2]), 2: kept(5, 12, tagged=False), 3: kept(7, 13)}
    assert gone(least_used(holdings(manifests), 30, since=SINCE)) == [3, 1, 2]


def test_links_that_nothing_names_go_before_all_else() -> None:
    found = least_used(holdings({1: kept(1, 11)}, 12, 13), 30, since=SINCE)
    assert (found.links, found.manifests, found.left) == ([(1, 12)], [], 30)


@pytest.mark.parametrize(
    ("spare", "links", "manifests", "left"),
    [(False, [(1, 12)], [1, 2], 0), (True, [], [1], 30)],
)
def test_what_was_just_used_goes_last_or_is_spared(
    spare: bool, links: list[Place], manifests: list[int], left: int
) -> None:
    """A fetch is bringing 12, whose manifest is of a kind that nobody can read."""
    manifests_held = {1: kept(SINCE - 1, 11), 2: kept(SINCE, 13)}
    found = least_used(holdings(manifests_held, 12, active=SINCE), 0, since=SINCE, spare=spare)
    assert (found.links, gone(found), found.left) == (links, manifests, left)


def test_a_layer_that_two_repositories_have_counts_once() -> None:
    more = {(2, 5): kept(400, 11)}
    held = holdings({1: kept(100, 11)}, more=more)
    assert held.bytes == 3 * SIZE
    found = least_used(held, 29, since=SINCE)
    assert (gone(found), found.left) == ([1], 20)


def test_what_a_pushed_repository_holds_too_counts_nothing() -> None:
    held = holdings({1: kept(100, 11), 2: kept(200, 12)}, free=[11])
    assert held.bytes == 3 * SIZE
    found = least_used(held, 20, since=SINCE)
    assert (gone(found), found.left) == ([1], 20)


def test_a_circle_stays_and_ends() -> None:
    manifests = {1: kept(1, 2, belonging=[2]), 2: kept(1, 1, belonging=[1]), 3: kept(1, 2, belonging=[2])}
    assert gone(least_used(holdings(manifests), 0, since=SINCE)) == [3]


SUPERSEDED = {
    1: kept(900, 11, 12, tagged=False, going=True),
    2: kept(300, 11, 13),
    3: kept(200, 14, 15),
    4: kept(950, 16),
}


@pytest.mark.parametrize(
    ("leave", "tagged", "left"),
    [(80, [], 80), (79, [3], 50), (49, [3, 2], 20), (0, [3, 2], 20)],
)
def test_tags_go_once_what_goes_anyway_is_not_enough(leave: int, tagged: list[int], left: int) -> None:
    found = least_used_tagged(holdings(SUPERSEDED, 17, 18), leave, since=SINCE)
    assert (gone(found), found.left) == ([1, *tagged], left)


def test_what_was_only_pushed_by_digest_loses_no_tag() -> None:
    manifests = {1: kept(100, 11, tagged=False), 2: kept(200, 12)}
    found = least_used_tagged(holdings(manifests), 0, since=SINCE)
    assert (gone(found), found.left) == ([2], 20)
