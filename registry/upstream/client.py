"""One upstream as the cache asks it: manifests, blobs, tags. What is no content is a fact of errors.py."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urljoin

from registry.descriptors import Descriptor, read_descriptor
from registry.errors import ManifestInvalid, TagInvalid
from registry.names import Reference, RepositoryName, Tag
from registry.strict_json import JsonInvalid, loads
from registry.upstream.answers import Part, read_digest, read_end, read_media_type, read_part
from registry.upstream.breaker import Breaker
from registry.upstream.errors import UpstreamAstray, UpstreamFailed, UpstreamForged, UpstreamHeadless
from registry.upstream.exchange import Exchange
from registry.upstream.notes import Notes
from registry.upstream.settings import Upstream
from registry.upstream.transport import BOUNDS, Answer, Bounds, read_all
from storage.digest import Digest

_INDEX = "application/vnd.oci.image.index.v1+json"
_LARGEST_MANIFEST = 4 * 2**20
_LARGEST_PAGE = 4 * 2**20
_MOST_PAGES = 10_000
_LARGEST_LIST = 32 * 2**20  # of all its pages, which are held at once: ten thousand of the largest are 40 GB
_NOTHING: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest, whose bytes are those of its digest. `etag` is sent back to learn whether it changed."""

    media_type: str
    raw: bytes
    digest: Digest
    etag: str | None


@dataclass(frozen=True, slots=True)
class NotModified:
    """What the ETag was of is still the answer."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the upstream says of a manifest; no byte of it was seen."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Stream:
    """A blob from an offset on. Its digest is for the taker to verify; its length is held here.

    `size` is the whole blob's, where the upstream says it.
    """

    size: int | None
    chunks: AsyncIterator[bytes]


class UpstreamClient:
    """Made in the loop that it is used in; `close` ends its connections."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        clock: Callable[[], float] = time.monotonic,
        bounds: Bounds = BOUNDS,
        notes: Notes | None = None,
    ) -> None:
        self._upstream = upstream
        self._exchange = Exchange(upstream, clock, bounds, notes)

    @property
    def breaker(self) -> Breaker:
        return self._exchange.breaker

    async def close(self) -> None:
        await self._exchange.close()

    async def manifest(
        self, repository: RepositoryName, reference: Reference, accept: Sequence[str], etag: str | None = None
    ) -> Fetched | NotModified:
        fields = {"Accept": ", ".join(accept)} | ({"If-None-Match": etag} if etag else {})
        async with self._exchange.ask("GET", repository, f"manifests/{reference}", fields) as answer:
            if answer.status == 304 and etag:
                self.breaker.succeed()
                return NotModified()
            self._require_whole(answer)
            with self._exchange.body():
                raw = await read_all(answer, self._upstream.name, _LARGEST_MANIFEST)
            self._exchange.notes.received(len(raw))
            digest = self._verify(raw, reference, read_digest(answer))
            return Fetched(read_media_type(answer), raw, digest, answer.fields.get("etag"))

    async def head(self, repository: RepositoryName, reference: Reference, accept: Sequence[str]) -> Head:
        with suppress(UpstreamHeadless):
            async with self._exchange.ask(
                "HEAD", repository, f"manifests/{reference}", {"Accept": ", ".join(accept)}
            ) as answer:
                self._require_whole(answer)
                self.breaker.succeed()
                digest, size = read_digest(answer), answer.length
                if isinstance(reference, Digest) and digest not in (None, reference):
                    raise self._forged(f"it has {digest} under {reference}")
                if digest and size is not None:
                    return Head(read_media_type(answer), digest, size)
        # Some upstreams say less to HEAD than clients need (distribution-spec makes the digest optional).
        fetched = await self.manifest(repository, reference, accept)
        assert isinstance(fetched, Fetched)
        return Head(fetched.media_type, fetched.digest, len(fetched.raw))

    @asynccontextmanager
    async def blob(
        self, repository: RepositoryName, digest: Digest, offset: int = 0
    ) -> AsyncIterator[Stream]:
        fields = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._exchange.ask("GET", repository, f"blobs/{digest}", fields, at_end=offset) as answer:
            if read_end(answer, offset):
                yield Stream(offset, _nothing())
                return
            if read_digest(answer) not in (None, digest):
                raise self._forged(f"it sends {read_digest(answer)} for {digest}")
            part = read_part(self._upstream.name, answer, offset)
            yield Stream(part.size, self._take(answer, part))

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int:
        """Bytes, without fetching any of them."""
        with suppress(UpstreamHeadless):
            async with self._exchange.ask("HEAD", repository, f"blobs/{digest}", {}) as answer:
                self._require_whole(answer)
                self.breaker.succeed()
                if read_digest(answer) not in (None, digest):
                    raise self._forged(f"it has {read_digest(answer)} under {digest}")
                if answer.length is not None:
                    return answer.length
        async with self.blob(repository, digest) as stream:  # whose bytes nobody takes
            self.breaker.succeed()
            if stream.size is not None:
                return stream.size
        raise UpstreamFailed(self._upstream.name, f"it does not say how large {digest} is")

    async def tags(self, repository: RepositoryName) -> AsyncIterator[tuple[Tag, ...]]:
        """Page by page. What is no tag by the specification is left out."""
        async for raw in self._pages(repository, "tags/list", "?n=1000", "application/json"):
            yield self._read_tags(raw)

    async def referrers(
        self, repository: RepositoryName, subject: Digest
    ) -> AsyncIterator[tuple[Descriptor, ...]]:
        """Page by page. One without the referrers API raises UpstreamMissing."""
        async for raw in self._pages(repository, f"referrers/{subject}", "", _INDEX):
            yield self._read_referrers(raw)

    async def _pages(
        self, repository: RepositoryName, path: str, query: str, accept: str
    ) -> AsyncIterator[bytes]:
        page, left = path + query, _LARGEST_LIST
        for _ in range(_MOST_PAGES):
            async with self._exchange.ask("GET", repository, page, {"Accept": accept}) as answer:
                self._require_whole(answer)
                with self._exchange.body():
                    raw = await read_all(answer, self._upstream.name, min(_LARGEST_PAGE, left))
                left -= len(raw)
                link = answer.fields.get("link", "")
            yield raw
            if not link:
                return
            page = self._next_page(repository, path, link)
        raise self._forged(f"its list at {path} has more than {_MOST_PAGES} pages")

    async def _take(self, answer: Answer, part: Part) -> AsyncIterator[bytes]:
        skip, taken = part.skip, 0
        with self._exchange.body():
            async for chunk in answer.chunks:
                self._exchange.notes.received(len(chunk))
                kept = chunk[skip:] if skip else chunk
                skip = max(skip - len(chunk), 0)
                taken += len(kept)
                if part.length is not None and taken > part.length:
                    raise self._forged("it sends more than it said")
                if kept:
                    yield kept
            if skip or (part.length is not None and taken < part.length):
                raise UpstreamFailed(self._upstream.name, "it ended before the end that it had said")

    def _require_whole(self, answer: Answer) -> None:
        if answer.status != 200:
            raise self._forged(f"it answered {answer.status} to a request without range and condition")

    def _verify(self, raw: bytes, reference: Reference, said: Digest | None) -> Digest:
        """The digest that was asked for, or said, or else the usual one; the bytes are of it."""
        expected = reference if isinstance(reference, Digest) else said or Digest.of(raw)
        for each in {expected, said or expected}:
            if (actual := Digest.of(raw, each.algorithm)) != each:
                raise self._forged(f"it sends {actual} for {each}")
        return expected

    def _read_tags(self, raw: bytes) -> tuple[Tag, ...]:
        try:
            found = loads(raw)
        except JsonInvalid as error:
            raise self._forged(f"its list of tags cannot be read: {error}") from None
        if not isinstance(found, dict) or not isinstance(names := found.get("tags"), list | None):
            raise self._forged("its list of tags is none")
        return tuple(tag for name in names or () if (tag := _tag(name)))

    def _read_referrers(self, raw: bytes) -> tuple[Descriptor, ...]:
        try:
            found = loads(raw)
            listed = found.get("manifests") if isinstance(found, dict) else None
            if not isinstance(listed, list):
                raise self._forged("its list of referrers is none")
            return tuple(read_descriptor(each, f"manifests[{number}]") for number, each in enumerate(listed))
        except (JsonInvalid, ManifestInvalid) as error:
            raise self._forged(f"its list of referrers cannot be read: {error}") from None

    def _next_page(self, repository: RepositoryName, path: str, link: str) -> str:
        """The path below the repository: a page is where its list is, and nowhere else."""
        here = f"{self._upstream.url}/v2/{self._upstream.remote(repository)}/"
        target, closed, more = link.strip().removeprefix("<").partition(">")
        url = urljoin(f"{here}{path}", target)
        page = url.removeprefix(here)
        if not closed or "next" not in more or not page.startswith(f"{path}?") or "#" in page:
            raise UpstreamAstray(self._upstream.name, f"the next page of {path} is at another place")
        return page

    def _forged(self, why: str) -> UpstreamForged:
        return UpstreamForged(self._upstream.name, why)


def _tag(name: object) -> Tag | None:
    try:
        return Tag(name) if isinstance(name, str) else None
    except TagInvalid:
        return None


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in _NOTHING:
        yield chunk
