"""The second half of a collection: what has been marked for long enough goes. Small changes of the index.

Each looks at the mark again, in the transaction that takes the row: whoever was told in between that the
content is here has taken the mark off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.batches import pieces
from storage.database import Connection
from storage.digest import Digest
from storage.garbage import Item
from storage.history import note_move
from storage.liveness import in_order, named_by, referrers
from storage.marking import Marked, column
from storage.recording import drop_manifest
from storage.rows import HELD, MISSING, PRESENT, drop_if_empty

_LINKS = 500  # values of one statement


@dataclass(slots=True)
class Swept:
    """What a change took; `files` are those that no row speaks for any more."""

    items: list[Item] = field(default_factory=list)
    files: list["Gone"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Gone:
    """A digest, and the bytes of its file."""

    digest: Digest
    size: int


def ripe_links(connection: Connection, repository: int, before: int) -> list[int]:
    """Marked until `before`, as ids of blobs."""
    return column(connection, "SELECT blob FROM links WHERE repository = ? AND mark <= ?", repository, before)


def ripe_manifests(connection: Connection, repository: int, before: int) -> list[tuple[int, int]]:
    """The same of manifests, each with how much it names, after all that it belongs to."""
    values = (repository, before)
    rows = connection.execute(
        "SELECT blob, digest, subject, (SELECT count(*) FROM edges"
        " WHERE edges.repository = manifests.repository AND parent = blob)"
        " FROM manifests WHERE repository = ? AND mark <= ?",
        values,
    ).fetchall()
    tags = connection.execute(
        "SELECT name, manifest FROM manifests JOIN tags ON tags.repository = manifests.repository"
        " AND manifest = blob WHERE manifests.repository = ? AND mark <= ?",
        values,
    ).fetchall()
    children: dict[int, list[int]] = {}
    found = connection.execute(
        "SELECT parent, child FROM manifests JOIN edges ON edges.repository = manifests.repository"
        " AND parent = blob AND kind = 3 WHERE manifests.repository = ? AND mark <= ?",
        values,
    )
    for parent, child in found.fetchall():
        children.setdefault(parent, []).append(child)
    weights = {blob: 1 + edges for blob, *_, edges in rows}
    ordered = in_order(list(weights), children, referrers([row[:3] for row in rows], tags))
    return [(blob, weights[blob]) for blob in ordered]


def sweep_manifests(connection: Connection, repository: Marked, before: int, blobs: Sequence[int]) -> Swept:
    swept = Swept()
    gone = [blob for blob in blobs if _drop_manifest(connection, repository, before, blob, swept)]
    return _settle(connection, repository, gone, swept)


def sweep_superseded(connection: Connection, repository: Marked, before: int, blobs: Sequence[int]) -> Swept:
    """Manifests, and in the same change what they alone named, as far as it was marked with them."""
    sql = f"SELECT DISTINCT child FROM edges WHERE repository = ? AND parent IN ({_places(blobs)})"
    named = column(connection, sql, repository.id, *blobs)
    swept = sweep_manifests(connection, repository, before, blobs)
    for some in pieces(named, _LINKS):
        links = sweep_links(connection, repository, before, some)
        swept.items += links.items
        swept.files += links.files
    return swept


def _drop_manifest(connection: Connection, repository: Marked, before: int, blob: int, swept: Swept) -> bool:
    """Only once what it belongs to is gone: whoever is told that an index is here gets all of it."""
    row = connection.execute(
        "SELECT digest, subject, size, untagged IS NOT NULL FROM manifests"
        " WHERE repository = ? AND blob = ? AND mark <= ? AND NOT EXISTS (SELECT 1 FROM edges"
        " WHERE child = manifests.blob AND repository = manifests.repository AND kind = 3)",
        (repository.id, blob, before),
    ).fetchone()
    if row is None:
        return False
    binary, subject, size, untagged = row
    sql = "SELECT name FROM tags WHERE repository = ? AND manifest = ?"
    tags = column(connection, sql, repository.id, blob)
    named = [named_by(tag) for tag in tags]
    if None in named or any(_holds(connection, repository, digest) for digest in (subject, *named)):
        return False
    connection.execute("DELETE FROM tags WHERE repository = ? AND manifest = ?", (repository.id, blob))
    why = "the manifest that it refers to is gone"
    swept.items += [Item("tag", repository.name, tag, 0, why) for tag in tags]
    for tag in tags:
        note_move(connection, repository.name, tag, Digest.from_binary(binary), None, "garbage collection")
    drop_manifest(connection, repository.id, blob)
    why = "no tag names it any more" if untagged else "what it refers to, or belonged to, is gone"
    swept.items.append(Item("manifest", repository.name, str(Digest.from_binary(binary)), size, why))
    return True


def _holds(connection: Connection, repository: Marked, digest: bytes | None) -> bool:
    """Whether the manifest of a binary digest is in the repository."""
    sql = "SELECT 1 FROM manifests WHERE repository = ? AND blob = (SELECT id FROM blobs WHERE digest = ?)"
    return bool(column(connection, sql, repository.id, digest))


def sweep_links(connection: Connection, repository: Marked, before: int, blobs: Sequence[int]) -> Swept:
    rows = connection.execute(
        "SELECT id, digest, blobs.size FROM links JOIN blobs ON blobs.id = links.blob"
        f" WHERE repository = ? AND blob IN ({_places(blobs)}) AND mark <= ? AND NOT EXISTS"
        " (SELECT 1 FROM edges WHERE child = links.blob AND edges.repository = links.repository)",
        (repository.id, *blobs, before),
    ).fetchall()
    gone = [blob for blob, *_ in rows]
    sql = f"DELETE FROM links WHERE repository = ? AND blob IN ({_places(gone)})"
    connection.execute(sql, (repository.id, *gone))
    why = "no manifest names it"
    items = [
        Item("blob", repository.name, str(Digest.from_binary(binary)), size, why) for _, binary, size in rows
    ]
    return _settle(connection, repository, gone, Swept(items))


def _settle(connection: Connection, repository: Marked, gone: Sequence[int], swept: Swept) -> Swept:
    """After names of a repository went: what goes with them."""
    if gone and drop_if_empty(connection, repository.id):
        why = "it holds nothing any more"
        swept.items.append(Item("repository", repository.name, repository.name, 0, why))
    swept.files = release(connection, gone)
    return swept


def unlinked(connection: Connection, after: int, end: int) -> list[int]:
    """Blobs that no repository holds: nobody can have been told of them."""
    sql = (
        f"SELECT id FROM blobs WHERE id > ? AND id <= ? AND NOT {HELD}"
        " AND (state = ? OR NOT EXISTS (SELECT 1 FROM edges WHERE child = blobs.id))"
    )
    return column(connection, sql, after, end, PRESENT)


def release(connection: Connection, blobs: Sequence[int]) -> list[Gone]:
    """Forget blobs that no repository holds; return those that can have files."""
    rows = connection.execute(
        "SELECT id, digest, size, EXISTS (SELECT 1 FROM edges WHERE child = blobs.id) FROM blobs"
        f" WHERE id IN ({_places(blobs)}) AND NOT {HELD}",
        tuple(blobs),
    ).fetchall()
    # Named by a manifest that may lack it: the row has to stay.
    lost = [(MISSING, blob) for blob, _, _, is_named in rows if is_named]
    connection.executemany("UPDATE blobs SET state = ? WHERE id = ?", lost)
    forgotten = [(blob,) for blob, _, _, is_named in rows if not is_named]
    connection.executemany("DELETE FROM blobs WHERE id = ?", forgotten)
    files = [Gone(Digest.from_binary(binary), size) for _, binary, size, _ in rows]
    return [file for file in files if file.digest.supported]


def _places(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


# A row that says "missing" while a repository lists the blob still speaks for a file: it may have come back.
_SPEAKS = f"(state = {PRESENT} OR {HELD})"


def is_spoken_for(connection: Connection, digest: Digest) -> bool:
    sql = f"SELECT 1 FROM blobs WHERE digest = ? AND {_SPEAKS}"
    return bool(column(connection, sql, digest.binary))


def spoken_for(connection: Connection, low: Digest, high: Digest) -> dict[Digest, bool]:
    """Digests from `low` to `high` whose files stay; and whether the index says that they are here."""
    sql = f"SELECT digest, state FROM blobs WHERE digest BETWEEN ? AND ? AND {_SPEAKS}"
    rows = connection.execute(sql, (low.binary, high.binary)).fetchall()
    return {Digest.from_binary(digest): state == PRESENT for digest, state in rows}
