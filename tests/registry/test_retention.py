"""Which tags go, by which rule the others stay, and what a change in between does."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from registry.names import RepositoryName
from registry.retention import Applied, Plan, affected, apply, plan, plan_one, retain
from registry.retention_rules import Rule
from storage.digest import Digest
from storage.store import Store, open_store
from storage.tagged import Tagged
from tests.registry.listening import Keeps
from tests.storage.hands import Hands
from tests.storage.pushing import allow, push_manifest

DAY = 86_400
NOW = 1000 * DAY
NAME = RepositoryName("ci/app")
DIGEST = Digest.of(b"one")
SIGNATURE = f"sha256-{DIGEST.encoded}.sig"


def tag(name: str, moved: float, pulled: float | None = None) -> Tagged:
    """`moved` and `pulled` so many days ago."""
    return Tagged(name, DIGEST, int(NOW - moved * DAY), None if pulled is None else int(NOW - pulled * DAY))


TAGS = [
    tag("latest", 1),
    tag("main", 3, 0.5),
    tag("old", 40),
    tag("older-but-used", 400, 6),
    tag("used-once", 50, 20),
    tag("v1", 90),
]
ALL = {each.name for each in TAGS}


def rule(**keeps: object) -> Rule:
    return Rule(("ci/*",), **keeps)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (None, ALL),
        (rule(), ALL),
        (rule(untagged=0), ALL),
        (rule(keep_last=2), {"latest", "main"}),
        (rule(keep_last=6), ALL),
        (rule(keep_last=10**9), ALL),
        (rule(keep_newer=DAY - 1), set()),
        (rule(keep_newer=DAY), {"latest"}),
        (rule(keep_newer=40 * DAY), {"latest", "main", "old"}),
        (rule(keep_pulled=7 * DAY), {"latest", "main", "older-but-used"}),
        (rule(keep_pulled=DAY), {"latest", "main"}),
        (rule(keep_tags=("v*", "latest")), {"latest", "v1"}),
        (rule(keep_tags=("none",)), set()),
        (rule(keep_tags=("v*",), keep_last=1), {"latest", "v1"}),
        (
            rule(keep_tags=("v*",), keep_last=1, keep_newer=5 * DAY, keep_pulled=20 * DAY),
            {"latest", "main", "older-but-used", "used-once", "v1"},
        ),
    ],
)
def test_a_tag_stays_if_any_rule_keeps_it(policy: Rule | None, kept: set[str]) -> None:
    found = plan(NAME, TAGS, policy, (), NOW)
    assert {verdict.tag.name for verdict in found.verdicts if verdict.keeps} == kept
    assert {each.name for each in found.removed} == ALL - kept
    assert [verdict.tag for verdict in found.verdicts] == TAGS


@pytest.mark.parametrize(
    ("policy", "name", "reason"),
    [
        (None, "v1", "no rule"),
        (rule(untagged=0), "v1", "no rule"),
        (rule(keep_last=1, keep_newer=5 * DAY), "latest", "keep_last, keep_newer"),
        (rule(keep_last=1, keep_newer=5 * DAY), "main", "keep_newer"),
        (rule(keep_tags=("v*",), keep_pulled=100 * DAY), "v1", "keep_tags, keep_pulled"),
        (rule(keep_last=1), "v1", "nothing keeps it"),
    ],
)
def test_each_verdict_has_its_reason(policy: Rule | None, name: str, reason: str) -> None:
    verdicts = {verdict.tag.name: verdict for verdict in plan(NAME, TAGS, policy, (), NOW).verdicts}
    assert verdicts[name].reason == reason


def test_of_tags_that_moved_together_the_last_by_name_are_the_newest() -> None:
    tags = [tag(name, 1) for name in ("1.8", "1.9", "2.0")]
    assert [each.name for each in plan(NAME, tags, rule(keep_last=2), (), NOW).removed] == ["1.8"]


def test_what_moves_later_than_now_is_new() -> None:
    """As after a restore onto a store whose time is behind."""
    assert plan(NAME, [tag("x", -3650)], rule(keep_newer=1), (), NOW).removed == []


def test_tags_that_refer_to_a_digest_are_neither_counted_nor_removed() -> None:
    signatures = [tag(SIGNATURE, 0), tag(SIGNATURE.removesuffix(".sig"), 900)]
    found = plan(NAME, [*TAGS, *signatures], rule(keep_last=1), (), NOW)
    kept = {verdict.tag.name: verdict.reason for verdict in found.verdicts if verdict.keeps}
    why = "goes with the digest that it refers to"
    assert kept == {"latest": "keep_last", **{each.name: why for each in signatures}}
    likely = tag("sha256-123", 900)
    assert likely in plan(NAME, [*TAGS, likely], rule(keep_last=1), (), NOW).removed


def test_immutable_tags_stay() -> None:
    guard = Keeps(["v1"])
    found = plan(NAME, TAGS, rule(keep_last=1), [guard], NOW)
    verdicts = {verdict.tag.name: verdict.reason for verdict in found.verdicts}
    assert (verdicts["v1"], verdicts["old"]) == ("immutable", "nothing keeps it")
    assert {(move.old, move.new) for move in guard.asked} == {(DIGEST, None)}


# -- on a store ------------------------------------------------------------------------------------------

LAST = (Rule(("ci/*",), keep_last=1),)


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
async def store(tmp_path: Path, hands: Hands) -> AsyncIterator[Store]:
    """ci/app with a to d, each a day after the one before; other/app with a and b."""
    store = open_store(str(tmp_path / "root"), durable=False, machine=hands.machine)
    for name in "abcd":
        await push_manifest(store, NAME, name.encode(), tags=[name])
        hands.wait(DAY)
    await push_manifest(store, "other/app", b"a", tags=["a", "b"])
    yield store
    store.close()


async def tags(store: Store, repository: str = NAME) -> str:
    return "".join(await store.names.listings.tags(repository, after="", limit=99))


async def test_only_matching_repositories_lose_tags(store: Store) -> None:
    assert affected(store, LAST) == [NAME]
    applied = await retain(store, LAST, ())
    assert [(name, each.name) for name, each in applied.removed] == [(NAME, name) for name in "abc"]
    assert (applied.stayed, await tags(store), await tags(store, "other/app")) == ([], "d", "ab")
    assert await retain(store, LAST, ()) == Applied()


@pytest.mark.parametrize("rules", [(), (Rule(("*",), untagged=0),), (Rule(("absent/*",), keep_last=1),)])
async def test_without_a_rule_everything_stays(store: Store, rules: Sequence[Rule]) -> None:
    assert affected(store, rules) == []
    assert await retain(store, rules, ()) == Applied()
    assert await tags(store) == "abcd"


async def test_what_lost_its_tag_stays_by_digest(store: Store) -> None:
    await retain(store, LAST, ())
    assert (await store.names.manifests.find(NAME, Digest.of(b"a"))).size == 1
    sql = "SELECT digest FROM manifests WHERE untagged = ?"
    now = store.database.clock.now()
    rows = await store.database.read(lambda connection: connection.execute(sql, (now,)).fetchall())
    assert {digest for (digest,) in rows} == {Digest.of(raw).binary for raw in (b"a", b"b", b"c")}


async def test_the_history_says_who_took_a_tag(store: Store) -> None:
    await retain(store, LAST, ())
    last, *_ = await store.names.listings.moves(NAME, "a", limit=9)
    assert (last.old, last.new, last.who) == (Digest.of(b"a"), None, "retention")


async def moves_the_tag(store: Store) -> None:
    await push_manifest(store, NAME, b"new", tags=["b"])


async def pushes_the_same_again(store: Store) -> None:
    await push_manifest(store, NAME, b"b", tags=["b"])


async def moves_there_and_back(store: Store) -> None:
    await push_manifest(store, NAME, b"new", tags=["b"])
    await push_manifest(store, NAME, b"b", tags=["b"])


async def removes_the_tag(store: Store) -> None:
    await store.names.manifests.remove_tag(NAME, "b", check=allow)


@pytest.mark.parametrize(
    ("meanwhile", "left"),
    [
        (moves_the_tag, "bd"),
        (pushes_the_same_again, "bd"),
        (moves_there_and_back, "bd"),
        (removes_the_tag, "d"),
    ],
)
async def test_a_tag_that_changed_since_the_plan_stays_as_it_is(
    store: Store, meanwhile: Callable[[Store], Awaitable[None]], left: str
) -> None:
    found = plan_one(store, LAST, (), NAME)
    assert [each.name for each in found.removed] == list("abc")
    await meanwhile(store)
    applied = Applied()
    await apply(store, found, (), applied, "me")
    assert [each.name for _, each in applied.removed] == ["a", "c"]
    assert [each.name for _, each, _ in applied.stayed] == ["b"]
    assert await tags(store) == left


async def test_a_guard_is_asked_in_the_transaction_too(store: Store) -> None:
    guard = Keeps()
    found = plan_one(store, LAST, [guard], NAME)
    guard.tags = ["b"]
    applied = Applied()
    await apply(store, found, [guard], applied, "me")
    assert await tags(store) == "bd"
    ((_, stayed, why),) = applied.stayed
    assert (stayed.name, why) == ("b", "tag b is kept as it is")


async def test_a_repository_that_goes_meanwhile_stops_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push_manifest(store, "ci/last", b"a", tags=["a", "b"])
    names = [RepositoryName("ci/gone"), RepositoryName("ci/last")]
    monkeypatch.setattr("registry.retention.affected", lambda *_: names)
    assert [each.name for _, each in (await retain(store, LAST, ())).removed] == ["a"]


async def test_many_tags_go(store: Store) -> None:
    await push_manifest(store, "ci/many", b"one", tags=[f"t{number:03}" for number in range(250)])
    applied = await retain(store, LAST, ())
    assert len(applied.removed) == 3 + 249
    assert await store.names.listings.tags("ci/many", after="", limit=999) == ["t249"]


# -- clocks ----------------------------------------------------------------------------------------------

AGES = (Rule(("ci/*",), keep_newer=int(2.5 * DAY), keep_pulled=int(1.5 * DAY)),)
TEN_YEARS = 3653 * DAY


def named(found: Plan) -> list[str]:
    return [each.name for each in found.removed]


@pytest.mark.parametrize("jump", [0, TEN_YEARS, -TEN_YEARS])
async def test_a_wall_clock_that_jumps_changes_no_verdict(store: Store, hands: Hands, jump: int) -> None:
    await store.names.manifests.note_pulls([(NAME, Digest.of(b"a"))])
    hands.wall += jump
    hands.wait(DAY)
    assert named(plan_one(store, AGES, (), NAME)) == ["b", "c"]
    await push_manifest(store, NAME, b"e", tags=["e"])
    hands.wall -= jump
    hands.wait(DAY)
    assert named(plan_one(store, AGES, (), NAME)) == ["a", "b", "c", "d"]


OFF = [(-TEN_YEARS, ["a", "b"]), (0, ["a", "b"]), (DAY, ["a", "b", "c"])]


@pytest.mark.parametrize(("off", "removed"), OFF)
async def test_a_boot_with_a_clock_that_goes_wrong_makes_nothing_older(
    store: Store, hands: Hands, off: int, removed: list[str]
) -> None:
    hands.boot_again("another", off=off)
    again = open_store(store.layout.root, durable=False, machine=hands.machine)
    try:
        assert named(plan_one(again, AGES, (), NAME)) == removed
    finally:
        again.close()
