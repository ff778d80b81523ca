"""A worker that wants one blob of an upstream, for several clients at once: tests start and kill it.

It says `begun`, and at the end a line for each client: how many bytes it had, and of which digest.
"""

import argparse
import asyncio
import hashlib
import os
import time
from contextlib import AbstractAsyncContextManager

from registry.cache.fetches import Fetches
from registry.cache.wanted import Wanted
from registry.names import RepositoryName
from registry.upstream.client import Stream, UpstreamClient
from registry.upstream.errors import UpstreamError
from registry.upstream.settings import Upstream
from storage.digest import Digest
from storage.errors import BlobMissing
from storage.store import Store, open_store
from tests.upstream.clients import made

REPOSITORY = "@up.example/team/app"


def wanted_of(store: Store, upstream: Upstream, client: UpstreamClient, digest: Digest) -> Wanted:
    links = store.names.links

    async def held() -> bool:
        try:
            await links.find(REPOSITORY, digest)
        except BlobMissing:
            return False
        return True

    async def landed() -> None:
        await links.claim(REPOSITORY, digest, store.blobs.size)

    def source(offset: int) -> AbstractAsyncContextManager[Stream]:
        return client.blob(RepositoryName("team/app"), digest, offset)

    return Wanted(upstream.name, REPOSITORY, digest, source, held, landed)


async def pull(fetches: Fetches, wanted: Wanted, began: float) -> str:
    """As the server sends it: as much as is ready, from the descriptor."""
    hasher, start, first = hashlib.sha256(), 0, 0.0
    try:
        async with fetches.open(wanted) as file:
            assert file.descriptor is not None
            while start < file.size:
                count = await file.ready(start, file.size - start)
                first = first or time.time() - began
                if not start:
                    print("begun", flush=True)
                hasher.update(os.pread(file.descriptor, min(count, 2**20), start))
                start += min(count, 2**20)
    except UpstreamError as fact:
        return f"{start} {fact}"
    return f"{start} {hasher.hexdigest()} {first:.3f}"


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("url")
    parser.add_argument("digest")
    parser.add_argument("--clients", type=int, default=1)
    asked = parser.parse_args()
    store = open_store(asked.root, durable=False)
    upstream = made(asked.url, private=True)
    client = UpstreamClient(upstream)
    fetches = Fetches(store.fetches, store.blobs)
    wanted = wanted_of(store, upstream, client, Digest.parse(asked.digest))
    print("ready", flush=True)
    await asyncio.to_thread(input)  # the word to begin
    pulls = [pull(fetches, wanted, time.time()) for _ in range(asked.clients)]
    for line in await asyncio.gather(*pulls):
        print(line, flush=True)
    while os.listdir(store.layout.fetches) and not line.partition(" ")[2].startswith("up.example"):
        await asyncio.sleep(0.01)  # it is claimed when everybody has it
    await fetches.close()
    await client.close()
    store.close()


if __name__ == "__main__":
    asyncio.run(main())
