"""`registry fsck`: the store checked against every byte that it holds."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from typing import TextIO

from registry.cli.content import opened
from registry.cli.text import Counter, size
from registry.fsck import decode, encode, read
from registry.settings import Settings
from storage.bookmark import Bookmark, bookmark
from storage.check import check, expected_bytes
from storage.findings import Position, Report
from storage.pace import Pace

Say = Callable[[str], None]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """No report: the text says why, and what to do; `code` is the one to exit with."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


def fsck(
    settings: Settings, *, repair: bool, resume: bool, rate: float, say: Say, terminal: TextIO
) -> Report:
    """Check the root of these settings at `rate` bytes a second. Raises StoreUnusable, Stopped."""
    with opened(settings) as store, bookmark(store.files, store.layout.fsck) as place:
        start = _start(place, say) if resume else None
        if place is None:
            say("no position is kept: another check here keeps its own, or the disk takes no file")
        done = start.report.bytes if start else 0
        with Counter(terminal, total=expected_bytes(store), done=done) as counter:
            report = asyncio.run(
                _until_signal(
                    check(
                        store,
                        read=read,
                        repair=repair,
                        pace=Pace(rate),
                        progress=counter.add,
                        start=start,
                        keep=lambda position: place.keep(encode(position)) if place else None,
                    ),
                    place,
                )
            )
        if place:
            place.remove()
        return report


def _start(place: Bookmark | None, say: Say) -> Position | None:
    if place is None:
        raise Stopped("another check is running here: only when it has ended can one be resumed", 1)
    start = decode(place.text)
    if start is None:
        say("there is no interrupted check to resume: this one begins at the beginning")
    else:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(start.begun))
        say(f"resumed after {start.report.blobs} blobs, {size(start.report.bytes)}, checked since {since}")
    return start


async def _until_signal(work: Coroutine[object, object, Report], place: Bookmark | None) -> Report:
    """The first signal lets the check put its position down; a second one is as deadly as ever."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    caught: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        caught.append(number)
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
        task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not caught:
            raise
        kept = place is not None and decode(place.text) is not None
        go_on = ": repeat the command with --resume to go on there" if kept else ""
        raise Stopped(f"interrupted{go_on}", 128 + caught[0]) from None


def summary(report: Report) -> str:
    """The report for people: what was looked at, each finding, the verdict."""
    lines = [
        f"{report.blobs} blobs, {size(report.bytes)}",
        f"{report.unreferenced} of them, {size(report.unreferenced_bytes)}, are not named any more",
        f"{report.repositories} repositories, {report.manifests} manifests, {report.tags} tags",
        f"{report.uploads} uploads and {report.fetches} fetches going on, {report.quarantined} in quarantine",
    ]
    for finding in report.findings:
        repaired = " (repaired)" if finding.repaired else ""
        lines.append(f"{finding.kind}: {finding.subject}: {finding.message}{repaired}")
    return "\n".join([*lines, "sound" if report.sound else f"not sound: {len(report.findings)} findings"])
