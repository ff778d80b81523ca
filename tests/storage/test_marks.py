"""How far the marks go off: all that a manifest keeps, nothing that keeps it, and in bounded time."""

import time
from collections.abc import Callable, Iterable

import pytest

from storage.database import Connection
from storage.digest import Digest
from storage.manifest_rows import EdgeKind
from storage.marks import has_marks, keep_manifest
from storage.store import Store
from tests.storage.pushing import edge, push_blob, push_manifest, row

TOP, IMAGE, SIGNATURE, LAYER, CONFIG, SIGNED = b"top", b"image", b"signature", b"layer", b"config", b"signed"
PARENT, SUBJECT, OTHER, LOOSE = b"parent", b"subject", b"other", b"loose"


def tag_of(raw: bytes, end: str = "", algorithm: str = "sha256") -> str:
    digest = Digest.of(raw, algorithm)
    return f"{digest.algorithm}-{digest.encoded}{end}"


async def fill(store: Store, *tags: str) -> None:
    """PARENT → TOP → IMAGE → LAYER and CONFIG; TOP refers to SUBJECT; SIGNATURE → SIGNED has the `tags`."""
    for blob in (LAYER, CONFIG, SIGNED, LOOSE):
        await push_blob(store, "a", blob)
    await push_manifest(store, "a", IMAGE, [edge(LAYER), edge(CONFIG, EdgeKind.CONFIG)])
    await push_manifest(store, "a", SUBJECT)
    top = row(TOP, subject=Digest.of(SUBJECT))
    await push_manifest(store, "a", TOP, [edge(IMAGE, EdgeKind.CHILD)], manifest=top)
    await push_manifest(store, "a", PARENT, [edge(TOP, EdgeKind.CHILD)])
    await push_manifest(store, "a", OTHER, [edge(LAYER)])
    await push_manifest(store, "a", SIGNATURE, [edge(SIGNED)], tags)
    await push_blob(store, "b", LAYER)
    await store.database.write(mark_all)


def mark_all(connection: Connection) -> None:
    for table in ("links", "manifests"):
        connection.execute(f"UPDATE {table} SET mark = 1")


async def kept_by(store: Store, raw: bytes) -> set[Digest]:
    """What has no mark any more after the manifest was kept."""
    await store.names.manifests.keep("a", Digest.of(raw))
    sql = (
        "SELECT digest FROM links JOIN blobs ON blobs.id = blob WHERE mark IS NULL"
        " UNION SELECT digest FROM manifests WHERE mark IS NULL"
    )
    rows = await store.database.read(lambda connection: connection.execute(sql).fetchall())
    return {Digest.from_binary(digest) for (digest,) in rows}


def digests(contents: Iterable[bytes]) -> set[Digest]:
    return set(map(Digest.of, contents))


BELOW = {TOP, IMAGE, LAYER, CONFIG}
SIGNED_TOO = {SIGNATURE, SIGNED}


@pytest.mark.parametrize(
    ("raw", "tag", "kept"),
    [
        (IMAGE, "t", {IMAGE, LAYER, CONFIG}),
        (TOP, "t", BELOW),
        (PARENT, "t", {PARENT} | BELOW),
        (SUBJECT, "t", {SUBJECT} | BELOW),
        (OTHER, "t", {OTHER, LAYER}),
        (TOP, tag_of(TOP), BELOW | SIGNED_TOO),
        (TOP, tag_of(TOP, ".sig"), BELOW | SIGNED_TOO),
        (TOP, tag_of(IMAGE, ".sig"), BELOW | SIGNED_TOO),
        (TOP, tag_of(LAYER, ".sig"), BELOW | SIGNED_TOO),
        (SUBJECT, tag_of(TOP, ".att"), {SUBJECT} | BELOW | SIGNED_TOO),
        (IMAGE, tag_of(TOP, ".sig"), {IMAGE, LAYER, CONFIG}),
        (TOP, tag_of(TOP, ".sig")[:-1].replace(".", "0"), BELOW),
        (TOP, tag_of(TOP, algorithm="sha512"), BELOW),
        (SIGNATURE, tag_of(TOP), SIGNED_TOO),
    ],
)
async def test_what_goes_with_a_manifest(store: Store, raw: bytes, tag: str, kept: set[bytes]) -> None:
    await fill(store, tag)
    assert await kept_by(store, raw) == digests(kept)


async def test_another_repository_keeps_its_marks(store: Store) -> None:
    await fill(store)
    await store.names.manifests.keep("a", Digest.of(TOP))
    assert (await store.names.links.find("b", Digest.of(LAYER))).marked


async def test_whether_a_repository_has_any(store: Store) -> None:
    await fill(store)
    for raw in (PARENT, SUBJECT, OTHER, SIGNATURE):
        assert await store.database.read(lambda connection: has_marks(connection, 1))
        await store.names.manifests.keep("a", Digest.of(raw))
    await store.names.links.keep("a", Digest.of(LOOSE))
    assert not await store.database.read(lambda connection: has_marks(connection, 1))
    assert await store.database.read(lambda connection: has_marks(connection, 2))


# -- large graphs (reliability T37) ------------------------------------------------------------------------

LEVELS = 30
COUNT = 20_000


def diamond(connection: Connection) -> None:
    """Two indexes a level, each of which names both of the next: 2^30 ways down, and then up again."""
    for level in range(LEVELS):
        for side in (0, 1):
            _insert(connection, 2 * level + side + 1)
    for level in range(LEVELS):
        following = (level + 1) % LEVELS
        for side in (0, 1):
            for child in (2 * following + 1, 2 * following + 2):
                _name(connection, 2 * level + side + 1, child)


def chain_of_referrers(connection: Connection) -> None:
    for number in range(1, COUNT + 1):
        _insert(connection, number, number - 1)


def wide_index(connection: Connection) -> None:
    for number in range(1, COUNT + 1):
        _insert(connection, number)
        _name(connection, 1, number)


def _insert(connection: Connection, number: int, subject: int = 0) -> None:
    def digest(number: int) -> bytes | None:
        return Digest.of(b"%d" % number).binary if number else None

    connection.execute("INSERT INTO blobs VALUES (?, ?, 1, 0, 1)", (number, digest(number)))
    connection.execute(
        "INSERT INTO manifests (repository, blob, digest, media_type, artifact_type, subject, size,"
        " annotations, pushed, mark) VALUES (1, ?, ?, '', '', ?, 1, '{}', 0, 1)",
        (number, digest(number), digest(subject)),
    )


def _name(connection: Connection, parent: int, child: int) -> None:
    connection.execute("INSERT OR IGNORE INTO edges VALUES (1, ?, ?, 3, 0)", (parent, child))


@pytest.mark.parametrize("fill_in", [diamond, chain_of_referrers, wide_index])
async def test_no_graph_takes_long(store: Store, fill_in: Callable[[Connection], None]) -> None:
    def prepare(connection: Connection) -> None:
        connection.execute("INSERT INTO repositories (id, name) VALUES (1, 'a')")
        connection.execute("PRAGMA defer_foreign_keys=ON")
        fill_in(connection)

    def keep(connection: Connection) -> float:
        begun = time.thread_time()
        keep_manifest(connection, 1, 1)
        return time.thread_time() - begun

    await store.database.write(prepare)
    assert await store.database.write(keep) < 1
    assert not await store.database.read(lambda connection: has_marks(connection, 1))
