"""Lists of upstreams: kept for a while, and in pages as ours are."""

import pytest

from registry.cache.listings import Lately, page_of, sort_referrers
from registry.descriptors import Descriptor
from storage.digest import Digest
from storage.manifest_rows import ManifestRow
from tests.auth.hands import Hand

KEY = ("@up.example/a", "tags")


def test_a_list_is_kept_for_a_while() -> None:
    clock = Hand()
    lately: Lately[str] = Lately(clock)
    assert lately.get(KEY) is None
    lately.put(KEY, ["v1"], 60)
    clock.now += 59
    assert lately.get(KEY) == ["v1"]
    clock.now += 1
    assert lately.get(KEY) is None
    lately.put(KEY, ["v2"], 60)
    assert lately.get(KEY) == ["v2"]


def test_the_oldest_of_too_many_entries_go() -> None:
    lately: Lately[int] = Lately(Hand(), most=10)
    for number in range(4):
        lately.put((str(number), ""), [0, 0], 60)
    assert [lately.get((str(number), "")) for number in range(4)] == [None, [0, 0], [0, 0], [0, 0]]
    lately.put(("1", ""), [0] * 9, 60)
    assert [lately.get((str(number), "")) for number in range(4)] == [None, [0] * 9, None, None]
    lately.put(("too", "long"), [0] * 10, 60)
    assert lately.get(("too", "long")) is None


ROWS = sort_referrers(
    Descriptor("application/x", Digest.of(b"%d" % number), number, kind, {"n": str(number)})
    for number, kind in enumerate(["b", "a", "b", "c"])
)


def kinds(rows: list[ManifestRow]) -> str:
    return "".join(row.artifact_type for row in rows)


def test_referrers_are_sorted_as_the_index_sorts_them() -> None:
    assert kinds(ROWS) == "abbc"
    assert ROWS[1].digest.binary < ROWS[2].digest.binary
    assert ROWS[0].annotations == '{"n":"1"}'


@pytest.mark.parametrize(
    ("kind", "after", "limit", "found", "more"),
    [
        (None, ("", b""), 10, "abbc", False),
        (None, ("", b""), 2, "ab", True),
        (None, ("b", ROWS[1].digest.binary), 2, "bc", False),
        ("b", ("", b""), 1, "b", True),
        ("b", ("b", ROWS[1].digest.binary), 5, "b", False),
        ("z", ("", b""), 5, "", False),
        (None, ("", b""), 0, "", True),
    ],
)
def test_a_page(kind: str | None, after: tuple[str, bytes], limit: int, found: str, more: bool) -> None:
    rows, follows = page_of(ROWS, kind, after, limit)
    assert (kinds(rows), follows) == (found, more)
