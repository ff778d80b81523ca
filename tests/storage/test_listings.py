"""Listings: complete, in bytewise order, and at a cost that does not grow with what is around the page."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import listings as module
from storage.database import Connection, Database
from storage.digest import Digest
from storage.files import Files, temporary_root
from storage.listings import Listings
from storage.manifest_rows import ManifestRow
from storage.rows import FETCHED
from tests.storage.plans import plans_of, steps_of

ENTRY = module._ENTRY
SUBJECT = Digest.of(b"subject")
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
BUDGET = 2**20

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6
) | st.from_regex(r"[a-cA-C0-2_][a-cA-C0-2._-]{0,4}", fullmatch=True)


@contextmanager
def index() -> Iterator[Database]:
    with temporary_root() as folder:
        files = Files(f"{folder}/degraded", durable=False)
        with closing(Database(f"{folder}/index.db", f"{folder}/lock", files, durable=False)) as database:
            yield database


def bytewise(names: set[str]) -> list[str]:
    return sorted(names, key=str.encode)


def add_repository(connection: Connection, name: str) -> int:
    return int(
        connection.execute("INSERT INTO repositories (name) VALUES (?) RETURNING id", (name,)).fetchone()[0]
    )


def add_manifests(connection: Connection, repository: int, rows: list[ManifestRow]) -> list[int]:
    """Returns the ids of their blobs."""
    ids = []
    for row in rows:
        digest, subject = row.digest.binary, row.subject.binary if row.subject else None
        connection.execute(
            "INSERT INTO blobs (digest, size, created, state) VALUES (?, ?, 0, 1) ON CONFLICT DO NOTHING",
            (digest, row.size),
        )
        (blob,) = connection.execute("SELECT id FROM blobs WHERE digest = ?", (digest,)).fetchone()
        connection.execute(
            "INSERT INTO manifests (repository, blob, digest, media_type, artifact_type, subject, size,"
            " annotations, pushed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            (
                repository,
                blob,
                digest,
                row.media_type,
                row.artifact_type,
                subject,
                row.size,
                row.annotations,
            ),
        )
        ids.append(blob)
    return ids


def add_tags(connection: Connection, repository: int, manifest: int, names: list[str]) -> None:
    connection.executemany(
        "INSERT INTO tags (repository, name, manifest, moved) VALUES (?, ?, ?, 0)",
        [(repository, name, manifest) for name in names],
    )


def manifest(number: int, kind: str = "", *, subject: Digest | None = SUBJECT, note: int = 0) -> ManifestRow:
    """With about `note` bytes of annotations."""
    return ManifestRow(Digest.of(b"%d" % number), MEDIA_TYPE, 1, kind, "x" * (note or 2), subject)


async def walk(page: Callable[[str], Awaitable[list[str]]], limit: int) -> list[str]:
    """All pages, each as long as it may be but the last."""
    found: list[str] = []
    while names := await page(found[-1] if found else ""):
        found += names
        if len(names) < limit:
            return found
    return found


# -- order ---------------------------------------------------------------------------------------------


@given(st.sets(NAMES, max_size=9), st.sets(NAMES, max_size=3))
@settings(max_examples=40, deadline=None)
async def test_the_pages_are_the_whole_whatever_their_length(names: set[str], others: set[str]) -> None:
    """Repositories and tags alike; the catalog without those of upstreams."""
    with index() as database:

        def change(connection: Connection) -> None:
            for name in bytewise(names):
                add_repository(connection, name)
            (repository,) = connection.execute(
                "SELECT id FROM repositories UNION SELECT NULL ORDER BY 1 DESC LIMIT 1"
            ).fetchone()
            tagged = repository or add_repository(connection, "only")
            (blob,) = add_manifests(connection, tagged, [manifest(0)])
            add_tags(connection, tagged, blob, sorted(names))
            other = add_repository(connection, "/other")
            (blob,) = add_manifests(connection, other, [manifest(0)])
            add_tags(connection, other, blob, sorted(others))

        await database.write(change)
        listings = Listings(database)
        pushed = {name for name in (names or {"only"}) if not name.startswith(FETCHED)}
        all_repositories = bytewise({*pushed, "/other"})
        tagged = bytewise(names)[-1] if names else "only"
        for limit in range(1, len(names) + 3):

            async def repositories(after: str, limit: int = limit) -> list[str]:
                return await listings.repositories(after=after, limit=limit)

            assert await walk(repositories, limit) == all_repositories
            for name, expected in ((tagged, names), ("/other", others)):

                async def tags(after: str, name: str = name, limit: int = limit) -> list[str]:
                    return await listings.tags(name, after=after, limit=limit)

                assert await walk(tags, limit) == bytewise(expected)


REFERRERS = st.lists(
    st.tuples(st.sampled_from(["", "a", "a/b", "A", "ä", "日", "🜁"]), st.integers(0, 300)), max_size=8
)


@given(REFERRERS, st.integers(1, 9), st.integers(1, 8 * ENTRY), st.sampled_from([None, "", "a", "ä", "none"]))
@settings(max_examples=60, deadline=None)
async def test_the_pages_of_referrers_are_the_whole(
    kinds: list[tuple[str, int]], limit: int, budget: int, wanted: str | None
) -> None:
    rows = [manifest(number, kind, note=note) for number, (kind, note) in enumerate(kinds)]
    expected = sorted(
        (row for row in rows if wanted in (None, row.artifact_type)),
        key=lambda row: (row.artifact_type.encode(), row.digest.binary),
    )
    with index() as database:

        def change(connection: Connection) -> None:
            add_manifests(connection, add_repository(connection, "a"), rows)
            others = [manifest(900, "a", subject=None), manifest(901, "a", subject=Digest.of(b"other"))]
            add_manifests(connection, add_repository(connection, "b"), [*rows, *others])

        await database.write(change)
        found: list[ManifestRow] = []
        after, more = ("", b""), True
        while more:
            page, more = await Listings(database).referrers(
                "a", SUBJECT, artifact_type=wanted, after=after, limit=limit, budget=budget
            )
            assert len(page) <= limit
            assert len(page) <= 1 or sum(ENTRY + len(row.annotations) for row in page) <= budget
            assert page or not more
            found += page
            after = (page[-1].artifact_type, page[-1].digest.binary) if page else after
        assert found == expected


@pytest.mark.parametrize(
    ("notes", "limit", "budget", "fitting"),
    [
        ([10, 10, 10], 9, 3 * ENTRY + 30, 3),
        ([10, 10, 10], 9, 3 * ENTRY + 29, 2),
        ([10, 10, 10], 2, 9 * ENTRY, 2),
        ([9999, 10], 9, 3 * ENTRY, 1),
        ([10, 9999], 9, 3 * ENTRY, 1),
        ([9999], 9, 1, 1),
        ([10, 10], 0, 3 * ENTRY, 0),
        ([], 9, 3 * ENTRY, 0),
    ],
)
async def test_a_page_of_referrers_has_a_budget_but_at_least_one(
    notes: list[int], limit: int, budget: int, fitting: int
) -> None:
    rows = [manifest(number, f"{number}", note=note) for number, note in enumerate(notes)]
    with index() as database:
        await database.write(
            lambda connection: add_manifests(connection, add_repository(connection, "a"), rows)
        )
        page, more = await Listings(database).referrers(
            "a", SUBJECT, artifact_type=None, after=("", b""), limit=limit, budget=budget
        )
    assert page == rows[:fitting]
    assert more is (fitting < len(rows))


async def test_a_budget_counts_bytes_not_characters() -> None:
    rows = [ManifestRow(Digest.of(b"%d" % n), MEDIA_TYPE, 1, f"{n}", "日" * 10, SUBJECT) for n in range(2)]
    with index() as database:
        await database.write(
            lambda connection: add_manifests(connection, add_repository(connection, "a"), rows)
        )
        page, more = await Listings(database).referrers(
            "a", SUBJECT, artifact_type=None, after=("", b""), limit=9, budget=2 * ENTRY + 59
        )
    assert (page, more) == (rows[:1], True)


# -- cost ----------------------------------------------------------------------------------------------

MANY = 10_000


@pytest.fixture(scope="module")
def many() -> Iterator[Database]:
    """10,000 repositories; in `big` as many tags and referrers, of three types."""
    with index() as database:

        def change(connection: Connection) -> None:
            connection.executemany(
                "INSERT INTO repositories (name) VALUES (?)", [(f"r{number:05}",) for number in range(MANY)]
            )
            big = add_repository(connection, "big")
            rows = [manifest(number, f"type/{number % 3}") for number in range(MANY)]
            (first, *_) = add_manifests(connection, big, rows)
            add_tags(connection, big, first, [f"t{number:05}" for number in range(MANY)])

        database._writer.execute("BEGIN")
        change(database._writer)
        database._writer.execute("COMMIT")
        yield database


Listing = Callable[[Listings, int], Awaitable[object]]


def referrers(kind: str | None) -> Listing:
    """From a place in the listing that is about at that share of it."""

    def call(listings: Listings, at: int) -> Awaitable[object]:
        after = (kind or f"type/{3 * at // MANY}", bytes([1, 256 * at // MANY])) if at else ("", b"")
        return listings.referrers("big", SUBJECT, artifact_type=kind, after=after, limit=100, budget=BUDGET)

    return call


LISTINGS: dict[str, tuple[str, Listing]] = {
    "repositories": (
        "sqlite_autoindex_repositories",
        lambda listings, at: listings.repositories(after=f"r{at:05}", limit=100),
    ),
    "tags": (
        "PRIMARY KEY (repository=? AND name>?)",
        lambda listings, at: listings.tags("big", after=f"t{at:05}", limit=100),
    ),
    "referrers": ("manifests_subject", referrers(None)),
    "referrers of a type": ("manifests_subject", referrers("type/1")),
}
every_listing = pytest.mark.parametrize(("index_used", "listing"), LISTINGS.values(), ids=LISTINGS)


@every_listing
async def test_every_listing_is_a_range_of_an_index(
    many: Database, index_used: str, listing: Listing
) -> None:
    plans = await plans_of(many, listing(Listings(many), MANY // 2))
    assert any(index_used in plan for plan in plans.values()), plans
    assert {plan for plan in plans.values() if "TEMP B-TREE" in plan or "SCAN" in plan} == set()


@every_listing
async def test_a_page_costs_the_same_wherever_it_stands(
    many: Database, index_used: str, listing: Listing
) -> None:
    listings = Listings(many)
    costs = []
    for at in (0, MANY // 2, MANY - 1000):
        page = listing(listings, at)
        costs.append(await steps_of(many, page))
    assert costs[0] > 100
    assert max(costs) < 1.5 * costs[0]


@pytest.mark.parametrize(
    ("after", "types"),
    [("", ["b", "b"]), ("a", ["b", "b"]), ("b", ["b", "b"]), ("b-", []), ("c", [])],
)
async def test_pages_of_one_type_begin_where_they_are_told(after: str, types: list[str]) -> None:
    with index() as database:
        rows = [manifest(number, kind) for number, kind in enumerate("abbc")]
        await database.write(
            lambda connection: add_manifests(connection, add_repository(connection, "a"), rows)
        )
        page, more = await Listings(database).referrers(
            "a", SUBJECT, artifact_type="b", after=(after, b""), limit=9, budget=BUDGET
        )
    assert [row.artifact_type for row in page] == types
    assert not more
