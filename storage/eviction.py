"""Content that can be had again makes room: the least recently used of some repositories goes at once.

Without marks and without a grace, so it is right only where nobody pushes. Names go first, in small committed
changes that look at the use again; then the files that no row speaks for, as in a collection. One may go on
meanwhile, for minutes: each of the two looks again at what it takes, in the transaction that does so.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.batches import loads
from storage.database import Connection
from storage.digest import Digest
from storage.history import note_move
from storage.holdings import Chosen, Holdings, Place, count_bytes, load_holdings
from storage.least_used import Choice, least_used
from storage.locks import held, rested
from storage.marking import column
from storage.recording import drop_manifest
from storage.removal import require_sound_index, unlink
from storage.rows import drop_if_empty
from storage.store import Store
from storage.sweeping import Gone, release
from storage.threads import in_thread

WHO = "eviction"
RECENT = 60
"""Seconds: what was used since then goes last."""

_BUSY = "another process evicts, or makes a backup, here: try again when it has ended"
_LOAD = 1000  # rows of one change: it holds every writer up
_ROUNDS = 3  # of what is pulled in between, something else has to go
_SOUND = 3600.0  # seconds that a look at the index's soundness is good for


@dataclass(slots=True)
class Evicted:
    """What went; `freed` bytes of files. `left` bytes are held by what was to make room."""

    manifests: int = 0
    links: int = 0
    freed: int = 0
    left: int = 0


class Evictor:
    """Of one process; over all of them, one evicts at a time. A collector may be at work beside it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sound_until = 0.0

    async def make_room(
        self, chosen: Chosen, inside: Chosen, leave: Callable[[int], int], *, spare: bool = False
    ) -> Evicted:
        """Evict from the `chosen` repositories, as far as it takes; `inside` as in `load_holdings`.

        `leave` is told how many bytes they hold, and says how many shall be left. With `spare`, what was just
        used stays in any case. Raises StoreBusy, IndexFailed and what else stops a collection.
        """
        store, evicted = self._store, Evicted()
        store.files.require_sound()
        with held(store.layout.evict_lock, _BUSY) as lock, store.database.scanning() as connection:
            try:
                for _ in range(_ROUNDS):
                    holdings = await in_thread(load_holdings, connection, chosen, inside)
                    evicted.left, wanted = holdings.bytes, leave(holdings.bytes)
                    if evicted.left <= wanted:
                        break
                    since = store.database.clock.now() - RECENT
                    choice = await in_thread(least_used, holdings, wanted, since=since, spare=spare)
                    if not choice.links and not choice.manifests:
                        break
                    await self._require_sound_index(connection)
                    await self._take(holdings, choice, evicted)
                    # Not by the choice: some of it stays where it was used meanwhile.
                    evicted.left = await in_thread(count_bytes, connection, chosen, inside)
            finally:
                if evicted.freed:
                    store.files.touch(lock)
        return evicted

    def rested(self) -> float:
        """Seconds since anyone freed something here."""
        return rested(self._store.layout.evict_lock)

    async def _require_sound_index(self, connection: Connection) -> None:
        if time.monotonic() >= self._sound_until:
            await in_thread(require_sound_index, connection)
            self._sound_until = time.monotonic() + _SOUND

    async def _take(self, holdings: Holdings, choice: Choice, evicted: Evicted) -> None:
        store = self._store
        for links in loads(((place, 1) for place in choice.links), _LOAD):
            gone, files = await store.database.write(_dropping_links(holdings, links))
            evicted.links += gone
            evicted.freed += await self._unlink(files)
        manifests = holdings.manifests
        weighed = ((place, 1 + len(manifests[place].names)) for place in choice.manifests)
        for places in loads(weighed, _LOAD):
            uses = [(place, manifests[place].used) for place in places]
            gone, files = await store.database.write(_dropping_manifests(holdings, uses))
            evicted.manifests += gone
            evicted.freed += await self._unlink(files)

    async def _unlink(self, files: Sequence[Gone]) -> int:
        gone = await unlink(self._store.database, self._store.blobs, files)
        return sum(file.size for file in gone)


Dropping = Callable[[Connection], tuple[int, list[Gone]]]
"""Returns how many went, and the blobs that no repository holds any more."""


def _dropping_links(holdings: Holdings, places: Sequence[Place]) -> Dropping:
    def change(connection: Connection) -> tuple[int, list[Gone]]:
        repositories = _unchanged(connection, holdings, places)
        gone = [
            blob
            for repository, blob in places
            if repository in repositories and _drop_link(connection, repository, blob)
        ]
        for repository in repositories:
            drop_if_empty(connection, repository)
        return len(gone), _release(connection, gone)

    return change


def _dropping_manifests(holdings: Holdings, uses: Sequence[tuple[Place, int]]) -> Dropping:
    def change(connection: Connection) -> tuple[int, list[Gone]]:
        count, gone = 0, list[int]()
        repositories = _unchanged(connection, holdings, [place for place, _ in uses])
        for (repository, blob), used in uses:
            if repository not in repositories:
                continue
            sql = "SELECT DISTINCT child FROM edges WHERE repository = ? AND parent = ?"
            named = column(connection, sql, repository, blob)
            if _drop_manifest(connection, repository, holdings.names[repository], blob, used):
                count += 1
                gone.append(blob)
                gone += [child for child in named if _drop_link(connection, repository, child)]
        for repository in repositories:
            drop_if_empty(connection, repository)
        return count, _release(connection, gone)

    return change


def _unchanged(connection: Connection, holdings: Holdings, places: Sequence[Place]) -> set[int]:
    """The repositories that are still what they were: a collector may have taken one, and a push its id."""
    sql = "SELECT name FROM repositories WHERE id = ?"
    repositories = {repository for repository, _ in places}
    return {each for each in repositories if column(connection, sql, each) == [holdings.names[each]]}


def _drop_link(connection: Connection, repository: int, blob: int) -> bool:
    """Unless a manifest names it, which may have come since the decision."""
    gone = connection.execute(
        "DELETE FROM links WHERE repository = ? AND blob = ? AND NOT EXISTS"
        " (SELECT 1 FROM edges WHERE child = links.blob AND edges.repository = links.repository)",
        (repository, blob),
    )
    return gone.rowcount > 0


def _drop_manifest(connection: Connection, repository: int, name: str, blob: int, used: int) -> bool:
    """With its tags; unless it was used since the decision, or an index that stays names it."""
    row = connection.execute(
        "SELECT digest FROM manifests WHERE repository = ?1 AND blob = ?2"
        " AND max(pushed, coalesce(pulled, 0)) <= ?3"
        " AND NOT EXISTS (SELECT 1 FROM tags WHERE repository = ?1 AND manifest = ?2 AND moved > ?3)"
        " AND NOT EXISTS (SELECT 1 FROM edges WHERE child = ?2 AND repository = ?1 AND kind = 3)",
        (repository, blob, used),
    ).fetchone()
    if row is None:
        return False
    tags = column(connection, "SELECT name FROM tags WHERE repository = ? AND manifest = ?", repository, blob)
    for tag in tags:
        note_move(connection, name, tag, Digest.from_binary(row[0]), None, WHO)
    connection.execute("DELETE FROM tags WHERE repository = ? AND manifest = ?", (repository, blob))
    drop_manifest(connection, repository, blob)
    return True


def _release(connection: Connection, gone: Sequence[int]) -> list[Gone]:
    return [
        file for blobs in loads(((blob, 1) for blob in gone), _LOAD) for file in release(connection, blobs)
    ]
