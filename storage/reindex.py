"""The index made anew from the blobs, as far as their bytes tell.

They tell what manifests there are and what these name; not in which repository anything was, nor its tags.
So what no repository lists goes into one, by digest. Content that is not here makes a manifest incomplete:
it is recorded all the same, for a push of the rest heals it. An index that can't be read is replaced as a
whole, by one rename, and put aside; beside a sound one, what is missing is added while its server runs.
"""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import closing

from storage.database import Database
from storage.files import Files, temporary_root
from storage.layout import Layout
from storage.locks import COLLECTING, PATIENCE, still, unserved
from storage.recovery import Reader, Recovery, Report
from storage.snapshot import SUFFIXES, alone, drafted, flaw, install, remove, snapshot
from storage.store import Store, assemble, complete_folders, open_store
from storage.transfer import Progress

_SERVED = "its index cannot be replaced while a server, or another command, has the root open: stop it first"

Fill = Callable[[Store], Report]


def reindex(
    layout: Layout,
    files: Files,
    reader: Reader,
    *,
    into: str,
    dry_run: bool = False,
    allow_network: bool = False,
    progress: Progress = lambda _: None,
) -> Report:
    """Mend the index of a root, or replace it. Raises StoreBusy, StoreUnusable."""

    def fill(store: Store) -> Report:
        return asyncio.run(Recovery(store, reader, into, progress).run())

    with still(layout, COLLECTING, wait=PATIENCE):
        why = flaw(layout.index)
        if dry_run:
            report = _rehearse(layout, fill, empty=why is not None)
        elif why:
            report = _replace(layout, files, fill)
        else:
            with closing(open_store(layout.root, allow_network=allow_network)) as store:
                report = fill(store)
    report.replaced = why or ""
    return report


def _rehearse(layout: Layout, fill: Fill, *, empty: bool) -> Report:
    """On an index that nobody needs afterwards: a new one, or a copy."""
    with temporary_root() as folder:
        files, index = Files(f"{folder}/degraded", durable=False), f"{folder}/index.db"
        if not empty:
            snapshot(layout.index, index, files)
        with closing(assemble(layout, files, Database(index, f"{folder}/lock", files))) as store:
            return fill(store)


def _replace(layout: Layout, files: Files, fill: Fill) -> Report:
    """Fill a new index, and only then put the old one aside: half an index would have the rest collected."""
    with unserved(layout, _SERVED), drafted(layout.new_index, files), temporary_root() as folder:
        complete_folders(layout, files)
        remove(layout.new_index, files)
        # Its writer's lock is elsewhere, for this process has that of the root.
        database = Database(layout.new_index, f"{folder}/lock", Files(f"{folder}/degraded", durable=False))
        with closing(assemble(layout, files, database)) as store:
            report = fill(store)
        with alone(layout.new_index, files):
            pass  # one file, without a WAL
        report.aside = _put_aside(layout, files)
        install(layout.new_index, layout.index, files)
        return report


def _put_aside(layout: Layout, files: Files) -> str:
    """The name that the old index has now, with whatever it consists of; empty if there was none."""
    moment = int(time.time())
    while os.path.lexists(aside := layout.bad_index(str(moment))):
        moment += 1
    for suffix in SUFFIXES:
        if os.path.lexists(layout.index + suffix):
            files.rename(layout.index + suffix, aside + suffix)
    return aside if os.path.lexists(aside) else ""
