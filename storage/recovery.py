"""Manifests found among the blobs, and recorded with what they name and is here."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from storage.database import Connection
from storage.digest import Digest
from storage.disagreements import Read
from storage.errors import UNREADABLE, BlobMissing, DigestMismatch
from storage.manifest_rows import Edge, EdgeKind, ManifestRow
from storage.rewriting import rewrite
from storage.rows import HELD, PRESENT
from storage.store import Store
from storage.transfer import Progress

_BATCH = 100  # manifests that share a commit


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest in a blob; `tag` is the one that it claims."""

    row: ManifestRow
    edges: Sequence[Edge]
    tag: str | None


Recognise = Callable[[bytes, Digest], Found | None]
"""What a blob's bytes are if they are a manifest's; None if not."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What this module can't know: how manifests read, and that none has more than `largest` bytes."""

    recognise: Recognise
    read: Read
    largest: int


@dataclass(slots=True)
class Report:
    """`replaced` says why the index was made anew, and is empty if it was sound; `aside` is the old one.

    `manifests` are among the `blobs`, and `recovered` are those of them that no repository listed. Of these
    some are `incomplete`: digest → what is not here. `tags` are those that manifests claimed. `rewritten`
    were listed, but not with what their bytes name. `nothing` are blobs that no repository has. `bad` have
    other bytes than their name says.
    """

    replaced: str = ""
    aside: str = ""
    blobs: int = 0
    bytes: int = 0
    manifests: int = 0
    recovered: int = 0
    incomplete: dict[str, list[str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    rewritten: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    nothing: int = 0
    nothing_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Candidate:
    listed: bool
    tag: str | None
    children: tuple[Digest, ...]


class Recovery:
    """One run over a store: every blob is looked at, then what was found is recorded."""

    def __init__(self, store: Store, reader: Reader, into: str, progress: Progress) -> None:
        self._store, self._reader, self._into, self._progress = store, reader, into, progress
        self._report = Report()
        self._bad: set[Digest] = set()
        self._linked: set[Digest] = set()

    async def run(self) -> Report:
        with closing(self._store.database.scan()) as connection:
            self._report.rewritten = await rewrite(self._store, connection, self._reader.read)
            candidates = await self._look(connection)
            order = _children_first(candidates)
            tags = _free_tags(connection, self._into, candidates)
            for start in range(0, len(order), _BATCH):
                await self._record(order[start : start + _BATCH], candidates, tags)
            self._count_nothing(connection)
        self._report.bad = sorted(map(str, self._bad))
        return self._report

    # -- looking -------------------------------------------------------------------------------------

    async def _look(self, connection: Connection) -> dict[Digest, _Candidate]:
        """Every blob that is a manifest."""
        candidates = {}
        for digest, entry in self._store.blobs.walk():
            try:
                size = entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue  # taken away since it was listed
            self._progress(size)
            if digest is None:
                continue
            self._report.blobs += 1
            self._report.bytes += size
            found = await self._manifest(digest) if 2 <= size <= self._reader.largest else None
            if found:
                children = tuple(edge.digest for edge in found.edges if edge.kind is EdgeKind.CHILD)
                candidates[digest] = _Candidate(_is_listed(connection, digest), found.tag, children)
        self._report.manifests = len(candidates)
        return candidates

    async def _manifest(self, digest: Digest) -> Found | None:
        try:
            async with self._store.blobs.open(digest) as file:
                if await file.read([(0, 1)]) != [b"{"]:
                    return None
            return self._reader.recognise(await self._store.blobs.read(digest), digest)
        except BlobMissing:
            return None
        except DigestMismatch:
            self._bad.add(digest)
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            self._bad.add(digest)
        return None

    def _count_nothing(self, connection: Connection) -> None:
        held_blobs, held_bytes = connection.execute(
            f"SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE state = {PRESENT} AND {HELD}"
        ).fetchone()
        # Beside a server, blobs may have come since they were counted.
        self._report.nothing = max(self._report.blobs - held_blobs, 0)
        self._report.nothing_bytes = max(self._report.bytes - held_bytes, 0)

    # -- recording -----------------------------------------------------------------------------------

    async def _record(
        self, batch: Sequence[Digest], candidates: dict[Digest, _Candidate], tags: dict[Digest, str]
    ) -> None:
        """Manifests with what they name and is here, children before parents."""
        names, file_size, into = self._store.names, self._store.blobs.size, self._into
        found, blobs = [], set()
        for digest in batch:
            manifest = await self._manifest(digest)
            if manifest is None:
                continue  # gone bad, or away, since it was looked at
            here = {edge for edge in manifest.edges if self._is_here(edge)}
            blobs |= {
                edge.digest
                for edge in here
                if edge.kind is not EdgeKind.CHILD or edge.digest not in candidates
            }
            self._note(digest, manifest.edges, here)
            edges = [replace(edge, required=edge.required and edge in here) for edge in manifest.edges]
            found.append((digest, manifest.row, edges))
        new = blobs - self._linked
        self._linked |= new
        await _together(names.links.claim(into, digest, file_size) for digest in new)
        await _together(
            names.manifests.put(
                into,
                row,
                edges,
                [tags[digest]] if digest in tags else [],
                file_size=file_size,
                check=lambda *_: None,
                check_manifest=lambda _: None,
                who="registry reindex",
            )
            for digest, row, edges in found
        )
        self._report.tags |= {tags[digest]: str(digest) for digest, *_ in found if digest in tags}
        self._report.recovered += sum(not candidates[digest].listed for digest, *_ in found)

    def _is_here(self, edge: Edge) -> bool:
        return edge.digest not in self._bad and self._store.blobs.size(edge.digest) == edge.size

    def _note(self, digest: Digest, named: Sequence[Edge], here: Collection[Edge]) -> None:
        lacking = [
            str(edge.digest)
            for edge in named
            if edge.required and (edge not in here or str(edge.digest) in self._report.incomplete)
        ]
        if lacking:
            self._report.incomplete[str(digest)] = lacking


def _is_listed(connection: Connection, digest: Digest) -> bool:
    sql = "SELECT 1 FROM manifests WHERE blob = (SELECT id FROM blobs WHERE digest = ?) LIMIT 1"
    return connection.execute(sql, (digest.binary,)).fetchone() is not None


def _free_tags(
    connection: Connection, repository: str, candidates: dict[Digest, _Candidate]
) -> dict[Digest, str]:
    """The tags that one manifest alone claims, and that the repository does not have."""
    claims: dict[str, list[Digest]] = {}
    for digest, candidate in candidates.items():
        if candidate.tag and not candidate.listed:
            claims.setdefault(candidate.tag, []).append(digest)
    sql = "SELECT name FROM tags WHERE repository = (SELECT id FROM repositories WHERE name = ?)"
    taken = {tag for (tag,) in connection.execute(sql, (repository,)).fetchall()}
    return {digests[0]: tag for tag, digests in claims.items() if len(digests) == 1 and tag not in taken}


def _children_first(candidates: dict[Digest, _Candidate]) -> list[Digest]:
    """What no repository lists, and all manifests that these name; iteratively, for indexes nest at will."""
    order: dict[Digest, None] = {}
    for first, candidate in candidates.items():
        waiting = [] if candidate.listed else [(first, False)]
        while waiting:
            digest, seen = waiting.pop()
            if digest in order:
                continue
            if seen:
                order[digest] = None
                continue
            waiting.append((digest, True))
            waiting += [(child, False) for child in candidates[digest].children if child in candidates]
    return list(order)


async def _together(changes: Iterable[Awaitable[object]]) -> None:
    """At once, so that they share commits; in this order."""
    await asyncio.gather(*changes)
