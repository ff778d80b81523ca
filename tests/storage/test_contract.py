"""What every store owes the registry, whatever it is made of: said in terms of storage/contracts.py alone.

Each test changes the store through `writer` and looks at it through `reader`: the same opening, or another
one of the same content. A further implementation joins by a line in IMPLEMENTATIONS.
"""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from storage.collect import collect
from storage.digest import ALGORITHMS, Digest
from storage.errors import (
    BlobMissing,
    BlobReferenced,
    DigestMismatch,
    InvalidDigest,
    ManifestMissing,
    PreconditionFailed,
    ReferencesMissing,
    RepositoryMissing,
    StorageError,
    UploadBusy,
    UploadMissing,
    UploadSealed,
    WrongLength,
)
from storage.fetches import Landing
from storage.garbage import Rules
from storage.links import LinkRow
from storage.manifest_rows import Edge, EdgeKind, ManifestRow
from storage.store import Store
from storage.tags import TagCheck
from tests.builders import blob
from tests.storage.conftest import Opener
from tests.storage.pushing import (
    MEDIA_TYPE,
    Side,
    allow,
    allow_manifest,
    begin,
    body,
    broken,
    edge,
    install,
    push_blob,
    push_manifest,
    push_tags,
    row,
)

MIB = 2**20
UNKNOWN_UPLOAD = "0b4f1d0e-6b0a-4b5c-8d3e-2f1a0b9c8d7e"
ABSENT = Digest.of(b"never pushed")
FOREIGN = Digest.parse_any("blake3:abcdef")


@dataclass(frozen=True, slots=True)
class Pair:
    """`mark`: a collector passes, and marks whatever no tag leads to."""

    writer: Side
    reader: Side
    mark: Callable[[], Awaitable[object]]


def durable(opener: Opener) -> Pair:
    store = opener()
    return Pair(store, store, collector(store))


def ephemeral(opener: Opener) -> Pair:
    store = opener(durable=False)
    return Pair(store, store, collector(store))


def two_openings(opener: Opener) -> Pair:
    writer = opener()
    return Pair(writer, opener(), collector(writer))


def collector(store: Store) -> Callable[[], Awaitable[object]]:
    return lambda: collect(store, Rules(untagged=lambda _: -1))


IMPLEMENTATIONS = [durable, ephemeral, two_openings]


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda implementation: str(implementation.__name__))
def pair(request: pytest.FixtureRequest, opener: Opener) -> Pair:
    made: Pair = request.param(opener)
    return made


@pytest.fixture
def writer(pair: Pair) -> Side:
    return pair.writer


@pytest.fixture
def reader(pair: Pair) -> Side:
    return pair.reader


async def catalog(side: Side) -> list[str]:
    return await side.names.listings.repositories(after="", limit=100)


async def tags_of(side: Side, repository: str) -> list[str]:
    return await side.names.listings.tags(repository, after="", limit=100)


async def referrers_of(side: Side, repository: str, subject: Digest) -> list[Digest]:
    rows, more = await side.names.listings.referrers(
        repository, subject, artifact_type=None, after=("", b""), limit=100, budget=MIB
    )
    assert not more
    return [each.digest for each in rows]


async def lose(side: Side, digest: Digest) -> None:
    """As when its bytes were found to be bad."""
    assert await side.names.links.lose(digest, lambda: True, lambda: side.blobs.quarantine(digest))


async def refused(side: Side, repository: str, digest: Digest) -> bool:
    """Whether a push of a manifest that names the blob is refused for it."""
    try:
        await push_manifest(side, repository, b"probe", [edge(digest)])
    except ReferencesMissing as error:
        return str(digest) in dict(error.missing)
    return False


def refuse(*_: object) -> None:
    """A check that refuses everything."""
    raise PermissionError


# -- blobs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1, MIB + 1])
async def test_blob_reads_back(writer: Side, reader: Side, algorithm: str, size: int) -> None:
    data = blob(size)
    digest = Digest.of(data, algorithm)
    await writer.blobs.put(digest, data)
    assert reader.blobs.size(digest) == size
    assert await reader.blobs.read(digest) == data
    assert reader.blobs.verify(digest)
    async with reader.blobs.open(digest) as file:
        assert file.size == size
        assert b"".join([chunk async for chunk in file.chunks(0, size)]) == data


@pytest.mark.parametrize(("start", "length"), [(0, 0), (0, 1), (3, 4), (MIB - 1, 2), (MIB, 9), (MIB + 9, 0)])
async def test_blob_parts(writer: Side, reader: Side, start: int, length: int) -> None:
    data = blob(MIB + 9)
    digest = Digest.of(data)
    await writer.blobs.put(digest, data)
    async with reader.blobs.open(digest) as file:
        read = [chunk async for chunk in file.chunks(start, length)]
    assert b"".join(read) == data[start : start + length]


async def test_blob_pieces(writer: Side, reader: Side) -> None:
    data = blob(3000)
    digest = Digest.of(data)
    await writer.blobs.put(digest, data)
    async with reader.blobs.open(digest) as file:
        pieces = [(2990, 10), (0, 0), (5, 1000), (0, 3000)]
        assert await file.read(pieces) == [data[start : start + length] for start, length in pieces]
        if file.descriptor is not None:
            assert os.pread(file.descriptor, 9, 1000) == data[1000:1009]


async def test_blob_parts_beyond_the_end(writer: Side, reader: Side) -> None:
    await writer.blobs.put(Digest.of(b"data"), b"data")
    async with reader.blobs.open(Digest.of(b"data")) as file:
        with pytest.raises(EOFError):
            await file.read([(1, 4)])
        chunks = file.chunks(1, 9)
        assert await anext(chunks) == b"ata"
        with pytest.raises(EOFError):
            await anext(chunks)


async def test_blob_absent(reader: Side) -> None:
    assert reader.blobs.size(ABSENT) is None
    assert reader.blobs.size(FOREIGN) is None
    reader.blobs.quarantine(ABSENT)
    with pytest.raises(BlobMissing, match=str(ABSENT)):
        await reader.blobs.read(ABSENT)
    with pytest.raises(BlobMissing):
        reader.blobs.verify(ABSENT)
    with pytest.raises(BlobMissing):
        async with reader.blobs.open(ABSENT):
            pytest.fail("it was opened")


async def test_blob_quarantined_is_absent_until_put_again(writer: Side, reader: Side) -> None:
    digest = Digest.of(b"data")
    await writer.blobs.put(digest, b"data")
    async with reader.blobs.open(digest) as file:
        writer.blobs.quarantine(digest)
        assert reader.blobs.size(digest) is None
        with pytest.raises(BlobMissing):
            await reader.blobs.read(digest)
        await writer.blobs.put(digest, b"data")
        assert [chunk async for chunk in file.chunks(0, 4)] == [b"data"]
    assert await reader.blobs.read(digest) == b"data"


async def test_blob_put_many_times_at_once(pair: Pair, reader: Side) -> None:
    data = blob(50_000)
    digest = Digest.of(data)
    await asyncio.gather(*(side.blobs.put(digest, data) for side in [pair.writer, pair.reader] * 10))
    assert await reader.blobs.read(digest) == data


async def test_blob_of_an_algorithm_that_none_can_keep(writer: Side) -> None:
    with pytest.raises(InvalidDigest):
        await writer.blobs.put(FOREIGN, b"data")


# -- upload sessions: bytes ----------------------------------------------------------------------------


async def test_upload_grows_and_hashes_what_began_it(writer: Side, reader: Side) -> None:
    upload = await writer.uploads.create()
    assert reader.uploads.size(upload) == 0
    for side, chunk, hashed in [(writer, b"ab", Digest.of(b"ab", "sha512")), (reader, b"cd", None)]:
        async with side.uploads.open(upload) as session:
            assert session.id == upload
            assert await session.append(body(chunk), algorithm="sha512") == hashed
            assert not session.sealed
    assert writer.uploads.size(upload) == reader.uploads.size(upload) == 4


@pytest.mark.parametrize("upload", [UNKNOWN_UPLOAD, "", "..", "../../etc/passwd"])
async def test_upload_unknown(reader: Side, upload: str) -> None:
    with pytest.raises(UploadMissing):
        reader.uploads.size(upload)
    with pytest.raises(UploadMissing):
        async with reader.uploads.open(upload):
            pytest.fail("it was opened")


async def test_upload_has_one_writer(writer: Side, reader: Side) -> None:
    upload = await begin(writer, b"data")
    async with writer.uploads.open(upload):
        for side in (writer, reader):
            with pytest.raises(UploadBusy):
                async with side.uploads.open(upload):
                    pytest.fail("it was opened")
    async with reader.uploads.open(upload) as session:
        assert session.size == 4


@pytest.mark.parametrize("error", [ConnectionResetError(), asyncio.CancelledError()], ids=repr)
async def test_upload_keeps_what_came_before_a_broken_body(
    writer: Side, reader: Side, error: BaseException
) -> None:
    upload = await begin(writer, b"first ")
    async with writer.uploads.open(upload) as session:
        with pytest.raises(type(error)):
            await session.append(broken(error, b"sec", b"ond"), algorithm="sha256", length=999)
    assert reader.uploads.size(upload) == 12
    async with reader.uploads.open(upload) as session:
        await install(session, b"first second")


@pytest.mark.parametrize(("length", "fits"), [(3, False), (4, True), (5, False), (0, False)])
async def test_upload_of_an_announced_length(writer: Side, reader: Side, length: int, fits: bool) -> None:
    upload = await begin(writer, b"first")
    async with writer.uploads.open(upload) as session:
        if fits:
            await session.append(body(b"da", b"ta"), algorithm="sha256", length=length)
        else:
            with pytest.raises(WrongLength) as caught:
                await session.append(body(b"da", b"ta"), algorithm="sha256", length=length)
            assert (caught.value.expected, caught.value.actual) == (length, 4)
        assert session.size == 5 + 4 * fits
    assert reader.uploads.size(upload) == 5 + 4 * fits


async def test_upload_truncated(writer: Side, reader: Side) -> None:
    upload = await begin(writer, b"first", b"second")
    async with writer.uploads.open(upload) as session:
        await session.truncate(5)
        assert session.size == 5
    assert reader.uploads.size(upload) == 5
    async with reader.uploads.open(upload) as session:
        await install(session, b"first")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("known", [None, Digest.of(b"data"), Digest.of(b"data", "sha512")], ids=str)
async def test_upload_installed(writer: Side, reader: Side, algorithm: str, known: Digest | None) -> None:
    upload = await begin(writer, b"data")
    digest = Digest.of(b"data", algorithm)
    async with writer.uploads.open(upload) as session:
        await session.install(digest, known)
    assert await reader.blobs.read(digest) == b"data"
    async with reader.uploads.open(upload) as session:
        assert session.sealed
        with pytest.raises(UploadSealed):
            await session.append(body(b"x"), algorithm="sha256")
        await session.install(digest, known)
        await session.remove()
    with pytest.raises(UploadMissing):
        writer.uploads.size(upload)
    assert await writer.blobs.read(digest) == b"data"


async def test_upload_of_other_bytes_is_not_installed(writer: Side, reader: Side) -> None:
    upload = await begin(writer, b"data")
    async with writer.uploads.open(upload) as session:
        with pytest.raises(DigestMismatch) as caught:
            await session.install(ABSENT, None)
        assert not session.sealed
    assert (caught.value.expected, caught.value.actual) == (str(ABSENT), str(Digest.of(b"data")))
    assert reader.blobs.size(ABSENT) is None
    assert reader.uploads.size(upload) == 4


async def test_upload_expires_when_idle_and_unlocked(writer: Side, reader: Side) -> None:
    idle, locked = await begin(writer, b"data"), await begin(writer, b"data")
    assert await reader.uploads.expire(3600) == []
    async with writer.uploads.open(locked):
        assert await reader.uploads.expire(0) == [idle]
    with pytest.raises(UploadMissing):
        writer.uploads.size(idle)
    assert writer.uploads.size(locked) == 4


# -- fetches -------------------------------------------------------------------------------------------


async def test_fetch_is_read_while_it_grows(writer: Side, reader: Side) -> None:
    data = blob(MIB + 9)
    async with (
        writer.fetches.open("a", Digest.of(data)) as fetch,
        reader.fetches.open("a", fetch.digest) as seen,
    ):
        assert fetch.lock()
        assert seen.announced() is None
        await fetch.announce(len(data))
        assert seen.announced() == len(data)
        with seen.share() as file:
            for start, end in ((0, 9), (9, len(data))):
                assert await fetch.append(data[start:end]) == end
                assert seen.look() == Landing(end, sealed=False, named=True, kept=False)
                assert await file.read([(start, end - start)]) == [data[start:end]]


async def test_fetch_has_one_writer_until_it_lets_go(writer: Side, reader: Side) -> None:
    async with writer.fetches.open("a", ABSENT) as fetch, reader.fetches.open("a", ABSENT) as other:
        assert fetch.lock()
        assert not other.lock()
        with fetch.share():
            fetch.unlock()
            assert other.lock()
            assert not fetch.lock()
    async with AsyncExitStack() as stack:
        async with reader.fetches.open("a", ABSENT) as fetch:
            assert fetch.lock()
            stack.enter_context(fetch.share())
        async with writer.fetches.open("a", ABSENT) as fetch:
            assert fetch.lock()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_fetch_that_is_gone_on_with_is_installed(writer: Side, reader: Side, algorithm: str) -> None:
    data = blob(3000)
    digest = Digest.of(data, algorithm)
    async with writer.fetches.open("a", digest) as fetch:
        await fetch.append(data[:1000])
    async with reader.fetches.open("a", digest) as fetch, writer.fetches.open("a", digest) as seen:
        assert fetch.lock()
        assert await fetch.resume() == 1000
        assert await fetch.append(data[1000:]) == await fetch.resume() == 3000
        for _ in range(2):
            await fetch.install()
            assert fetch.look() == seen.look() == Landing(3000, sealed=True, named=True, kept=True)
        await fetch.remove()
        assert seen.look() == Landing(3000, sealed=True, named=False, kept=False)
        with seen.share() as file:
            assert await file.read([(0, 3000)]) == [data]
    assert await writer.blobs.read(digest) == data


async def test_fetch_of_other_bytes_is_not_installed(writer: Side, reader: Side) -> None:
    async with writer.fetches.open("a", ABSENT) as fetch, reader.fetches.open("a", ABSENT) as seen:
        await fetch.append(b"data")
        with pytest.raises(DigestMismatch) as caught:
            await fetch.install()
        assert (caught.value.expected, caught.value.actual) == (str(ABSENT), str(Digest.of(b"data")))
        await fetch.remove()
        await fetch.remove()
        assert seen.look() == Landing(4, sealed=False, named=False, kept=False)
    assert reader.blobs.size(ABSENT) is None


async def test_fetch_is_of_one_repository_and_one_digest(writer: Side, reader: Side) -> None:
    async with writer.fetches.open("a", ABSENT) as fetch:
        await fetch.append(b"data")
    for repository, digest in (("b", ABSENT), ("a", Digest.of(ABSENT.binary))):
        async with reader.fetches.open(repository, digest) as other:
            assert await other.resume() == 0


async def test_fetch_that_was_begun_anew_is_another(writer: Side, reader: Side) -> None:
    async with writer.fetches.open("a", ABSENT) as old:
        await old.append(b"data")
        await old.remove()
        async with reader.fetches.open("a", ABSENT) as new:
            assert (old.look().named, new.look()) == (False, Landing(0, sealed=False, named=True, kept=False))
            await old.remove()
            assert new.look().named


async def test_fetch_expires_when_nobody_fetches(writer: Side, reader: Side) -> None:
    other = Digest.of(b"other")
    async with writer.fetches.open("a", ABSENT) as fetch, writer.fetches.open("a", other) as idle:
        for each in (fetch, idle):
            assert each.lock()
            await each.announce(9)
            await each.append(b"data")
        idle.unlock()
        assert await reader.fetches.expire(3600) == []
        assert len(await reader.fetches.expire(0)) == 1
        assert (fetch.look().named, idle.look().named) == (True, False)
    async with reader.fetches.open("a", other) as fetch:
        assert fetch.announced() is None


# -- links ---------------------------------------------------------------------------------------------


async def test_claimed_blob_is_visible_in_its_repository_alone(writer: Side, reader: Side) -> None:
    digest = await push_blob(writer, "a/b", b"data")
    assert await reader.names.links.find("a/b", digest) == LinkRow(4)
    for repository in ("a", "a/b/c", "absent"):
        with pytest.raises(BlobMissing, match=str(digest)):
            await reader.names.links.find(repository, digest)
    assert await catalog(reader) == ["a/b"]


async def test_bytes_that_nobody_claimed_are_invisible(writer: Side, reader: Side) -> None:
    await writer.blobs.put(ABSENT, b"never pushed")
    await push_blob(writer, "a", b"data")
    with pytest.raises(BlobMissing):
        await reader.names.links.find("a", ABSENT)
    assert await refused(writer, "a", ABSENT)


async def test_claim_needs_the_bytes(writer: Side, reader: Side) -> None:
    with pytest.raises(BlobMissing):
        await writer.names.links.claim("a", ABSENT, writer.blobs.size)
    assert await catalog(reader) == []


async def test_claim_again_changes_nothing(writer: Side, reader: Side) -> None:
    for side in (writer, reader, writer):
        digest = await push_blob(side, "a", b"data")
    assert await reader.names.links.find("a", digest) == LinkRow(4)
    assert await catalog(reader) == ["a"]


async def test_claim_ends_the_session_that_brought_it(writer: Side, reader: Side) -> None:
    await writer.blobs.put(Digest.of(b"data"), b"data")
    for upload in ("one", "other"):
        await writer.names.sessions.begin(upload, "a", "ann", "sha256")
    await writer.names.links.claim("a", Digest.of(b"data"), writer.blobs.size, "one")
    with pytest.raises(UploadMissing):
        await reader.names.sessions.find("one", "a", "ann")
    await reader.names.sessions.find("other", "a", "ann")


@pytest.mark.parametrize(
    ("source", "has_it"), [("a", True), ("b", True), ("empty", False), ("target", False), ("absent", False)]
)
async def test_mount_from_what_has_the_blob_alone(
    writer: Side, reader: Side, source: str, has_it: bool
) -> None:
    digest = await push_blob(writer, "a", b"data")
    await push_blob(writer, "b", b"data")
    await push_blob(writer, "empty", b"else")
    mount = writer.names.links.mount("target", digest, writer.blobs.size, source=source)
    if has_it:
        assert await mount == 4
        assert await reader.names.links.find("target", digest) == LinkRow(4)
        assert await catalog(reader) == ["a", "b", "empty", "target"]
        return
    with pytest.raises(BlobMissing):
        await mount
    assert await catalog(reader) == ["a", "b", "empty"]


async def test_mount_from_itself(writer: Side) -> None:
    digest = await push_blob(writer, "a", b"data")
    assert await writer.names.links.mount("a", digest, writer.blobs.size, source="a") == 4


@pytest.mark.parametrize("size", [None, 3, 5])
async def test_mount_of_a_file_that_is_not_as_it_was(writer: Side, reader: Side, size: int | None) -> None:
    digest = await push_blob(writer, "a", b"data")
    with pytest.raises(BlobMissing):
        await writer.names.links.mount("b", digest, lambda _: size, source="a")
    assert await catalog(reader) == ["a"]


async def test_holders(writer: Side, reader: Side) -> None:
    for name in ("a", "b", "c"):
        digest = await push_blob(writer, name, b"data")
    await push_blob(writer, "d", b"else")
    holders = reader.names.links.holders
    assert sorted(await holders(digest, limit=9)) == ["a", "b", "c"]
    assert len(await holders(digest, limit=2)) == 2
    assert await holders(ABSENT, limit=9) == []
    await writer.names.links.remove("b", digest, even_if_referenced=False)
    assert sorted(await holders(digest, limit=9)) == ["a", "c"]
    await lose(writer, digest)
    assert await holders(digest, limit=9) == []


async def test_mount_outlives_its_source(writer: Side, reader: Side) -> None:
    digest = await push_blob(writer, "a", b"data")
    await writer.names.links.mount("b", digest, writer.blobs.size, source="a")
    await writer.names.links.remove("a", digest, even_if_referenced=False)
    assert await reader.names.links.find("b", digest) == LinkRow(4)
    with pytest.raises(BlobMissing):
        await reader.names.links.find("a", digest)


async def test_removed_blob_is_gone_from_its_repository(writer: Side, reader: Side) -> None:
    digest = await push_blob(writer, "a", b"data")
    await push_blob(writer, "a", b"else")
    await writer.names.links.remove("a", digest, even_if_referenced=False)
    with pytest.raises(BlobMissing):
        await reader.names.links.find("a", digest)
    with pytest.raises(BlobMissing):
        await reader.names.links.remove("a", digest, even_if_referenced=False)
    assert await refused(writer, "a", digest)
    await push_blob(writer, "a", b"data")
    assert await reader.names.links.find("a", digest) == LinkRow(4)


@pytest.mark.parametrize("repository", ["a", "other", "absent"])
async def test_removing_what_is_not_there(writer: Side, repository: str) -> None:
    await push_blob(writer, "other", b"else")
    digest = await push_blob(writer, "elsewhere", b"data")
    for forced in (False, True):
        with pytest.raises(BlobMissing):
            await writer.names.links.remove(repository, digest, even_if_referenced=forced)


@pytest.mark.parametrize("kind", EdgeKind)
async def test_a_referenced_blob_is_not_removed(writer: Side, reader: Side, kind: EdgeKind) -> None:
    for repository in ("a", "b"):
        digest = await push_blob(writer, repository, b"data")
    for raw in (b"one", b"other"):
        await push_manifest(writer, "a", raw, [edge(b"data", kind)])
    with pytest.raises(BlobReferenced) as caught:
        await reader.names.links.remove("a", digest, even_if_referenced=False)
    assert caught.value.digest == str(digest)
    assert sorted(caught.value.parents) == sorted([str(Digest.of(b"one")), str(Digest.of(b"other"))])
    await reader.names.links.remove("b", digest, even_if_referenced=False)
    assert await reader.names.links.find("a", digest) == LinkRow(4)
    await writer.names.links.remove("a", digest, even_if_referenced=True)
    with pytest.raises(BlobMissing):
        await reader.names.links.find("a", digest)


async def test_a_blob_can_go_after_its_manifests(writer: Side, reader: Side) -> None:
    digest = await push_blob(writer, "a", b"data")
    await push_manifest(writer, "a", b"one", [edge(b"data")])
    await writer.names.manifests.remove("a", Digest.of(b"one"), even_if_referenced=False, check=allow)
    await writer.names.links.remove("a", digest, even_if_referenced=False)
    assert await catalog(reader) == []


# -- lost bytes ----------------------------------------------------------------------------------------


async def test_a_lost_blob_is_hidden_everywhere(writer: Side, reader: Side) -> None:
    for repository in ("a", "b"):
        digest = await push_blob(writer, repository, b"data")
    await lose(writer, digest)
    for repository in ("a", "b"):
        with pytest.raises(BlobMissing):
            await reader.names.links.find(repository, digest)
        assert await refused(reader, repository, digest)
    with pytest.raises(BlobMissing):
        await reader.names.links.mount("c", digest, reader.blobs.size, source="a")
    assert await catalog(reader) == ["a", "b"]


async def test_any_push_brings_a_lost_blob_back_everywhere(writer: Side, reader: Side) -> None:
    for repository in ("a", "b"):
        digest = await push_blob(writer, repository, b"data")
    await lose(writer, digest)
    await push_blob(writer, "c", b"data")
    for repository in ("a", "b", "c"):
        assert await reader.names.links.find(repository, digest) == LinkRow(4)


async def test_doubt_that_does_not_last_loses_nothing(writer: Side, reader: Side) -> None:
    digest = await push_blob(writer, "a", b"data")
    assert not await writer.names.links.lose(digest, lambda: False, lambda: pytest.fail("it was discarded"))
    assert await writer.names.links.lose(ABSENT, lambda: True)
    assert await reader.names.links.find("a", digest) == LinkRow(4)


async def test_bytes_that_a_push_has_just_brought_are_not_discarded(writer: Side, reader: Side) -> None:
    """It may come after the blob was marked, and have its bytes in place before it claims them."""
    digest = await push_blob(writer, "a", b"data")
    answers = iter([True, False])
    assert await writer.names.links.lose(
        digest, lambda: next(answers), lambda: pytest.fail("it was discarded")
    )
    assert await reader.names.links.holders(digest, limit=1) == []
    await push_blob(reader, "a", b"data")
    assert await reader.names.links.holders(digest, limit=1) == ["a"]


async def test_a_lost_manifest_is_hidden_until_it_is_pushed_again(writer: Side, reader: Side) -> None:
    subject = Digest.of(b"subject")
    await push_manifest(writer, "a", b"one", tags=["t"], manifest=row(b"one", subject=subject))
    await push_manifest(writer, "b", b"one", tags=["t"])
    await push_manifest(writer, "a", b"list", [edge(b"one", EdgeKind.CHILD)])
    digest = Digest.of(b"one")
    await lose(writer, digest)
    for repository in ("a", "b"):
        with pytest.raises(ManifestMissing, match=str(digest)):
            await reader.names.manifests.find(repository, digest)
        with pytest.raises(ManifestMissing, match="t"):
            await reader.names.manifests.resolve(repository, "t")
    assert await referrers_of(reader, "a", subject) == []
    with pytest.raises(ReferencesMissing):
        await push_manifest(writer, "a", b"another list", [edge(b"one", EdgeKind.CHILD)])
    await push_manifest(writer, "b", b"one")
    for repository in ("a", "b"):
        assert (await reader.names.manifests.resolve(repository, "t")).digest == digest
    assert await referrers_of(reader, "a", subject) == [digest]


async def test_lost_content_can_be_removed(writer: Side, reader: Side) -> None:
    digest = await push_blob(writer, "a", b"data")
    await push_manifest(writer, "a", b"one", tags=["t"])
    for lost in (digest, Digest.of(b"one")):
        await lose(writer, lost)
    await writer.names.links.remove("a", digest, even_if_referenced=False)
    await writer.names.manifests.remove("a", Digest.of(b"one"), even_if_referenced=False, check=allow)
    assert await catalog(reader) == []


# -- sessions: whose they are --------------------------------------------------------------------------


async def test_session_answers_to_who_began_it(writer: Side, reader: Side) -> None:
    await writer.names.sessions.begin("u", "a", "ann", "sha512")
    found = await reader.names.sessions.find("u", "a", "ann")
    assert (found.algorithm, found.hashed, found.hashed_size) == ("sha512", None, 0)
    for who in [("u", "a", "bob"), ("u", "b", "ann"), ("v", "a", "ann"), ("u", "a", "")]:
        with pytest.raises(UploadMissing):
            await reader.names.sessions.find(*who)


async def test_session_notes_what_was_hashed(writer: Side, reader: Side) -> None:
    await writer.names.sessions.begin("u", "a", "ann", "sha256")
    await writer.names.sessions.begin("v", "a", "ann", "sha256")
    for size in (3, 4):
        await writer.names.sessions.note("u", Digest.of(bytes(size)), size)
    found = await reader.names.sessions.find("u", "a", "ann")
    assert (found.hashed, found.hashed_size) == (Digest.of(bytes(4)), 4)
    assert (await reader.names.sessions.find("v", "a", "ann")).hashed is None
    await writer.names.sessions.note("unknown", Digest.of(b""), 0)


async def test_session_ends(writer: Side, reader: Side) -> None:
    for upload in "uvw":
        await writer.names.sessions.begin(upload, "a", "ann", "sha256")
    assert sorted(await reader.names.sessions.ids()) == ["u", "v", "w"]
    await writer.names.sessions.end(["u", "w", "unknown"])
    await writer.names.sessions.end([])
    assert await reader.names.sessions.ids() == ["v"]
    with pytest.raises(UploadMissing):
        await reader.names.sessions.find("u", "a", "ann")


# -- manifests -----------------------------------------------------------------------------------------

MANIFESTS = {
    "plain": (b"plain", row(b"plain")),
    "empty": (b"", row(b"", media_type="application/x")),
    "full": (
        b"full",
        row(b"full", artifact_type="application/a", annotations='{"ä":"\\u0000"}', subject=ABSENT),
    ),
    "foreign subject": (b"foreign", row(b"foreign", subject=FOREIGN)),
}


@pytest.mark.parametrize(("raw", "manifest"), MANIFESTS.values(), ids=MANIFESTS)
async def test_manifest_is_found_as_it_was_put(
    writer: Side, reader: Side, raw: bytes, manifest: ManifestRow
) -> None:
    assert await push_manifest(writer, "a", raw, tags=["t"], manifest=manifest) == [("t", None)]
    assert await reader.names.manifests.find("a", manifest.digest) == manifest
    assert await reader.names.manifests.resolve("a", "t") == manifest
    assert await catalog(reader) == ["a"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_manifest_of_every_algorithm(writer: Side, reader: Side, algorithm: str) -> None:
    manifest = ManifestRow(Digest.of(b"one", algorithm), MEDIA_TYPE, 3)
    await push_manifest(writer, "a", b"one", manifest=manifest)
    assert await reader.names.manifests.find("a", manifest.digest) == manifest
    with pytest.raises(BlobMissing):
        await reader.names.links.find("a", manifest.digest)


async def test_manifest_is_in_its_repository_alone(writer: Side, reader: Side) -> None:
    await push_manifest(writer, "a", b"one", tags=["t"])
    await push_manifest(writer, "b", b"other", tags=["u"])
    for repository, tag, raw in [("b", "t", b"one"), ("a", "u", b"other"), ("c", "t", b"one")]:
        with pytest.raises(ManifestMissing):
            await reader.names.manifests.find(repository, Digest.of(raw))
        with pytest.raises(ManifestMissing):
            await reader.names.manifests.resolve(repository, tag)


async def test_manifest_needs_its_bytes(writer: Side, reader: Side) -> None:
    with pytest.raises(BlobMissing):
        await writer.names.manifests.put(
            "a",
            row(b"one"),
            [],
            ["t"],
            file_size=writer.blobs.size,
            check=allow,
            check_manifest=allow_manifest,
        )
    assert await catalog(reader) == []


async def test_manifest_is_refused_with_all_that_is_missing(writer: Side, reader: Side) -> None:
    await push_blob(writer, "a", b"here")
    await push_blob(writer, "a", b"of another size")
    await push_blob(writer, "b", b"in another repository")
    await push_manifest(writer, "a", b"child")
    other_size = Digest.of(b"of another size")
    edges = [
        edge(b"here"),
        edge(b"child", EdgeKind.CHILD),
        edge(b"here", EdgeKind.CHILD),
        edge(b"absent but optional", required=False),
        Edge(other_size, 14, EdgeKind.LAYER),
        edge(b"in another repository"),
        edge(b"child", EdgeKind.CONFIG),
        edge(b"absent layer"),
        edge(b"absent child", EdgeKind.CHILD),
        edge(FOREIGN),
    ]
    for attempt in (push_manifest, examine):
        with pytest.raises(ReferencesMissing) as caught:
            await attempt(writer, "a", b"one", edges, ["t"])
        missing = dict(caught.value.missing)
        assert list(missing) == [str(each.digest) for each in edges[4:]]
        assert missing.pop(str(other_size)) == "it has 15 bytes here, the manifest says 14"
        assert set(missing.values()) == {"the repository does not have it: push it first"}
    with pytest.raises(ManifestMissing):
        await reader.names.manifests.find("a", Digest.of(b"one"))
    assert await tags_of(reader, "a") == []


async def test_refused_manifest_makes_no_repository(writer: Side, reader: Side) -> None:
    with pytest.raises(ReferencesMissing):
        await push_manifest(writer, "new", b"one", [edge(b"absent")], ["t"])
    assert await catalog(reader) == []


async def test_sparse_edges_may_be_absent_and_count_once_they_are_there(writer: Side, reader: Side) -> None:
    edges = [
        edge(b"layer", required=False),
        edge(b"child", EdgeKind.CHILD, required=False),
        edge(FOREIGN, required=False),
    ]
    await push_manifest(writer, "a", b"sparse", edges, ["t"])
    for digest in (Digest.of(b"layer"), Digest.of(b"child"), FOREIGN):
        with pytest.raises(BlobMissing):
            await reader.names.links.find("a", digest)
    layer = await push_blob(writer, "a", b"layer")
    await push_manifest(writer, "a", b"child")
    with pytest.raises(BlobReferenced):
        await reader.names.links.remove("a", layer, even_if_referenced=False)
    with pytest.raises(BlobReferenced):
        await reader.names.manifests.remove("a", Digest.of(b"child"), even_if_referenced=False, check=allow)


async def test_a_name_alone_brings_no_bytes(writer: Side, reader: Side) -> None:
    """A sparse edge makes a digest known; it must not make it look present, or have a size, anywhere."""
    await push_manifest(writer, "a", b"sparse", [edge(b"layer", required=False)])
    assert await refused(writer, "a", Digest.of(b"layer"))
    with pytest.raises(BlobMissing):
        await writer.names.links.mount("b", Digest.of(b"layer"), writer.blobs.size, source="a")
    await push_blob(writer, "b", b"layer")
    assert await reader.names.links.find("b", Digest.of(b"layer")) == LinkRow(5)
    with pytest.raises(BlobMissing):
        await reader.names.links.find("a", Digest.of(b"layer"))


async def test_manifest_put_again(writer: Side, reader: Side) -> None:
    seen: list[bool] = []
    edges = [edge(b"data"), edge(b"data"), edge(b"data", EdgeKind.CONFIG)]
    await push_blob(writer, "a", b"data")
    await push_manifest(writer, "a", b"one", edges, ["t"], check_manifest=seen.append)
    again = row(b"one", media_type="application/y")
    moves = await push_manifest(reader, "a", b"one", edges, ["t"], manifest=again, check_manifest=seen.append)
    assert moves == [("t", again.digest)]
    assert seen == [False, True]
    assert await writer.names.manifests.resolve("a", "t") == again


async def examine(
    side: Side,
    repository: str,
    raw: bytes,
    edges: list[Edge],
    tags: list[str],
    *,
    check: TagCheck = allow,
    check_manifest: Callable[[bool], None] = allow_manifest,
) -> None:
    await side.names.manifests.examine(
        repository, row(raw), edges, tags, check=check, check_manifest=check_manifest
    )


@pytest.mark.parametrize("attempt", [push_manifest, examine], ids=["put", "examine"])
@pytest.mark.parametrize("which", ["check", "check_manifest"])
async def test_a_check_that_refuses_leaves_everything_as_it_was(
    writer: Side, reader: Side, attempt: Callable[..., Awaitable[object]], which: str
) -> None:
    await push_manifest(writer, "a", b"old", tags=["t"])
    with pytest.raises(PermissionError):
        await attempt(writer, "a", b"new", [], ["t", "u"], **{which: refuse})
    assert (await reader.names.manifests.resolve("a", "t")).digest == Digest.of(b"old")
    assert await tags_of(reader, "a") == ["t"]
    with pytest.raises(ManifestMissing):
        await reader.names.manifests.find("a", Digest.of(b"new"))
    with pytest.raises(PermissionError):
        await attempt(writer, "new", b"new", [], ["t"], **{which: refuse})
    assert await catalog(reader) == ["a"]


@pytest.mark.parametrize("attempt", [examine, push_manifest], ids=["examine", "put"])
async def test_checks_are_told_every_move(writer: Side, attempt: Callable[..., Awaitable[object]]) -> None:
    await push_manifest(writer, "a", b"old", tags=["moves", "other"])
    moves: list[tuple[str, Digest | None, Digest | None]] = []
    await attempt(writer, "a", b"new", [], ["moves", "fresh"], check=lambda *move: moves.append(move))
    old, new = Digest.of(b"old"), Digest.of(b"new")
    assert moves == [("moves", old, new), ("fresh", None, new)]


async def test_examining_stores_nothing(writer: Side, reader: Side) -> None:
    await examine(writer, "a", b"one", [], ["t"])
    assert await catalog(reader) == []
    many = [edge(b"%d" % number) for number in range(600)]
    with pytest.raises(ReferencesMissing) as caught:
        await examine(writer, "a", b"one", many, [])
    assert len(caught.value.missing) == 600


async def test_tags_move_all_or_none(writer: Side, reader: Side) -> None:
    await push_manifest(writer, "a", b"one", tags=["x", "y"])
    await push_manifest(writer, "a", b"two", tags=["z"])
    moves = await push_manifest(writer, "a", b"three", tags=["z", "x", "new"])
    one, two, three = map(Digest.of, (b"one", b"two", b"three"))
    assert moves == [("z", two), ("x", one), ("new", None)]
    named = {
        tag: (await reader.names.manifests.resolve("a", tag)).digest for tag in await tags_of(reader, "a")
    }
    assert named == {"new": three, "x": three, "y": one, "z": three}

    def refuse_y(tag: str, old: Digest | None, new: Digest | None) -> None:
        if tag == "y":
            raise PermissionError

    with pytest.raises(PermissionError):
        await push_manifest(writer, "a", b"four", tags=["x", "y", "z"], check=refuse_y)
    again = {
        tag: (await reader.names.manifests.resolve("a", tag)).digest for tag in await tags_of(reader, "a")
    }
    assert again == named


async def test_a_moving_tag_is_never_absent_and_the_last_one_wins(writer: Side, reader: Side) -> None:
    raws = [b"%d" % number for number in range(30)]
    for raw in raws:
        await push_manifest(writer, "a", raw, tags=["t"] if raw == b"0" else [])
    seen: set[Digest] = set()

    async def watch() -> None:
        while True:
            seen.add((await reader.names.manifests.resolve("a", "t")).digest)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    moves = [move for raw in raws for move in await push_manifest(writer, "a", raw, tags=["t"])]
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert [old for _, old in moves] == [Digest.of(raw) for raw in [b"0", *raws[:-1]]]
    assert seen <= {Digest.of(raw) for raw in raws}
    assert (await reader.names.manifests.resolve("a", "t")).digest == Digest.of(raws[-1])


async def test_moves_at_once_form_one_chain(pair: Pair) -> None:
    """Each is told the one before it: a conditional move could rely on that."""
    raws = [b"%d" % number for number in range(20)]
    results = await asyncio.gather(
        *(
            push_manifest(side, "a", raw, tags=["t"])
            for raw, side in zip(raws, itertools.cycle([pair.writer, pair.reader]))
        )
    )
    olds = [old for moves in results for _, old in moves]
    last = (await pair.reader.names.manifests.resolve("a", "t")).digest
    assert {*olds, last} == {None, *map(Digest.of, raws)}
    assert len(set(olds)) == 20


async def test_removed_manifest_takes_its_tags(writer: Side, reader: Side) -> None:
    await push_manifest(writer, "a", b"one", tags=["x", "y"])
    await push_manifest(writer, "a", b"two", tags=["z"])
    moves: list[tuple[str, Digest | None, Digest | None]] = []
    one = Digest.of(b"one")
    tags = await writer.names.manifests.remove(
        "a", one, even_if_referenced=False, check=lambda *move: moves.append(move)
    )
    assert sorted(tags) == ["x", "y"]
    assert sorted(moves, key=str) == [("x", one, None), ("y", one, None)]
    assert await tags_of(reader, "a") == ["z"]
    with pytest.raises(ManifestMissing):
        await reader.names.manifests.find("a", one)
    for repository in ("a", "absent"):
        with pytest.raises(ManifestMissing):
            await reader.names.manifests.remove(repository, one, even_if_referenced=True, check=allow)


async def test_removal_that_a_check_refuses(writer: Side, reader: Side) -> None:
    await push_manifest(writer, "a", b"one", tags=["x"])
    with pytest.raises(PermissionError):
        await writer.names.manifests.remove("a", Digest.of(b"one"), even_if_referenced=False, check=refuse)
    with pytest.raises(PermissionError):
        await writer.names.manifests.remove_tag("a", "x", check=refuse)
    assert (await reader.names.manifests.resolve("a", "x")).digest == Digest.of(b"one")


async def test_a_child_is_not_removed_before_its_parent(writer: Side, reader: Side) -> None:
    await push_manifest(writer, "a", b"child", tags=["c"])
    await push_manifest(writer, "a", b"list", [edge(b"child", EdgeKind.CHILD)])
    child, parent = Digest.of(b"child"), Digest.of(b"list")
    with pytest.raises(BlobReferenced) as caught:
        await reader.names.manifests.remove("a", child, even_if_referenced=False, check=allow)
    assert caught.value.parents == [str(parent)]
    assert (await reader.names.manifests.resolve("a", "c")).digest == child
    await writer.names.manifests.remove("a", child, even_if_referenced=True, check=allow)
    await push_manifest(writer, "a", b"child")
    await writer.names.manifests.remove("a", parent, even_if_referenced=False, check=allow)
    await writer.names.manifests.remove("a", child, even_if_referenced=False, check=allow)
    assert await catalog(reader) == []


async def test_a_reference_counts_in_its_own_repository_alone(writer: Side, reader: Side) -> None:
    for repository in ("a", "b"):
        await push_manifest(writer, repository, b"child")
    await push_manifest(writer, "a", b"list", [edge(b"child", EdgeKind.CHILD)])
    await writer.names.manifests.remove("b", Digest.of(b"child"), even_if_referenced=False, check=allow)
    assert await catalog(reader) == ["a"]


async def test_a_subject_is_no_reference(writer: Side, reader: Side) -> None:
    subject = Digest.of(b"subject")
    await push_manifest(writer, "a", b"signature", manifest=row(b"signature", subject=subject))
    assert await referrers_of(reader, "a", subject) == [Digest.of(b"signature")]
    await push_manifest(writer, "a", b"subject", tags=["t"])
    await writer.names.manifests.remove("a", subject, even_if_referenced=False, check=allow)
    assert await referrers_of(reader, "a", subject) == [Digest.of(b"signature")]
    await writer.names.manifests.remove("a", Digest.of(b"signature"), even_if_referenced=False, check=allow)
    assert await referrers_of(reader, "a", subject) == []


async def test_removed_tag_leaves_its_manifest(writer: Side, reader: Side) -> None:
    await push_manifest(writer, "a", b"one", tags=["x", "y"])
    moves: list[tuple[str, Digest | None, Digest | None]] = []
    one = Digest.of(b"one")
    assert await writer.names.manifests.remove_tag("a", "x", check=lambda *move: moves.append(move)) == one
    assert moves == [("x", one, None)]
    assert await tags_of(reader, "a") == ["y"]
    assert await writer.names.manifests.remove_tag("a", "y", check=allow) == one
    assert await reader.names.manifests.find("a", one) == row(b"one")
    for repository, tag in [("a", "x"), ("absent", "x")]:
        with pytest.raises(ManifestMissing, match=tag):
            await reader.names.manifests.remove_tag(repository, tag, check=refuse)


async def test_a_tag_moves_to_what_the_repository_has(writer: Side, reader: Side) -> None:
    one, two = Digest.of(b"one"), Digest.of(b"two")
    await push_manifest(writer, "a", b"one")
    await push_manifest(writer, "a", b"two")
    moves: list[tuple[str, Digest | None, Digest | None]] = []

    async def move(digest: Digest) -> Digest | None:
        return await writer.names.manifests.move_tag(
            "a", "t", digest, file_size=writer.blobs.size, check=lambda *move: moves.append(move)
        )

    assert [await move(digest) for digest in (one, two, one)] == [None, one, two]
    assert moves == [("t", None, one), ("t", one, two), ("t", two, one)]
    assert (await reader.names.manifests.resolve("a", "t")).digest == one
    with pytest.raises(ManifestMissing):
        await move(ABSENT)
    with pytest.raises(PermissionError):
        await reader.names.manifests.move_tag("a", "t", two, file_size=reader.blobs.size, check=refuse)
    assert (await reader.names.manifests.resolve("a", "t")).digest == one


async def test_the_history_of_a_tag_outlives_it(writer: Side, reader: Side) -> None:
    await push_manifest(writer, "a", b"one", tags=["t"], who="ann")
    await push_manifest(writer, "a", b"two", tags=["t", "u"], who="bob")
    for number in (b"one", b"two"):
        await writer.names.manifests.remove(
            "a", Digest.of(number), even_if_referenced=False, check=allow, who="cy"
        )
    assert await catalog(reader) == []
    one, two = Digest.of(b"one"), Digest.of(b"two")
    found = await reader.names.listings.moves("a", "t", limit=10)
    assert [(move.old, move.new, move.who) for move in found] == [
        (two, None, "cy"),
        (one, two, "bob"),
        (None, one, "ann"),
    ]
    assert {move.tag for move in await reader.names.listings.moves("a", limit=10)} == {"t", "u"}
    assert await reader.names.listings.moves("b", limit=10) == []


async def test_a_tag_that_moved_since_is_not_removed(writer: Side, reader: Side) -> None:
    await push_manifest(writer, "a", b"one", tags=["x"])
    with pytest.raises(PreconditionFailed, match="x"):
        await writer.names.manifests.remove_tag("a", "x", check=refuse, moved=1)
    assert await tags_of(reader, "a") == ["x"]


async def test_what_upstreams_have_is_not_in_the_catalog(writer: Side, reader: Side) -> None:
    for name in ("0", "@up.example/a", "@up.example/b", "a"):
        await push_manifest(writer, name, b"one", tags=["t"])
    pages = [await reader.names.listings.repositories(after=after, limit=1) for after in ("", "0", "a")]
    assert pages == [["0"], ["a"], []]
    assert await reader.names.listings.repositories(after="@up.example/a", limit=5) == ["a"]
    assert await tags_of(reader, "@up.example/b") == ["t"]


async def test_a_tag_is_as_old_as_its_last_check(writer: Side, reader: Side) -> None:
    await push_manifest(writer, "@up.example/a", b"one", tags=["t", "u"])
    age = reader.names.freshness.age
    generation = reader.names.generation.current
    assert await age("@up.example/a", "t") is None
    await writer.names.freshness.note("@up.example/a", "t")
    await writer.names.freshness.note("@up.example/a", "absent")
    await writer.names.freshness.note("@up.example/absent", "t")
    assert reader.names.generation.current == generation
    assert await age("@up.example/a", "t") in (0, 1)
    for repository, tag in (("@up.example/a", "u"), ("@up.example/a", "absent"), ("absent", "t")):
        assert await age(repository, tag) is None


async def test_pulls_change_nothing_that_is_served(writer: Side, reader: Side) -> None:
    await push_manifest(writer, "a", b"one", tags=["x"])
    generation = reader.names.generation.current
    one = Digest.of(b"one")
    pulls = [("a", one), ("b", one), ("a", ABSENT), *((f"r{number}", one) for number in range(1500))]
    await writer.names.manifests.note_pulls(pulls)
    await writer.names.manifests.note_pulls([])
    assert reader.names.generation.current == generation
    assert await catalog(reader) == ["a"]
    assert await reader.names.manifests.find("a", one) == row(b"one")


async def test_a_repository_leaves_the_catalog_with_its_last_content(writer: Side, reader: Side) -> None:
    digest = await push_blob(writer, "a", b"data")
    await push_manifest(writer, "a", b"one", tags=["t"])
    await writer.names.manifests.remove_tag("a", "t", check=allow)
    assert await catalog(reader) == ["a"]
    await writer.names.manifests.remove("a", Digest.of(b"one"), even_if_referenced=False, check=allow)
    assert await catalog(reader) == ["a"]
    assert await tags_of(reader, "a") == []
    await writer.names.links.remove("a", digest, even_if_referenced=False)
    assert await catalog(reader) == []
    with pytest.raises(RepositoryMissing, match="a"):
        await tags_of(reader, "a")
    await push_blob(writer, "a", b"data")
    assert await catalog(reader) == ["a"]


# -- marks ---------------------------------------------------------------------------------------------

UNTAGGED, CHILD, LAYER = b"untagged index", b"image of it", b"layer of that"


async def leave_garbage(side: Side) -> None:
    """An index, its image and a layer; a tag leads to them in "b", and to none of them in "a"."""
    for repository in ("a", "b"):
        await push_blob(side, repository, LAYER)
        await push_manifest(side, repository, CHILD, [edge(LAYER)])
        await push_manifest(side, repository, UNTAGGED, [edge(CHILD, EdgeKind.CHILD)], ["index"])
    await side.names.manifests.remove_tag("a", "index", check=allow)


async def marks(side: Side, repository: str) -> list[bool]:
    """Those of the index, the image and the layer."""
    names = side.names
    return [
        (await names.manifests.find(repository, Digest.of(UNTAGGED))).marked,
        (await names.manifests.find(repository, Digest.of(CHILD))).marked,
        (await names.links.find(repository, Digest.of(LAYER))).marked,
    ]


async def test_what_is_pushed_has_no_mark(writer: Side, reader: Side) -> None:
    await leave_garbage(writer)
    assert await marks(reader, "a") == await marks(reader, "b") == [False, False, False]


async def test_a_mark_is_seen_and_hides_nothing(pair: Pair, reader: Side) -> None:
    await leave_garbage(pair.writer)
    await pair.mark()
    assert await marks(reader, "a") == [True, True, True]
    assert await marks(reader, "b") == [False, False, False]
    assert (await reader.names.manifests.resolve("b", "index")).marked is False
    assert await reader.names.links.find("a", Digest.of(LAYER)) == LinkRow(len(LAYER), marked=True)
    assert await reader.names.manifests.find("a", Digest.of(CHILD)) == row(CHILD)  # the same manifest


@pytest.mark.parametrize(
    ("kept", "left"),
    [(UNTAGGED, [False, False, False]), (CHILD, [True, False, False]), (LAYER, [True, True, False])],
)
async def test_keeping_takes_the_marks_of_all_that_is_kept_off(
    pair: Pair, reader: Side, kept: bytes, left: list[bool]
) -> None:
    await leave_garbage(pair.writer)
    await pair.mark()
    names, digest = pair.writer.names, Digest.of(kept)
    for _ in range(2):  # what has no mark may be kept, too
        await (names.links.keep("a", digest) if kept is LAYER else names.manifests.keep("a", digest))
        assert await marks(reader, "a") == left


async def test_keeping_in_one_repository_keeps_nothing_in_another(pair: Pair, reader: Side) -> None:
    await leave_garbage(pair.writer)
    await pair.mark()
    await pair.writer.names.manifests.keep("b", Digest.of(UNTAGGED))
    await pair.writer.names.links.keep("b", Digest.of(LAYER))
    assert await marks(reader, "a") == [True, True, True]


@pytest.mark.parametrize(
    ("repository", "content"),
    [("a", b"never pushed"), ("absent", LAYER), ("c", LAYER), ("c", CHILD), ("a", b"lost")],
)
async def test_keeping_what_is_not_here(writer: Side, repository: str, content: bytes) -> None:
    await leave_garbage(writer)
    await push_blob(writer, "c", b"another")
    await push_blob(writer, "a", b"lost")
    await push_manifest(writer, "a", b"lost")
    await lose(writer, Digest.of(b"lost"))
    with pytest.raises(BlobMissing, match=str(Digest.of(content))):
        await writer.names.links.keep(repository, Digest.of(content))
    with pytest.raises(ManifestMissing, match=str(Digest.of(content))):
        await writer.names.manifests.keep(repository, Digest.of(content))


async def test_a_blob_is_no_manifest_to_keep_nor_a_manifest_a_blob(writer: Side) -> None:
    await leave_garbage(writer)
    with pytest.raises(ManifestMissing):
        await writer.names.manifests.keep("a", Digest.of(LAYER))
    with pytest.raises(BlobMissing):
        await writer.names.links.keep("a", Digest.of(CHILD))


# -- listings ------------------------------------------------------------------------------------------


async def test_pages_of_the_catalog(writer: Side, reader: Side) -> None:
    for name in ("b", "a/b", "a", "a-b", "c"):
        await push_blob(writer, name, b"data")
    listings = reader.names.listings
    assert await listings.repositories(after="", limit=3) == ["a", "a-b", "a/b"]
    assert await listings.repositories(after="a/b", limit=3) == ["b", "c"]
    assert await listings.repositories(after="a/", limit=1) == ["a/b"]
    assert await listings.repositories(after="c", limit=3) == []
    assert await listings.repositories(after="", limit=0) == []


async def test_pages_of_tags(writer: Side, reader: Side) -> None:
    await push_tags(writer, "a", ["b", "B", "1", "_", "a.b", "a-b"])
    await push_tags(writer, "other", ["x"])
    listings = reader.names.listings
    assert await listings.tags("a", after="", limit=9) == ["1", "B", "_", "a-b", "a.b", "b"]
    assert await listings.tags("a", after="B", limit=2) == ["_", "a-b"]
    assert await listings.tags("a", after="b", limit=2) == []
    assert await listings.tags("a", after="", limit=0) == []


async def test_listings_of_no_repository(reader: Side) -> None:
    listings = reader.names.listings
    with pytest.raises(RepositoryMissing):
        await listings.tags("a", after="", limit=9)
    assert await referrers_of(reader, "a", ABSENT) == []


async def push_referrers(side: Side) -> list[ManifestRow]:
    """Five of one subject, in the order of their listing; and some that are not of it."""
    types = ["", "application/a", "application/a", "application/b", "application/b"]
    of_subject = [
        row(b"%d" % number, artifact_type=kind, subject=ABSENT) for number, kind in enumerate(types)
    ]
    for number, manifest in enumerate(of_subject):
        await push_manifest(side, "a", b"%d" % number, manifest=manifest)
    await push_manifest(side, "a", b"none", manifest=row(b"none"))
    await push_manifest(side, "a", b"else", manifest=row(b"else", subject=Digest.of(b"else's")))
    await push_manifest(side, "b", b"there", manifest=row(b"there", subject=ABSENT))
    return sorted(of_subject, key=lambda each: (each.artifact_type, each.digest.binary))


@pytest.mark.parametrize("kind", [None, "", "application/a", "application/b", "application/c"])
@pytest.mark.parametrize("limit", [1, 2, 9])
async def test_pages_of_referrers(writer: Side, reader: Side, kind: str | None, limit: int) -> None:
    expected = [each for each in await push_referrers(writer) if kind in (None, each.artifact_type)]
    found: list[ManifestRow] = []
    after, more = ("", b""), True
    while more:
        page, more = await reader.names.listings.referrers(
            "a", ABSENT, artifact_type=kind, after=after, limit=limit, budget=MIB
        )
        assert len(page) <= limit
        found += page
        after = (page[-1].artifact_type, page[-1].digest.binary) if page else after
    assert found == expected


async def test_many_pushes_at_once(pair: Pair) -> None:
    async def push(number: int, side: Side) -> None:
        await push_blob(side, "a", b"shared")
        await push_blob(side, "a", b"own %d" % number)
        edges = [edge(b"shared", EdgeKind.CONFIG), edge(b"own %d" % number)]
        await push_manifest(side, "a", b"manifest %d" % number, edges, [f"t{number:02}", "latest"])

    await asyncio.gather(*(push(number, (pair.writer, pair.reader)[number % 2]) for number in range(20)))
    assert await tags_of(pair.reader, "a") == ["latest", *(f"t{number:02}" for number in range(20))]
    for number in range(20):
        found = await pair.writer.names.manifests.resolve("a", f"t{number:02}")
        assert await pair.reader.blobs.read(found.digest) == b"manifest %d" % number


async def test_removals_and_pushes_at_once_leave_nothing_dangling(pair: Pair) -> None:
    """Whichever comes first: never a manifest whose blob went, never a removal of what one names."""
    for number in range(20):
        digest = await push_blob(pair.writer, "a", b"%d" % number)
        pushed, removed = await asyncio.gather(
            push_manifest(pair.writer, "a", b"manifest %d" % number, [edge(b"%d" % number)]),
            pair.reader.names.links.remove("a", digest, even_if_referenced=False),
            return_exceptions=True,
        )
        assert isinstance(pushed, ReferencesMissing) is not isinstance(removed, StorageError)
