"""The upstream: another registry of ours, in a process of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cache.places import Place, caching
from tests.e2e.serving import serve


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a registry that takes everything from everyone."""
    with serve(tmp_path_factory.mktemp("upstream"), "--anonymous", "push", "--no-access-log") as server:
        yield server.host


@pytest.fixture
async def place(tmp_path: Path, upstream: str) -> AsyncIterator[Place]:
    async with caching(tmp_path, upstream) as place:
        yield place
