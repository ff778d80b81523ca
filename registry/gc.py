"""Garbage collection on a timer: every worker looks, one collects."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from registry.retention import Applied
from storage.collect import collect, collected
from storage.errors import StorageError, StoreBusy
from storage.garbage import DAY, Report, Rules, as_all
from storage.store import Store

logger = logging.getLogger("registry")

_PASSES = 4  # in one grace: garbage lives a quarter longer than it must
_LOOKS = 4  # between two passes
_LOOKS_AFTER_FAILURE = 1
_SOON = 10.0  # seconds after a start
_REST = 0.25  # times the work just done: 1,000,000 blobs took 129 s with 0.5, and no request noticed either


def rules_of(
    *,
    grace: int,
    untagged: Callable[[str], int | None],
    superseded: Callable[[str], int | None] = as_all,
) -> Rules:
    return Rules(grace=grace, patience=max(DAY, grace), untagged=untagged, superseded=superseded)


async def collect_in_turn(store: Store, rules: Rules, retention: Callable[[], Awaitable[Applied]]) -> None:
    """Collect for ever: a pass whenever the last one, whoever made it, is a quarter of the grace ago.

    `retention` takes tags away before each.
    """

    async def retain() -> None:
        try:
            if removed := (await retention()).removed:
                logger.info("retention: %d tags went", len(removed))
        except (StorageError, OSError) as error:  # on a full disk a collection is what helps
            logger.error("retention stopped: %s", error)

    interval = rules.grace / _PASSES
    pause = min(_SOON, interval)
    while True:
        await asyncio.sleep(pause)
        pause = interval / _LOOKS
        try:
            last, now = await collected(store), store.database.clock.now()
            if last is None or now - last >= interval:
                # Strays come from crashes alone: to look through all folders once a day will do.
                walk = last is None or now // DAY > last // DAY
                _say(await collect(store, rules, first=retain, walk=walk, pause=_REST))
        except StoreBusy:
            pass  # another worker, or a command, is at it
        except (StorageError, OSError) as error:
            logger.error("garbage collection stopped, and deletes nothing more: %s", error)
            pause = interval / _LOOKS_AFTER_FAILURE
        except Exception:  # whatever it was, it must not end the next pass too
            logger.exception("garbage collection stopped, and deletes nothing more")
            pause = interval / _LOOKS_AFTER_FAILURE


def _say(report: Report) -> None:
    if report.files or report.manifests or report.blobs:
        logger.info(
            "garbage collection: %d manifests and %d blobs went, %d bytes freed in %.1f s",
            report.manifests,
            report.blobs,
            report.freed,
            report.seconds,
        )
