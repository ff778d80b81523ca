"""`registry cache`: what is kept of other registries, what that saved, and taking it away."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from registry.cache import figures
from registry.cli import text
from registry.cli.audit import note
from registry.cli.content import opened
from registry.settings import Settings
from registry.upstream.settings import Upstream
from storage import figures as counted
from storage.errors import StorageError
from storage.eviction import Evictor
from storage.figures import Tally
from storage.rows import is_fetched
from storage.stock import Stock, is_of, take_stock
from storage.store import Store

_NOTHING = Stock(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Cache:
    """All of them. `most` bytes may be kept in all; 0: no bound but the disk."""

    upstreams: Sequence["Status"]
    stock: Stock
    most: int = 0
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """One upstream: as it is set, as it is kept, as it went; None where there is no such thing."""

    name: str
    upstream: Upstream | None
    stock: Stock
    tally: Tally | None

    def count(self, what: str) -> int:
        return self.tally.counts.get(what, 0) if self.tally else 0

    @property
    def most(self) -> int:
        """How many bytes may be kept of it; 0: no bound of its own."""
        return self.upstream.size if self.upstream else 0

    @property
    def requests(self) -> int:
        return sum(map(self.count, figures.OUTCOMES))

    @property
    def saved_requests(self) -> int:
        return max(self.requests - self.count(figures.ASKED), 0)

    @property
    def saved_bytes(self) -> int:
        return max(self.count(figures.SERVED) - self.count(figures.FETCHED), 0)

    @property
    def hit_rate(self) -> float | None:
        """Of requests, how many were answered from what was here."""
        here = (figures.HIT, figures.STALE, figures.NEGATIVE)
        return sum(map(self.count, here)) / self.requests if self.requests else None


def status(settings: Settings) -> Cache:
    """Of each upstream that is set, kept or counted, by name; and all that is kept. Raises StoreUnusable."""
    with opened(settings) as store, store.database.scanning() as connection:
        stocks, whole = take_stock(connection)
        tallies = counted.read(connection)
    known = {upstream.name: upstream for upstream in settings.upstreams}
    names = sorted({*known, *stocks, *tallies})
    found = [Status(name, known.get(name), stocks.get(name, _NOTHING), tallies.get(name)) for name in names]
    return Cache(found, whole, settings.cache_size, settings.offline)


def clear(settings: Settings, upstream: str | None) -> str:
    """Take away what is kept of one upstream, or of all; say what went. Raises StorageError for nothing."""
    chosen = is_of(upstream) if upstream else is_fetched
    with opened(settings) as store:
        _find(store, upstream)
        # Everything counts, and less than nothing shall be left: so all goes, also what others hold, too.
        evicted = asyncio.run(Evictor(store).make_room(chosen, lambda _: True, lambda _: -1))
    note(settings, "cache clear", "delete", {"repository": upstream or "*", "what": "cache"})
    went = f"removed {evicted.manifests} manifests, {text.size(evicted.freed)} freed"
    return f"{went}; {text.size(evicted.left)} came meanwhile" if evicted.left else went


def would_clear(settings: Settings, upstream: str | None) -> str:
    """What `clear` would take. Raises StorageError where that is nothing."""
    with opened(settings) as store:
        return f"would remove {_kept(_find(store, upstream))}"


def _find(store: Store, upstream: str | None) -> Stock:
    with store.database.scanning() as connection:
        stocks, whole = take_stock(connection)
    if not stocks:
        raise StorageError("nothing of any upstream is kept here")
    if upstream is None:
        return whole
    if upstream not in stocks:
        raise StorageError(f"nothing of {upstream} is kept here, only of {', '.join(stocks)}")
    return stocks[upstream]


# -- for programs ----------------------------------------------------------------------------------------


def as_object(cache: Cache) -> dict[str, object]:
    total = {**asdict(cache.stock), "budget": cache.most or None}
    return {"upstreams": [_object(each) for each in cache.upstreams], "total": total}


def _object(status: Status) -> dict[str, object]:
    state = asdict(status.tally.state) if status.tally else None
    return {
        "name": status.name,
        "url": status.upstream.url if status.upstream else None,
        **asdict(status.stock),
        "budget": status.most or None,
        "since": status.tally.since if status.tally else None,
        "requests": {outcome: status.count(outcome) for outcome in figures.OUTCOMES},
        "hit_rate": status.hit_rate,
        "bytes_served": status.count(figures.SERVED),
        "bytes_fetched": status.count(figures.FETCHED),
        "bytes_saved": status.saved_bytes,
        "upstream_requests": status.count(figures.ASKED),
        "upstream_requests_saved": status.saved_requests,
        "upstream_failures": status.count(figures.FAILED),
        "state": state,
    }


# -- for people ------------------------------------------------------------------------------------------


def report(cache: Cache) -> str:
    if not cache.upstreams:
        return "no upstream is set, and nothing is kept of any: docs/cache.md says how to begin"
    now = int(time.time())
    parts = [_describe(each, now, offline=cache.offline) for each in cache.upstreams]
    return "\n\n".join([*parts, f"kept of all: {_kept(cache.stock, cache.most)}"])


def _describe(status: Status, now: int, *, offline: bool) -> str:
    url = status.upstream.url if status.upstream else "not in these settings"
    lines = [f"{status.name} ({url})", f"  kept      {_kept(status.stock, status.most)}"]
    if status.tally and status.requests:
        lines += [f"  answers   {_answers(status, status.tally, now)}", f"  saved     {_saved(status)}"]
    if status.tally:
        state = "not asked: offline" if offline else _state(status.tally, now)
        asked, failed = status.count(figures.ASKED), status.count(figures.FAILED)
        failures = f", {text.number(failed)} of them failed" if failed else ""
        lines.append(f"  upstream  {state}; {text.number(asked)} requests to it{failures}")
    return "\n".join(lines)


def _kept(stock: Stock, most: int = 0) -> str:
    bound = f" of {text.size(most)}" if most else ""
    return f"{text.size(stock.bytes)}{bound} in {stock.repositories} repositories with {stock.tags} tags"


def _answers(status: Status, tally: Tally, now: int) -> str:
    rate = f"{100 * (status.hit_rate or 0):.1f} % of {text.number(status.requests)} from here"
    parts = [
        f"{outcome} {text.number(count)}" for outcome in figures.OUTCOMES if (count := status.count(outcome))
    ]
    return f"{rate} in {text.duration(max(now - tally.since, 0))}: {', '.join(parts)}"


def _saved(status: Status) -> str:
    served = status.count(figures.SERVED)
    return (
        f"{text.number(status.saved_requests)} requests, "
        f"{text.size(status.saved_bytes)} of {text.size(served)} served"
    )


def _state(tally: Tally, now: int) -> str:
    state = tally.state
    if state.failed is not None and (state.answered is None or state.failed > state.answered):
        what = f"fails: {state.why} ({_ago(state.failed, now)})"
    elif state.answered is not None:
        what = f"answered {_ago(state.answered, now)}"
        if state.failed is not None:
            what += f"; failed {_ago(state.failed, now)}: {state.why}"
    else:
        what = "not asked yet"
    alone = (state.resting or 0) - now
    return f"{what}, left alone for {text.duration(alone)}" if alone > 0 else what


def _ago(moment: int, now: int) -> str:
    return f"{text.duration(max(now - moment, 0))} ago"
