"""Garbage collection beside a running server (docs/decisions/009).

A pass marks what nothing needs, and takes away what has been marked for a grace. Whoever is told that
something is here takes its mark off first (`keep`, and every write that names it), in the order of the one
writer: so what was told stays true for a grace. Names go first, in small committed batches; then the files
that no row speaks for, under the write lock. A push that has installed such a file and not claimed it yet
installs it again.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from storage import graces, marking, sweeping
from storage.batches import loads, pieces
from storage.blobs import BlobStore
from storage.database import Connection, Database, note_time
from storage.digest import Digest
from storage.files import temporary_root
from storage.garbage import Item, Report, Rules
from storage.graces import Receiving
from storage.history import prune
from storage.locks import held, rested
from storage.marking import Marked
from storage.marks import has_marks
from storage.removal import require_sound_index, unlink
from storage.rows import reveal_blob
from storage.snapshot import snapshot
from storage.store import Store
from storage.sweeping import Gone, Swept
from storage.threads import in_thread

Result = TypeVar("Result")
Sweep = Callable[[Connection, Marked, int, Sequence[int]], Swept]
Tell = Callable[[Item], None]
Progress = Callable[[int], None]

_BUSY = "another process collects garbage, or makes a backup, here: try again when it has ended"
_MARKS = 500  # rows in one transaction
_SWEPT = 200  # the same of what goes: it holds every writer up
_SUPERSEDED = 20  # manifests that are marked with what they name
_AT_ONCE = -1  # seconds that what no tag names is kept before it is marked
_LOAD = 2000  # rows of manifests and of what they name
_PAGES = 200  # of the index, given back in one transaction
_EVER = 2**62  # later than any mark


def everywhere(_: str) -> bool:
    return True


async def collect(
    store: Store,
    rules: Rules,
    *,
    first: Callable[[], Awaitable[object]] | None = None,
    walk: bool = True,
    pause: float = 0.0,
    tell: Tell = lambda _: None,
    progress: Progress = lambda _: None,
) -> Report:
    """One pass. Raises StoreBusy beside another collector; whatever else stops it, what is left stays.

    `first` is done before, by the one collector. `walk`: look for files without a row too. `pause`: how long
    to rest, in times of the work just done. `tell` hears of all that went, `progress` of the rows that were
    looked at.
    """
    store.files.require_sound()
    with held(store.layout.gc_lock, _BUSY), store.database.scanning() as connection:
        if first:
            await first()
        collector = Collector(
            store.database, store.blobs, connection, rules, pause=pause, tell=tell, progress=progress
        )
        return await collector.run(_receiving(store), walk=walk)


async def collect_in(
    store: Store,
    rules: Rules,
    chosen: Callable[[str], bool],
    *,
    first: Callable[[], Awaitable[object]] | None = None,
    pause: float = 0.0,
    every: float = 0.0,
) -> Report:
    """A pass through some repositories alone, which those need more often. As `collect` raises.

    None is made within `every` seconds of the end of another, whoever made that.
    """
    store.files.require_sound()
    with held(store.layout.gc_lock, _BUSY) as lock:
        # The lock's own time, as the index's is in whole seconds.
        if rested(store.layout.gc_lock) < every:
            return Report()
        with store.database.scanning() as connection:
            if first:
                await first()
            collector = Collector(
                store.database, store.blobs, connection, rules, pause=pause, tell=lambda _: None
            )
            report = await collector.run_in(chosen, _receiving(store))
        store.files.touch(lock)
        return report


async def foresee(store: Store, rules: Rules) -> tuple[list[Item], list[Item], Report]:
    """What a pass would take now, and what more it would take once its grace is over. Nothing changes.

    It collects in a copy of the index. The report is of both together.
    """
    now: list[Item] = []
    later: list[Item] = []
    with temporary_root() as folder:
        path = os.path.join(folder, "index.db")
        await in_thread(snapshot, store.layout.index, path, store.files)
        lock, machine = os.path.join(folder, "write.lock"), store.database.clock.machine
        copy = Database(path, lock, store.files, durable=False, machine=machine)
        try:
            with copy.scanning() as connection:
                receiving = _receiving(store)
                first = Collector(copy, None, connection, rules, tell=now.append)
                report = await first.run(receiving, walk=False)
                rest = Collector(copy, None, connection, replace(rules, at_once=True), tell=later.append)
                both = await rest.run(receiving, walk=False)
        finally:
            copy.close()
    both.held_up = report.held_up
    for name in ("manifests", "blobs", "tags", "repositories", "files", "freed"):
        setattr(both, name, getattr(both, name) + getattr(report, name))
    return now, later, both


def _receiving(store: Store) -> Callable[[Connection], Receiving]:
    def query(connection: Connection) -> Receiving:
        rows = connection.execute("SELECT id, repository, started FROM uploads ORDER BY started DESC")
        # By the wall clock, as nothing else is noted of them; one that was set back makes them all new.
        now = int(time.time())
        return {
            repository: max(0, now - started)
            for upload, repository, started in rows.fetchall()
            if store.uploads.exists(upload)
        }

    return query


class Collector:
    """One pass over one index. Without `blobs` it touches no file."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore | None,
        connection: Connection,
        rules: Rules,
        *,
        pause: float = 0.0,
        tell: Tell,
        progress: Progress = lambda _: None,
    ) -> None:
        self._database, self._blobs, self._connection, self._rules = database, blobs, connection, rules
        self._pause, self._tell, self._progress = pause, tell, progress
        self._report = Report()
        self._is_sound = False

    async def run(self, receiving: Callable[[Connection], Receiving], *, walk: bool) -> Report:
        begun = time.monotonic()
        await self.run_in(everywhere, receiving)
        await self._sweep_unlinked()
        if walk:
            await self._sweep_strays()
            await self._prune_histories()
        await self._give_pages_back()
        self._report.waiting, self._report.waiting_bytes = await self._look(marking.count_waiting)
        await self._write(self._note_end, durable=False)
        self._report.seconds = time.monotonic() - begun
        return self._report

    async def run_in(
        self, chosen: Callable[[str], bool], receiving: Callable[[Connection], Receiving]
    ) -> Report:
        """The part of a pass that is about some repositories alone."""
        await self._void_old_marks()
        busy = await self._look(receiving)
        last = 0
        while found := await self._look(marking.repositories, last):
            for repository in found:
                if chosen(repository.name):
                    await self._mark_manifests(repository)
                    await self._mark_links(repository)
                    await self._sweep_repository(repository, busy)
            last = found[-1].id
        return self._report

    async def _look(self, query: Callable[..., Result], *arguments: Any) -> Result:
        """Ask the index in a thread, then rest."""
        begun = time.monotonic()
        found = await in_thread(query, self._connection, *arguments)
        await self._rest(begun)
        return found

    async def _write(
        self, change: Callable[..., Result], *arguments: Any, durable: bool = True, shown: bool | None = None
    ) -> Result:
        begun = time.monotonic()
        found = await self._database.write(
            lambda connection: change(connection, *arguments), durable=durable, shown=shown
        )
        await self._rest(begun)
        return found

    async def _rest(self, begun: float) -> None:
        if self._pause:
            await asyncio.sleep((time.monotonic() - begun) * self._pause)

    def _hear(self, items: Sequence[Item]) -> None:
        for item in items:
            self._report.count(item)
            self._tell(item)

    # -- marking -------------------------------------------------------------------------------------

    async def _void_old_marks(self) -> None:
        """Those of another boot: a power cut may have brought back marks that had been taken off."""
        boot = self._database.clock.boot
        if await self._look(marking.column, "SELECT marked_in FROM clock") == [boot]:
            return
        for table in ("links", "manifests"):
            while await self._write(marking.void_some_marks, table, _MARKS, durable=False):
                pass
        await self._write(marking.begin_marks, boot, durable=False)

    async def _mark_manifests(self, repository: Marked) -> None:
        swift = self._rules.superseded(repository.name) is not None
        kept = _AT_ONCE if swift else self._rules.untagged(repository.name)
        since = 0 if kept is None else self._database.clock.now() - kept
        dead, alive = await self._look(marking.judge_manifests, repository.id, since)
        if swift:
            for some in pieces(dead, _SUPERSEDED):
                await self._write(marking.mark_superseded, repository.id, some, durable=False, shown=True)
        else:
            await self._set_marks("manifests", repository, dead)
        await self._clear_marks("manifests", repository, alive)

    async def _mark_links(self, repository: Marked) -> None:
        after = 0
        while end := await self._look(marking.end_of_links, repository.id, after):
            unnamed = await self._look(marking.unnamed_links, repository.id, after, end[0])
            await self._set_marks("links", repository, unnamed)
            after, count = end
            self._progress(count)
        await self._clear_marks("links", repository, await self._look(marking.named_again, repository.id))

    async def _set_marks(self, table: str, repository: Marked, blobs: Sequence[int]) -> None:
        for some in pieces(blobs, _MARKS):
            # Shown: an answer kept from before would go on saying "here" without taking the mark off.
            await self._write(marking.set_marks, table, repository.id, some, durable=False, shown=True)

    async def _clear_marks(self, table: str, repository: Marked, blobs: Sequence[int]) -> None:
        for some in pieces(blobs, _MARKS):
            await self._write(marking.clear_marks, table, repository.id, some, durable=False)

    # -- sweeping ------------------------------------------------------------------------------------

    async def _sweep_repository(self, repository: Marked, busy: Receiving) -> None:
        rules, now = self._rules, self._database.clock.now()
        grace = rules.superseded(repository.name)
        if rules.at_once:
            before = quick = _EVER
        else:
            before = graces.ripe(rules, repository, busy, now)
            quick = before if grace is None else graces.superseded(grace, repository, busy, now)
        sweep = sweeping.sweep_manifests if grace is None else sweeping.sweep_superseded
        found = await self._look(sweeping.ripe_manifests, repository.id, quick)
        for load in loads(found, _LOAD):
            await self._sweep(sweep, repository, quick, load)
        for some in pieces(await self._look(sweeping.ripe_links, repository.id, before), _SWEPT):
            await self._sweep(sweeping.sweep_links, repository, before, some)
        is_held_up = not rules.at_once and graces.is_active(rules, repository, busy, now)
        if is_held_up and await self._look(has_marks, repository.id):
            self._report.held_up.append(repository.name)

    async def _sweep(self, sweep: Sweep, repository: Marked, before: int, blobs: Sequence[int]) -> None:
        await self._require_sound_index()
        swept: Swept = await self._write(sweep, repository, before, blobs)
        self._hear(swept.items)
        await self._unlink(swept.files)

    async def _sweep_unlinked(self) -> None:
        after = 0
        while end := await self._look(marking.end_of_blobs, after):
            for some in pieces(await self._look(sweeping.unlinked, after, end[0]), _SWEPT):
                await self._require_sound_index()
                await self._unlink(await self._write(sweeping.release, some))
            after, count = end
            self._progress(count)

    async def _prune_histories(self) -> None:
        after: tuple[str, str] | None = ("", "")
        while after := await self._write(prune, after, durable=False):
            pass

    async def _sweep_strays(self) -> None:
        """Files that no row speaks for: what a crash leaves between an install and its claim."""
        if (blobs := self._blobs) is None:
            return
        idle = 0 if self._rules.at_once else self._rules.grace
        for low, high in blobs.shards():
            found = await in_thread(blobs.list_shard, low, idle=idle)
            known = await self._look(sweeping.spoken_for, low, high)
            for digest in found.keys() & {digest for digest, is_here in known.items() if not is_here}:
                await self._take_back(blobs, digest)
            strays = [Gone(digest, size) for digest, size in found.items() if digest not in known]
            if strays:
                await self._require_sound_index()
            why = "no row of the index speaks for it"
            gone = await self._unlink(strays)
            self._hear([Item("file", "", str(each.digest), each.size, why) for each in gone])

    async def _take_back(self, blobs: BlobStore, digest: Digest) -> None:
        """A file that was away when somebody asked for it, as where its disk was not mounted."""
        if await in_thread(blobs.verify, digest):
            await self._write(lambda connection: reveal_blob(connection, digest, blobs.size))
            self._report.returned += 1

    async def _unlink(self, files: Sequence[Gone]) -> list[Gone]:
        """Those that went."""
        begun = time.monotonic()
        gone = await unlink(self._database, self._blobs, files) if self._blobs else [*files]
        self._report.files += len(gone)
        self._report.freed += sum(each.size for each in gone)
        await self._rest(begun)
        return gone

    # -- before and after ----------------------------------------------------------------------------

    async def _require_sound_index(self) -> None:
        """Before the first sweep. Raises IndexFailed: a damaged index may have lost what names something."""
        if not self._is_sound:
            await self._look(require_sound_index)
            self._is_sound = True

    async def _give_pages_back(self) -> None:
        (free,) = await self._look(marking.column, "PRAGMA freelist_count")
        while free > _PAGES:
            left = await self._write(_vacuum, durable=False)
            if left >= free:
                return
            free = left

    def _note_end(self, connection: Connection) -> None:
        note_time(connection, self._database.clock.look())
        connection.execute("UPDATE clock SET collected = store_time()")


def _vacuum(connection: Connection) -> int:
    """Give a few pages back; return how many are left."""
    connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def expected_rows(store: Store) -> int:
    """How many a pass will look at."""
    sql = "SELECT (SELECT count(*) FROM links) + (SELECT count(*) FROM blobs)"
    with store.database.scanning() as connection:
        return int(connection.execute(sql).fetchone()[0])


async def collected(store: Store) -> int | None:
    """When the last pass had ended, in the store's time; None: there was none."""
    sql = "SELECT collected FROM clock"
    ((ended,),) = await store.database.read(lambda connection: connection.execute(sql).fetchall())
    return None if ended is None else int(ended)
