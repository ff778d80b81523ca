"""A cache before an upstream that fails as it is told to, in one process; and clocks that stand still."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from registry.access import Policy
from registry.api.access_log import AccessLog
from registry.api.gate import Gate
from registry.cache.cache import Cache
from registry.cache.fetches import Fetches
from registry.cache.routing import Routing
from registry.policies.upstream_names import UpstreamNames
from registry.registry import Registry
from registry.upstream.client import UpstreamClient
from registry.upstream.settings import UPSTREAMS, Upstream
from registry.upstream.transport import Bounds
from storage.clock import Machine
from storage.store import Store, open_store
from tests.api.world import push_blob, push_manifest
from tests.auth.hands import Hand
from tests.builders import OCI_CONFIG, blob, descriptor, image
from tests.inprocess import connect_app
from tests.upstream.proxy import Proxy, proxying

UP = "up.example"
PATIENT = Bounds(connect=10.0, head=10.0, idle=10.0)
QUICK = Bounds(connect=3.0, head=3.0, idle=3.0)  # for upstreams that hang

_numbers = itertools.count()


@dataclass(slots=True)
class Place:
    """`client` asks the cache, `origin` the upstream; `clock` is the store's time and the cache's."""

    client: httpx.AsyncClient
    origin: httpx.AsyncClient
    proxy: Proxy
    gate: Gate
    cache: Cache
    store: Store
    clock: Hand
    lines: list[str] = field(default_factory=list)


def new_name() -> str:
    return f"team/app{next(_numbers)}"


@asynccontextmanager
async def caching(
    folder: Path,
    target: str,
    *,
    policies: tuple[Policy, ...] = (),
    local: tuple[str, ...] = (),
    offline: bool = False,
    bounds: Bounds = PATIENT,
    **table: Any,
) -> AsyncIterator[Place]:
    """The upstream is called UP; `table` are further keys of it. `target` is HOST:PORT."""
    clock, lines = Hand(), list[str]()
    machine = Machine("a boot", uptime=clock, wall=lambda: 1_700_000_000.0)
    async with proxying(target) as proxy:
        (upstream,) = _checked({"name": UP, "url": proxy.url, **table})
        routing = Routing([upstream], local)
        store = open_store(str(folder / "root"), durable=False, machine=machine)
        registry = Registry(store.names, store.blobs, store.uploads)
        cache = Cache(
            registry,
            Fetches(store.fetches, store.blobs),
            offline=offline,
            connect=lambda upstream: UpstreamClient(upstream, bounds=bounds, clock=clock),
            clock=clock,
        )
        gate = Gate(
            registry,
            policies=[*policies, UpstreamNames(routing)],
            routing=routing,
            cache=cache,
            log=AccessLog(sink=lines.append),
        )
        try:
            async with (
                connect_app(gate) as client,
                httpx.AsyncClient(base_url=f"http://{target}") as origin,
            ):
                yield Place(client, origin, proxy, gate, cache, store, clock, lines)
        finally:
            await cache.close()
            store.close()


def _checked(table: Mapping[str, object]) -> tuple[Upstream, ...]:
    found = UPSTREAMS.check([table])
    assert isinstance(found, tuple)
    return found


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    config: bytes
    layer: bytes
    manifest: bytes


async def push(client: httpx.AsyncClient, name: str, tag: str = "v1", *, size: int = 200_000) -> Image:
    """An image of its own at each call."""
    number = next(_numbers)
    config, layer = b'{"number":%d}' % number, blob(size, number)
    for data in (config, layer):
        await push_blob(client, name, data)
    raw = image(descriptor(config, OCI_CONFIG), [descriptor(layer)])
    await push_manifest(client, name, raw, tag)
    return Image(name, config, layer, raw)


def states(place: Place) -> list[str]:
    """What the access log says of each request that was answered from the cache."""
    return [line["cache"] for line in map(json.loads, place.lines) if "cache" in line]


async def landed(place: Place, target: str) -> str:
    """The target, once it is here: a blob may still be landing when its last byte is sent."""
    async with asyncio.timeout(10):
        while True:
            answer = await place.client.get(target, headers={"Accept": "*/*"})
            if answer.headers.get("Cache-Status") == "oci-registry; hit":
                return target
