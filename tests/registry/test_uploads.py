"""Upload sessions without HTTP: whose they are, what is hashed when, what a failure leaves."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from registry.changes import BlobAdded
from registry.names import RepositoryName, Tag
from registry.registry import Registry
from registry.repository import Repository
from registry.uploads import Chunk, Uploads
from storage import uploads as module
from storage.collect import collect
from storage.digest import Digest
from storage.errors import (
    BlobMissing,
    DigestMismatch,
    InvalidDigest,
    QuotaExceeded,
    StoreDegraded,
    UploadBusy,
    UploadMissing,
    UploadSealed,
    WrongLength,
    WrongOffset,
)
from storage.garbage import Rules
from storage.manifests import Manifests
from storage.quotas import Limit, Limits, Quotas
from storage.rows import FileSize
from storage.sources import Pieces
from storage.store import Store
from tests.builders import blob, index
from tests.registry.listening import NAME, body, listened, push

DATA = blob(10_000)
HALF = len(DATA) // 2


def chunk(data: bytes = b"", start: int | None = None, length: int | None = None) -> Chunk:
    return Chunk(body(data) if data else body(), start, length)


def files(store: Store) -> list[str]:
    return os.listdir(store.layout.uploads)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("announced", ["sha256", "sha512"])
async def test_a_session_becomes_a_blob(store: Store, algorithm: str, announced: str) -> None:
    registry, heard = listened(store)
    uploads, named = Uploads(registry, NAME, "bob"), Digest.of(DATA, algorithm)
    upload = await uploads.begin(announced)
    assert await uploads.append(upload, chunk(DATA[:HALF])) == HALF
    assert await uploads.append(upload, chunk(DATA[HALF:-1], HALF, HALF - 1)) == len(DATA) - 1
    assert await uploads.offset(upload) == len(DATA) - 1
    await uploads.finish(upload, named, chunk(DATA[-1:]))
    assert heard == [BlobAdded(NAME, named, len(DATA))]
    assert await Repository(registry, NAME).blob_size(named) == len(DATA)
    assert files(store) == []
    with pytest.raises(UploadMissing):
        await uploads.offset(upload)


async def test_an_unknown_algorithm_begins_nothing(registry: Registry, store: Store) -> None:
    with pytest.raises(InvalidDigest):
        await Uploads(registry, NAME, "").begin("md5")
    assert files(store) == []


STRANGERS = [("bob", "elsewhere"), ("eve", NAME), ("", NAME), ("eve", "elsewhere")]


@pytest.mark.parametrize(("owner", "repository"), STRANGERS)
async def test_a_session_answers_its_owner_in_its_repository(
    registry: Registry, owner: str, repository: str
) -> None:
    """T15."""
    mine = Uploads(registry, NAME, "bob")
    upload = await mine.begin()
    await mine.append(upload, chunk(DATA))
    stranger = Uploads(registry, RepositoryName(repository), owner)
    attempts = [
        stranger.offset(upload),
        stranger.append(upload, chunk(b"x")),
        stranger.finish(upload, Digest.of(DATA), chunk()),
        stranger.cancel(upload),
    ]
    for attempt in attempts:
        with pytest.raises(UploadMissing):
            await attempt
    await mine.finish(upload, Digest.of(DATA), chunk())


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("start", "length", "data", "fact"),
    [
        (3, 1, b"x", WrongOffset),
        (5, 1, b"x", WrongOffset),
        (4, 2, b"x", WrongLength),
        (4, 2, b"xyz", WrongLength),
    ],
)
async def test_what_is_refused_leaves_the_session_as_it_was(
    registry: Registry, start: int, length: int, data: bytes, fact: type[Exception], last: bool
) -> None:
    uploads = Uploads(registry, NAME, "")
    upload = await uploads.begin()
    await uploads.append(upload, chunk(b"four"))
    bad = chunk(data, start, length)
    with pytest.raises(fact):
        await (uploads.finish(upload, Digest.of(b"fourx"), bad) if last else uploads.append(upload, bad))
    assert await uploads.offset(upload) == 4
    await uploads.finish(upload, Digest.of(b"four"), chunk())


async def test_a_wrong_digest_takes_the_last_chunk_back(registry: Registry, store: Store) -> None:
    uploads = Uploads(registry, NAME, "")
    upload = await uploads.begin()
    await uploads.append(upload, chunk(b"four"))
    with pytest.raises(DigestMismatch) as raised:
        await uploads.finish(upload, Digest.of(b"other"), chunk(b"xy"))
    assert (raised.value.actual, raised.value.expected) == (
        str(Digest.of(b"fourxy")),
        str(Digest.of(b"other")),
    )
    assert await uploads.offset(upload) == 4
    with pytest.raises(DigestMismatch):
        await uploads.push(Digest.of(b"other"), chunk(b"xy"))
    assert files(store) == [upload]


async def test_a_broken_body_keeps_what_came(registry: Registry, store: Store) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield DATA[:HALF]
        raise ConnectionResetError

    uploads = Uploads(registry, NAME, "")
    upload = await uploads.begin()
    with pytest.raises(ConnectionResetError):
        await uploads.append(upload, Chunk(Pieces(breaks())))
    assert await uploads.offset(upload) == HALF
    with pytest.raises(ConnectionResetError):
        await uploads.push(Digest.of(DATA), Chunk(Pieces(breaks())))
    assert files(store) == [upload]
    await uploads.finish(upload, Digest.of(DATA), chunk(DATA[HALF:]))


async def test_one_request_at_a_time(registry: Registry) -> None:
    uploads = Uploads(registry, NAME, "")
    upload = await uploads.begin()
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        under_way.set()
        await go_on.wait()

    first = asyncio.create_task(uploads.append(upload, Chunk(Pieces(slow()))))
    await under_way.wait()
    for attempt in (
        uploads.append(upload, chunk(b"y")),
        uploads.finish(upload, Digest.of(b""), chunk()),
        uploads.cancel(upload),
    ):
        with pytest.raises(UploadBusy):
            await attempt
    go_on.set()
    assert await first == 1


# -- hashing once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("announced", "algorithm", "chunks", "in_put", "reads"),
    [
        ("sha256", "sha256", 0, True, 0),
        ("sha256", "sha512", 0, True, 0),
        ("sha256", "sha256", 1, False, 0),
        ("sha512", "sha512", 1, False, 0),
        ("sha256", "sha512", 1, False, 1),
        ("sha256", "sha256", 2, False, 1),
        ("sha256", "sha256", 1, True, 1),
    ],
)
async def test_bytes_are_read_again_only_if_they_must_be(
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    announced: str,
    algorithm: str,
    chunks: int,
    in_put: bool,
    reads: int,
) -> None:
    """A push of one stream is hashed as it comes; more than one, or another algorithm, from the file."""
    read = module.UploadSession.digest
    seen = []

    async def counted(session: module.UploadSession, name: str) -> Digest:
        seen.append(name)
        return await read(session, name)

    monkeypatch.setattr(module.UploadSession, "digest", counted)
    uploads = Uploads(registry, NAME, "")
    upload = await uploads.begin(announced)
    size = len(DATA) - in_put
    ends = [size * (number + 1) // max(chunks, 1) for number in range(chunks)]
    for start, end in zip([0, *ends], ends, strict=False):
        await uploads.append(upload, chunk(DATA[start:end]))
    rest = DATA[ends[-1] if ends else 0 :]
    await uploads.finish(upload, Digest.of(DATA, algorithm), chunk(rest))
    assert seen == [algorithm] * reads


# -- between install and claim ----------------------------------------------------------------------------


async def test_a_file_that_vanishes_is_installed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, heard = listened(store)
    claim, failures = store.names.links.claim, [1, 2]

    async def failing(
        repository: str, digest: Digest, size: FileSize, upload: str = "", *, limits: Limits = ()
    ) -> None:
        if failures:
            failures.pop()
            os.unlink(store.layout.blob(digest))
        await claim(repository, digest, size, upload)

    monkeypatch.setattr(store.names.links, "claim", failing)
    await Uploads(registry, NAME, "").push(Digest.of(DATA), chunk(DATA))
    assert heard == [BlobAdded(NAME, Digest.of(DATA), len(DATA))]
    failures[:] = [1, 2, 3]
    with pytest.raises(StoreDegraded, match="keeps vanishing"):
        await Uploads(registry, NAME, "").push(Digest.of(b"x"), chunk(b"x"))
    assert files(store) == []


async def test_a_sealed_session_can_only_be_closed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are a blob's already, which nothing may change."""
    registry, _ = listened(store)
    uploads = Uploads(registry, NAME, "")
    upload = await uploads.begin()

    async def fails(*_: object, limits: Limits = ()) -> None:
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as patched:
        patched.setattr(store.names.links, "claim", fails)
        with pytest.raises(RuntimeError):
            await uploads.finish(upload, Digest.of(DATA), chunk(DATA))
    with pytest.raises(UploadSealed):
        await uploads.append(upload, chunk(b"more"))
    with pytest.raises(DigestMismatch):
        await uploads.finish(upload, Digest.of(b"other"), chunk())
    with pytest.raises(BlobMissing):
        await Repository(registry, NAME).blob_size(Digest.of(DATA))
    await uploads.finish(upload, Digest.of(DATA), chunk(DATA))
    async with Repository(registry, NAME).blob(Digest.of(DATA), len(DATA)) as file:
        assert b"".join([part async for part in file.chunks(0, file.size)]) == DATA
    assert files(store) == []


async def test_a_closing_put_ends_its_session(registry: Registry) -> None:
    uploads = Uploads(registry, NAME, "")
    upload = await uploads.begin()
    await uploads.finish(upload, Digest.of(DATA), chunk(DATA))
    for data in (DATA, b"other"):
        with pytest.raises(UploadMissing):
            await uploads.finish(upload, Digest.of(data), chunk(data))


async def test_a_cancelled_session(registry: Registry, store: Store) -> None:
    uploads = Uploads(registry, NAME, "")
    upload = await uploads.begin()
    await uploads.append(upload, chunk(DATA))
    await uploads.cancel(upload)
    assert files(store) == []
    for attempt in (uploads.cancel(upload), uploads.offset(upload), uploads.append(upload, chunk())):
        with pytest.raises(UploadMissing):
            await attempt


# -- quotas ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["push", "finish", "manifest"])
async def test_who_comes_second_for_the_last_room_leaves_nothing_after_a_collection(
    store: Store, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It looked before the first had claimed, so that it is refused only by its own claim."""
    limit = Limit(NAME, (NAME,), bytes=len(DATA))
    registry = Registry(store.names, store.blobs, store.uploads, limits_of=lambda _: [limit])
    await push(registry, DATA)

    async def looked_before(*_: object) -> None:
        return None

    monkeypatch.setattr(Quotas, "room", looked_before)
    monkeypatch.setattr(Manifests, "examine", lambda *_, **__: looked_before())
    uploads, raw = Uploads(registry, NAME, ""), index() if how == "manifest" else DATA[:HALF]
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "push": lambda: uploads.push(Digest.of(raw), chunk(raw)),
        "finish": lambda: uploads.finish(session, Digest.of(raw), chunk(raw)),
        "manifest": lambda: Repository(registry, NAME).put_manifest(Tag("v1"), raw, None),
    }
    session = await uploads.begin()
    with pytest.raises(QuotaExceeded):
        await ways[how]()
    assert store.blobs.size(Digest.of(raw)) == len(raw)
    await collect(store, Rules(untagged=lambda _: 0), walk=False)
    assert store.blobs.size(Digest.of(raw)) is None
    assert store.blobs.size(Digest.of(DATA)) == len(DATA)
