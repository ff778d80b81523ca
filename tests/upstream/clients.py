"""Clients of upstreams, closed when the test is done."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from registry.names import RepositoryName
from registry.upstream.client import UpstreamClient
from registry.upstream.settings import UPSTREAMS, Upstream
from registry.upstream.transport import BOUNDS, Bounds
from storage.digest import Digest

APP = RepositoryName("team/app")
ACCEPT = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json")
QUICK = Bounds(connect=3.0, head=3.0, idle=3.0)


def made(url: str, **settings: Any) -> Upstream:
    checked = UPSTREAMS.check([{"name": "up.example", "url": url, **settings}])
    assert isinstance(checked, tuple)
    upstream = checked[0]
    assert isinstance(upstream, Upstream)
    return upstream


@asynccontextmanager
async def connected(
    url: str, *, bounds: Bounds = BOUNDS, clock: Callable[[], float] = time.monotonic, **settings: Any
) -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(made(url, **settings), bounds=bounds, clock=clock)
    try:
        yield client
    finally:
        await client.close()


async def taken(client: UpstreamClient, digest: Digest, offset: int = 0) -> bytes:
    """The blob from there on, as far as it says it goes."""
    async with client.blob(APP, digest, offset) as stream:
        return b"".join([chunk async for chunk in stream.chunks])
