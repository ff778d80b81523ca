"""Which manifests are needed: small graphs in tables, and large ones in bounded time."""

import time
from collections.abc import Mapping, Sequence

import pytest

from storage.digest import Digest
from storage.liveness import Held, in_order, live

NOW, SINCE = 1000, 900
ABSENT = b"never here"


def name(blob: int, algorithm: str = "sha256") -> Digest:
    return Digest.of(b"manifest %d" % blob, algorithm)


def held(blob: int, *, of: int | bytes | None = None, untagged: bool = False, used: int = 0) -> Held:
    """A manifest whose subject is another one's blob, or bytes that are not here."""
    subject = Digest.of(of).binary if isinstance(of, bytes) else name(of).binary if of is not None else None
    return Held(blob, name(blob).binary, subject, untagged, used)


def kept(
    manifests: Sequence[Held],
    tags: Mapping[str, int] | None = None,
    children: Mapping[int, Sequence[int]] | None = None,
) -> set[int]:
    return live(manifests, list((tags or {}).items()), children or {}, SINCE)


@pytest.mark.parametrize(
    ("manifest", "stays"),
    [
        (held(1), True),
        (held(1, used=NOW), True),
        (held(1, untagged=True, used=SINCE - 1), False),
        (held(1, untagged=True, used=SINCE), True),
        (held(1, untagged=True, used=NOW), True),
        (held(1, of=ABSENT), True),
        (held(1, of=ABSENT, untagged=True), False),
        (held(1, of=ABSENT, untagged=True, used=NOW), True),
        (held(1, of=1), False),
    ],
    ids=[
        "only by digest",
        "only by digest, just now",
        "untagged long ago",
        "untagged, used at the last moment that counts",
        "untagged just now",
        "its subject never came",
        "its subject went long ago",
        "its subject went just now",
        "its own subject",
    ],
)
def test_a_manifest_by_itself(manifest: Held, stays: bool) -> None:
    assert kept([manifest]) == ({1} if stays else set())
    assert kept([manifest], {"t": 1}) == {1}


OLD = [held(blob, untagged=True) for blob in range(1, 6)]
REFERRERS = [
    held(1, untagged=True),
    held(2, of=1),
    held(3, of=2, untagged=True, used=NOW),
    held(4, of=1),
]


@pytest.mark.parametrize(
    ("manifests", "tags", "children", "stay"),
    [
        (OLD, {"t": 1}, {1: [2, 3], 3: [4]}, {1, 2, 3, 4}),
        (OLD, {"t": 2}, {1: [2, 3]}, {2}),
        (OLD, {"t": 1, "u": 5}, {1: [2], 5: [2]}, {1, 2, 5}),
        (OLD, {"t": 1}, {1: [1]}, {1}),
        (OLD, {"t": 2}, {1: [2], 2: [1]}, {1, 2}),
        (OLD, {}, {1: [2], 2: [1]}, set()),
        (OLD, {"t": 1}, {1: [99]}, {1, 99}),
        ([held(1), held(2)], {}, {1: [2]}, {1, 2}),
        ([held(1, untagged=True), held(2)], {}, {1: [2]}, set()),
        ([held(1, untagged=True), held(2, untagged=True, used=NOW)], {}, {1: [2]}, {2}),
        (REFERRERS, {}, {}, {3}),
        (REFERRERS, {"t": 1}, {}, {1, 2, 3, 4}),
        (REFERRERS, {"t": 2}, {}, {2, 3}),
        (REFERRERS, {"t": 3}, {}, {3}),
        ([held(1, of=2), held(2, of=1)], {}, {}, set()),
        ([held(1, of=2), held(2, of=1)], {"t": 1}, {}, {1, 2}),
        ([held(1), held(2, untagged=True), held(3, of=2)], {}, {1: [2]}, {1, 2, 3}),
    ],
    ids=[
        "an index keeps its images, and theirs",
        "an image with a tag keeps no index",
        "two indexes share an image",
        "an index that names itself",
        "a cycle that a tag leads into",
        "a cycle that nothing leads into",
        "an index names a blob",
        "an index pushed by digest",
        "an image belongs to its index",
        "an image was used, its index is old",
        "referrers keep no subject",
        "a subject keeps its referrers, and theirs",
        "a referrer with a tag keeps its own alone",
        "the last of a chain keeps nothing",
        "two that refer to each other",
        "two that refer to each other, one has a tag",
        "what refers to an image of an index",
    ],
)
def test_graphs(
    manifests: Sequence[Held], tags: Mapping[str, int], children: Mapping[int, Sequence[int]], stay: set[int]
) -> None:
    assert kept(manifests, tags, children) == stay
    assert kept(list(reversed(manifests)), tags, children) == stay


def wide(blob: int) -> Held:
    """Pushed under sha512."""
    return Held(blob, name(blob, "sha512").binary, None, True, 0)


SIGNATURE = 2


@pytest.mark.parametrize(
    ("tag", "belongs"),
    [
        ("sha256-{short}", True),
        ("sha256-{short}.sig", True),
        ("sha256-{short}.att", True),
        ("sha256-{short}.", True),
        ("sha256-{short}.a.b", True),
        ("sha512-{long}", True),
        ("sha512-{long}.sbom", True),
        ("sha256-{short}-sig", False),
        ("sha256-{short}0", False),
        ("sha256-{cut}", False),
        ("sha256-{cut}.sig", False),
        ("SHA256-{short}", False),
        ("sha256-{upper}", False),
        ("sha256_{short}", False),
        ("sha256{short}", False),
        ("xsha256-{short}", False),
        ("sha512-{short}", False),
        ("sha512-{cut}", False),
        ("sha256-{long}", False),
        ("sha384-{short}", False),
        ("md5-{short}", False),
        ("sha256-", False),
        ("sha256-.sig", False),
        ("latest", False),
    ],
)
@pytest.mark.parametrize("alive", [True, False], ids=["of what is live", "of what is not"])
def test_tags_of_the_schema_belong_to_what_they_name(tag: str, belongs: bool, alive: bool) -> None:
    """Any other tag keeps its manifest by itself, however much it looks like one of them."""
    manifests = [held(1, untagged=True), held(SIGNATURE), wide(3)]
    short, long = name(1).encoded, name(3, "sha512").encoded
    text = tag.format(short=short, long=long, cut=short[:-1], upper=short.upper())
    named = {"one": 1, "three": 3} if alive else {}
    assert (SIGNATURE in kept(manifests, {text: SIGNATURE, **named})) is (alive or not belongs)
    assert (1 in kept(manifests, {text: SIGNATURE})) is False, "a signature keeps nothing that it signs"


@pytest.mark.parametrize(
    ("tags", "stay"),
    [
        ({f"sha256-{name(1).encoded}": 1}, {1}),
        ({f"sha256-{name(9).encoded}": 1}, set()),
        ({f"sha256-{name(1).encoded}": 2, f"sha256-{name(2).encoded}": 1}, {1, 2}),
        ({f"sha256-{name(1).encoded}": 2, "t": 2}, {2}),
        ({f"sha256-{name(1).encoded}": 2, f"sha256-{name(2).encoded}": 3, "t": 1}, {1, 2, 3}),
    ],
    ids=["of itself", "of what went", "two of each other", "with another tag", "of a signature"],
)
def test_odd_tags_of_the_schema(tags: Mapping[str, int], stay: set[int]) -> None:
    assert kept([held(blob, untagged=True) for blob in (1, 2, 3)], tags) == stay


@pytest.mark.parametrize(
    ("signature", "stays"),
    [
        (held(1), True),
        (held(1, untagged=True, used=SINCE), True),
        (held(1, untagged=True, used=SINCE - 1), False),
    ],
    ids=["never was here", "went not long ago", "went long ago"],
)
def test_a_tag_of_the_schema_keeps_what_came_before_its_subject(signature: Held, stays: bool) -> None:
    assert kept([signature], {f"sha256-{name(9).encoded}.sig": 1}) == ({1} if stays else set())


@pytest.mark.parametrize(
    ("blobs", "belongings", "ordered"),
    [
        ([1, 2, 3], {3: [2], 2: [1]}, [3, 2, 1]),
        ([1, 2, 3], {1: [3], 2: [3]}, [1, 2, 3]),
        ([1, 2], {1: [9], 9: [2]}, [1, 2]),
        ([1, 2, 3], {1: [2], 2: [1, 3]}, []),
        ([1, 2, 3, 4], {1: [2], 2: [1], 3: [4]}, [3, 4]),
    ],
    ids=[
        "a chain",
        "of two",
        "through what is not asked for",
        "a circle and what hangs on it",
        "beside a circle",
    ],
)
def test_what_belongs_to_something_comes_after_it(
    blobs: list[int], belongings: Mapping[int, Sequence[int]], ordered: list[int]
) -> None:
    assert in_order(blobs, belongings) == ordered
    halves = (
        {o: b for o, b in belongings.items() if o % 2},
        {o: b for o, b in belongings.items() if not o % 2},
    )
    assert sorted(in_order(blobs, *halves)) == sorted(ordered)


# -- large graphs ------------------------------------------------------------------------------------------

LEVELS = 30
COUNT = 100_000


def diamond() -> dict[int, list[int]]:
    """Two indexes a level, each of which names both of the next: 2^30 ways to the last."""
    return {
        2 * level + side: [2 * level + 2, 2 * level + 3] for level in range(LEVELS - 1) for side in (0, 1)
    }


def ring(count: int) -> dict[int, list[int]]:
    return {blob: [(blob + 1) % count] for blob in range(count)}


@pytest.mark.parametrize(
    ("children", "count"),
    [
        (diamond(), 2 * LEVELS),
        ({**diamond(), 2 * LEVELS - 1: [0, 1]}, 2 * LEVELS),
        (ring(COUNT), COUNT),
        ({0: list(range(COUNT))}, COUNT),
    ],
    ids=["a diamond of 30 levels", "a diamond that ends where it begins", "a ring", "an index of very many"],
)
def test_no_graph_takes_long(children: Mapping[int, Sequence[int]], count: int) -> None:
    manifests = [held(blob, untagged=True) for blob in range(count)]
    for tags, stay in (({"t": 0}, children_of(children, 0)), (dict[str, int](), set[int]())):
        begun = time.process_time()
        assert kept(manifests, tags, children) == stay
        assert time.process_time() - begun < 1


def children_of(children: Mapping[int, Sequence[int]], top: int) -> set[int]:
    """The slow way that can't be wrong: level by level until nothing is new."""
    found = {top}
    newest = [top]
    while newest:
        newest = [child for blob in newest for child in children.get(blob, ()) if child not in found]
        newest = list(dict.fromkeys(newest))
        found.update(newest)
    return found


def test_a_long_chain_of_referrers_takes_no_recursion() -> None:
    manifests = [held(0), *(held(blob, of=blob - 1) for blob in range(1, COUNT))]
    begun = time.process_time()
    assert len(kept(manifests)) == COUNT
    assert time.process_time() - begun < 1
