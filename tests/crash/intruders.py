"""Clients of another process that push, mount and look just when a collector is about to delete.

At each file-system call of a sweep, and before each of its changes, one of them goes through all of its work,
or as much as the write lock lets it, while the sweep stands still. What it was told is here must be here when
both have ended, and what it built on that must not be refused.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

from registry.names import Tag
from storage.collect import Collector
from storage.digest import Digest
from storage.errors import BlobMissing, ManifestMissing, StorageError, StoreBusy
from storage.locks import held
from storage.store import Store, open_store
from tests.builders import OCI_IMAGE, OCI_INDEX
from tests.crash.children import Say, run_in_child
from tests.crash.evidence import look
from tests.crash.faults import Switch, at
from tests.crash.operations import EMPTY, NEW, OUTER, SPARE, STRAY, WAS, World, chunk, evict
from tests.crash.sweep import Disturbance, Found, Mutant, Report, Stage, answer, run_verb, set_stage, sweep

_LONGEST = 20.0  # seconds
_write = Collector._write

Told = set[tuple[str, str]]
"""Repositories and digests that a client was told are there, or has brought there."""


async def _push(world: World) -> Told:
    await world.uploads("lib").push(Digest.of(SPARE), chunk(SPARE))
    return {("lib", str(Digest.of(SPARE)))}


async def _push_stray(world: World) -> Told:
    await world.uploads("lib").push(Digest.of(STRAY), chunk(STRAY))
    return {("lib", str(Digest.of(STRAY)))}


async def _mount(world: World) -> Told:
    try:
        await world.lib.mount(Digest.of(SPARE), source="app", readable=lambda _: True)
    except BlobMissing:
        return set()
    return {("lib", str(Digest.of(SPARE)))}


async def _look_then_push(world: World) -> Told:
    """What every client does: a blob that is said to be there is left out, and the manifest names it."""
    try:
        await world.app.blob_size(Digest.of(SPARE))
    except BlobMissing:
        await world.uploads().push(Digest.of(SPARE), chunk(SPARE))
    await world.app.put_manifest(Tag("new"), NEW, OCI_IMAGE)
    return {("app", str(Digest.of(SPARE))), ("app", str(Digest.of(NEW)))}


async def _look(world: World) -> Told:
    """At all there is: what was told stays, by itself and with all that it names."""
    told: Told = set()
    for repository, raw in ((world.old, OUTER), (world.old, WAS)):
        try:
            await repository.manifest_row(Digest.of(raw))
        except ManifestMissing:
            continue
        told.add(("old", str(Digest.of(raw))))
    try:
        await world.old.blob_size(Digest.of(EMPTY))
    except BlobMissing:
        return told
    return told | {("old", str(Digest.of(EMPTY)))}


async def _tag_again(world: World) -> Told:
    """An index that is still there gets its tag back, and its image is not sent again."""
    try:
        await world.old.manifest_row(Digest.of(OUTER))
    except ManifestMissing:
        return set()
    await world.old.put_manifest(Tag("outer"), OUTER, OCI_INDEX)
    return {("old", str(Digest.of(raw))) for raw in (OUTER, WAS)}


async def _evict(world: World) -> Told:
    """Of the same repository: no client, but it takes rows and files from under the collector."""
    await evict(world)
    return set()


INTRUDERS: Mapping[str, Callable[[World], Awaitable[Told]]] = {
    "a push": _push,
    "a push of what no row speaks for": _push_stray,
    "a mount": _mount,
    "a look, then a push": _look_then_push,
    "a look": _look,
    "a tag on what was there": _tag_again,
    "an eviction": _evict,
}


class Intruder(Switch):
    """One client. `enter` begins its work, and waits for its end if the write lock is free."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._thread = threading.Thread(target=self._work)
        self._store: Store | None = None
        self.entered = False
        self.told: Told = set()
        self.refused: list[str] = []

    def prepare(self, store: Store) -> None:
        """`store` is another opening of the root."""
        self._store = store

    def enter(self) -> None:
        assert self._store
        self.entered = True
        try:
            with held(self._store.layout.write_lock, "the collector's"):
                pass
        except StoreBusy:
            self._thread.start()  # it is kept out: it goes on when the lock is given back
        else:
            self._thread.start()
            self._thread.join(_LONGEST)

    def end(self) -> list[str]:
        """What has become of it."""
        if not self.entered:
            return ["it never came to its turn"]
        self._thread.join(_LONGEST)
        return self.refused if not self._thread.is_alive() else ["it hangs"]

    def _work(self) -> None:
        assert self._store
        try:
            self.told = asyncio.run(_awaited(INTRUDERS[self._name](World(self._store))))
        except StorageError as error:
            self.refused.append(f"{self._name} was refused: {error!r}")


async def _awaited(work: Awaitable[Told]) -> Told:
    return await work


def intrude_everywhere(folder: str, name: str, mutant: Mutant = nullcontext) -> Report:
    """`name` is a collector's sweep."""
    stage = set_stage(folder, name, mutant)
    return sweep(stage, _intrusions(stage), _intrude)


def _intrusions(stage: Stage) -> Iterator[Disturbance]:
    for name in INTRUDERS:
        for number, event in enumerate(stage.rehearsal.events):
            intruder = Intruder(name)
            yield f"{name} {event}", partial(intruder.set, at(number, intruder.enter)), intruder
        for number in range(_count_changes(stage)):
            intruder = Intruder(name)
            yield f"{name} before change {number}", partial(_enter_before, number, intruder), intruder


def _enter_before(number: int, intruder: Intruder) -> None:
    """Between what the collector has found and what it makes of that."""
    changes = iter(range(number + 1))

    async def write(self: Collector, *args: Any, **kwargs: Any) -> Any:
        if next(changes, None) == number:
            await asyncio.to_thread(intruder.enter)
        return await _write(self, *args, **kwargs)

    patch.object(Collector, "_write", write).start()  # the child ends with it


def _count_changes(stage: Stage) -> int:
    """How many changes an undisturbed sweep makes."""

    def act(say: Say) -> None:
        count = 0

        async def write(self: Collector, *args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            return await _write(self, *args, **kwargs)

        with closing(open_store(stage.arena.root)) as store, patch.object(Collector, "_write", write):
            asyncio.run(run_verb(stage.disturbed, store, stage.arena))
        say(b"%d" % count)

    stage.arena.restore()
    return int(run_in_child(act).said)


def _intrude(stage: Stage, disturbance: Disturbance) -> Found:
    _, arrange, intruder = disturbance
    assert isinstance(intruder, Intruder)
    root = stage.arena.root

    def act(say: Say) -> None:
        with closing(open_store(root, probe=intruder)) as store, closing(open_store(root)) as other:
            intruder.prepare(other)
            problems = asyncio.run(_beside(stage, store, intruder, arrange))
        say(json.dumps([problems, True]).encode())

    return answer(run_in_child(act).said)


async def _beside(stage: Stage, store: Store, intruder: Intruder, arrange: Callable[[], None]) -> list[str]:
    arrange()
    await run_verb(stage.disturbed, store, stage.arena)
    intruder.clear()
    problems = await asyncio.to_thread(intruder.end)
    seen = look(stage.arena.root)
    here = {(str(name), str(digest)) for name, digest, *_ in (*seen.names.links, *seen.names.manifests)}
    lost = [f"told of {digest} in {name}, which is gone" for name, digest in intruder.told - here]
    return [*problems, *lost, *seen.problems]
