"""Content put into a store through its protocols alone."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Protocol

from storage.contracts import Blobs, Fetches, Names, Uploads, UploadSession
from storage.digest import Digest
from storage.manifest_rows import Edge, EdgeKind, ManifestRow
from storage.sources import Pieces
from storage.tags import TagCheck

MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"


class Side(Protocol):
    """One opening of a store."""

    @property
    def blobs(self) -> Blobs: ...
    @property
    def uploads(self) -> Uploads: ...
    @property
    def fetches(self) -> Fetches: ...
    @property
    def names(self) -> Names: ...


def allow(tag: str, old: Digest | None, new: Digest | None) -> None:
    """A tag check that refuses nothing."""


def allow_manifest(exists: bool) -> None:
    """A manifest check that refuses nothing."""


def body(*chunks: bytes) -> Pieces:
    return Pieces(_bring(*chunks))


async def _bring(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def broken(error: BaseException, *chunks: bytes) -> Pieces:
    """A body whose connection ends with `error` after the chunks."""

    async def bring() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        raise error

    return Pieces(bring())


def edge(content: bytes | Digest, kind: EdgeKind = EdgeKind.LAYER, **how: bool) -> Edge:
    """To bytes; or to a digest, with a size of 1."""
    if isinstance(content, Digest):
        return Edge(content, 1, kind, **how)
    return Edge(Digest.of(content), len(content), kind, **how)


def row(
    raw: bytes,
    *,
    media_type: str = MEDIA_TYPE,
    artifact_type: str = "",
    annotations: str = "{}",
    subject: Digest | None = None,
) -> ManifestRow:
    return ManifestRow(Digest.of(raw), media_type, len(raw), artifact_type, annotations, subject)


async def push_blob(side: Side, repository: str, data: bytes, algorithm: str = "sha256") -> Digest:
    digest = Digest.of(data, algorithm)
    await side.blobs.put(digest, data)
    await side.names.links.claim(repository, digest, side.blobs.size)
    return digest


async def push_manifest(
    side: Side,
    repository: str,
    raw: bytes,
    edges: Sequence[Edge] = (),
    tags: Sequence[str] = (),
    *,
    manifest: ManifestRow | None = None,
    check: TagCheck = allow,
    check_manifest: Callable[[bool], None] = allow_manifest,
    who: str = "",
) -> list[tuple[str, Digest | None]]:
    manifest = manifest or row(raw)
    await side.blobs.put(manifest.digest, raw)
    return await side.names.manifests.put(
        repository,
        manifest,
        edges,
        tags,
        file_size=side.blobs.size,
        check=check,
        check_manifest=check_manifest,
        who=who,
    )


async def push_tags(side: Side, repository: str, tags: Iterable[str]) -> Digest:
    """Tags on a manifest that names nothing."""
    raw = f"manifest of {repository}".encode()
    await push_manifest(side, repository, raw, tags=list(tags))
    return Digest.of(raw)


async def begin(side: Side, *chunks: bytes) -> str:
    """A session that holds the chunks."""
    upload = await side.uploads.create()
    async with side.uploads.open(upload) as session:
        await session.append(body(*chunks), algorithm="sha256")
    return upload


async def install(session: UploadSession, data: bytes) -> Digest:
    digest = Digest.of(data)
    await session.install(digest, None)
    return digest
