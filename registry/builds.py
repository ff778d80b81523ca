"""Build caches kept small: what was superseded is collected often, and over its size the oldest refs go."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from registry.build_caches import BuildCache, find_cache
from registry.changes import Change, Guards
from registry.names import RepositoryName
from registry.retention import Applied, Plan, Verdict, apply
from storage.collect import collect_in
from storage.database import Connection
from storage.errors import StorageError, StoreBusy
from storage.garbage import Rules
from storage.holdings import load_holdings
from storage.least_used import least_used_tagged
from storage.store import Store
from storage.tagged import Tagged, tags_of
from storage.threads import in_thread

logger = logging.getLogger("registry")

WHO = "build cache"

_PASSES = 4  # in the shortest grace
_SOONEST, _LONGEST = 0.25, 150.0  # seconds between two
_REST = 0.25  # times the work just done


async def keep_builds(
    store: Store,
    caches: Sequence[BuildCache],
    rules: Rules,
    guards: Guards,
    tell: Callable[[Change], None],
    flush: Callable[[], Awaitable[None]],
) -> None:
    """For ever; all workers that do make one pass together where one alone would make it.

    `flush` notes what this one served; what others served is as old as their notes.
    """
    interval = min(_LONGEST, max(_SOONEST, min(cache.grace for cache in caches) / _PASSES))

    async def first() -> None:
        with suppress(StorageError):  # a full disk: what goes now is what helps
            await flush()
        for cache in caches:
            await trim(store, caches, cache, guards, tell)

    while True:
        await asyncio.sleep(interval)
        try:
            report = await collect_in(
                store,
                rules,
                lambda name: find_cache(caches, name) is not None,
                first=first,
                pause=_REST,
                every=interval,
            )
            if report.manifests or report.blobs:
                logger.info(
                    "build caches: %d manifests and %d blobs went, %d bytes freed",
                    report.manifests,
                    report.blobs,
                    report.freed,
                )
        except StoreBusy:
            pass  # another worker, or a command, is at it
        except (StorageError, OSError) as error:
            logger.error("build caches are not kept small: %s", error)
        except Exception:  # whatever it was, it must not end the next pass too
            logger.exception("build caches are not kept small")


async def trim(
    store: Store,
    caches: Sequence[BuildCache],
    cache: BuildCache,
    guards: Guards,
    tell: Callable[[Change], None] = lambda _: None,
) -> Applied:
    """Take the tags that were used least recently, so far that the rest fits; their content goes by and by.

    What was used within the grace keeps its tags: somebody may be importing it.
    """
    applied = Applied()
    if not cache.size:
        return applied
    now = store.database.clock.now()
    with store.database.scanning() as connection:
        found = await in_thread(
            _oversized,
            connection,
            lambda name: find_cache(caches, name) is cache,
            cache.size,
            now - cache.grace,
        )
    for repository, tags in found.items():
        verdicts = tuple(Verdict(tag, ()) for tag in tags)
        await apply(store, Plan(RepositoryName(repository), now, verdicts), guards, applied, WHO, tell)
    if applied.removed:
        logger.info(
            "build caches: %d tags went, as more than %d bytes were held", len(applied.removed), cache.size
        )
    return applied


def _oversized(
    connection: Connection, chosen: Callable[[str], bool], size: int, since: int
) -> dict[str, list[Tagged]]:
    """The tags to take, by repository."""
    holdings = load_holdings(connection, chosen, chosen)
    if holdings.bytes <= size:
        return {}
    choice = least_used_tagged(holdings, size, since=since)
    return {
        holdings.names[repository]: tags for repository, tags in tags_of(connection, choice.manifests).items()
    }
