"""What handlers need of HTTP: the call, bodies, queries, pages, headers."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from registry.access import Action, Actor, Operation
from registry.api.body import Body
from registry.api.cursors import Cursors
from registry.api.errors import Busy, LengthMismatch, PageInvalid
from registry.api.ranges import parse_content_range
from registry.cache.both import UpstreamFirst
from registry.cache.repository import CachedRepository
from registry.cache.routing import Remote, Routing, Way
from registry.conditions import Condition, parse_condition
from registry.errors import ConditionInvalid, ManifestTooLarge
from registry.manifests import MAX_MANIFEST
from registry.names import Reference, RepositoryName
from registry.pulls import Pull
from registry.registry import Registry
from registry.repository import Repository
from registry.sources import Source
from registry.uploads import Chunk, Uploads
from storage.digest import Digest

MOST_ENTRIES = 1000  # of a page, whatever `n` asks for
ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
)
IMMUTABLE = "max-age=31536000, immutable"

OpenRemote = Callable[[Remote], CachedRepository]

_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """A request past the gate: its path parsed, its actor known, its operation allowed.

    Which of `reference`, `digest` and `upload` is there depends on the route. `allows` asks the policies
    about a further operation of the same actor; `may` does so whatever the token at hand was made for.
    `way` is where the name leads, `find_way` where others do; `open_remote` opens what upstreams have.
    """

    request: Request
    body: Body
    registry: Registry
    actor: Actor
    allows: Callable[[Operation], bool]
    may: Callable[[Operation], bool]
    held: "Held"
    cursors: Cursors
    name: RepositoryName | None = None
    reference: Reference | None = None
    digest: Digest | None = None
    upload: str = ""
    way: Way | None = None
    find_way: Callable[[RepositoryName], Way] = Routing().find
    open_remote: OpenRemote | None = None

    @property
    def repository(self) -> Repository:
        """What was pushed."""
        return Repository(self.registry, self._place, self.actor.name, allows=self._may_here)

    @property
    def _place(self) -> RepositoryName:
        """The name under which it was."""
        assert self.name is not None
        return self.way.local or self.name if self.way else self.name

    @property
    def source(self) -> Source:
        """What a pull is served from."""
        way, opened = self.way, self.open_remote
        if way and way.remote and not way.local and opened:
            return opened(way.remote)
        return UpstreamFirst(upstream, self.repository) if (upstream := self.upstream) else self.repository

    @property
    def upstream(self) -> CachedRepository | None:
        """What the default one has under a name that can be pushed to, if the actor may pull that, too."""
        way, opened = self.way, self.open_remote
        if way is None or way.remote is None or way.local is None or opened is None:
            return None
        return opened(way.remote) if self.may(Operation(Action.PULL, way.remote.public)) else None

    @property
    def pushed(self) -> Source:
        """The same for one who may be about to push, and then leaves out what is said to be here."""
        return self.repository if self.way and self.way.local and self._may_here(Action.PUSH) else self.source

    def path_to(self, *rest: str) -> str:
        """Below the repository, for who asks again as this request did."""
        assert self.name is not None
        path, namespace = repository_path(self.name, *rest), self.query("ns")
        return path if not namespace or self._place == self.name else f"{path}?{urlencode({'ns': namespace})}"

    def locate(self, name: RepositoryName) -> RepositoryName:
        """Under which name the index has what that leads to."""
        return self.find_way(name).kept

    def _may_here(self, action: Action) -> bool:
        """Who pulls by one token may push by the next, and rely on what was said to be here."""
        return self.may(Operation(action, self._place))

    @property
    def uploads(self) -> Uploads:
        return Uploads(self.registry, self._place, self.actor.name)

    def query(self, key: str) -> str | None:
        """The first value of a query parameter."""
        values = self.request.query_params.getlist(key)
        return values[0] if values else None

    def condition(self) -> Condition:
        """Raises ConditionInvalid for a write; for a read, what cannot be understood asks for nothing."""
        try:
            return parse_condition(_joined(self.request, "if-match"), _joined(self.request, "if-none-match"))
        except ConditionInvalid:
            if self.request.method in ("GET", "HEAD"):
                return Condition()
            raise

    def chunk(self) -> Chunk:
        """The body as an upload's chunk. Raises InvalidContentRange, LengthMismatch."""
        body, headers = self.body, self.request.headers
        content_length = headers.get("content-length")
        announced = None if content_length is None else int(content_length)
        content_range = headers.get("content-range")
        if content_range is None:
            return Chunk(body, announced=announced)
        first, last = parse_content_range(content_range)
        length = last - first + 1
        if announced is not None and announced != length:
            raise LengthMismatch(length, announced)
        return Chunk(body, first, length, announced)


def _joined(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    return ", ".join(values) if values else None


@asynccontextmanager
async def manifest_body(request: Request, held: "Held") -> AsyncIterator[bytes]:
    """A manifest's bytes, counted as long as they are needed.

    Raises Busy; raises ManifestTooLarge, by the header before a byte is read, else by what arrives.
    """
    announced = request.headers.get("content-length")
    if announced is not None and int(announced) > MAX_MANIFEST:
        raise ManifestTooLarge(MAX_MANIFEST)
    chunks, size = [], 0
    with held.lent() as lend:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_MANIFEST:
                raise ManifestTooLarge(MAX_MANIFEST)
            lend(len(chunk))
            chunks.append(chunk)
        raw = b"".join(chunks)
        chunks.clear()  # or each would be here twice for as long as it waits to be read
        yield raw


class Held:
    """Bytes of unfinished bodies in memory: without a limit for all, stalled clients could fill it."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0

    @contextmanager
    def lent(self) -> Iterator[Callable[[int], None]]:
        """Inside, a function that counts more bytes, until the end. Raises Busy over the limit."""
        mine = 0

        def lend(count: int) -> None:
            nonlocal mine
            if self._used + count > self._limit:
                raise Busy("too many manifests are being received: try again in a few seconds")
            self._used += count
            mine += count

        try:
            yield lend
        finally:
            self._used -= mine


def page_size(call: Call) -> int:
    """How many entries to answer: `n`, within our limit. Raises PageInvalid."""
    text = call.query("n")
    if text is None:
        return MOST_ENTRIES
    if not _COUNT.fullmatch(text):
        raise PageInvalid(f"n is {text[:40]!r}: expected a whole number of at most nine digits")
    return min(int(text), MOST_ENTRIES)


def next_link(path: str, **query: str) -> str:
    """RFC 8288 (RFC 5988); relative, so that it is right behind any proxy."""
    return f'<{path}?{urlencode(query)}>; rel="next"'


def repository_path(name: RepositoryName, *rest: str) -> str:
    """`/v2/name/…`: always without scheme and host, which a proxy may have changed."""
    return "/".join(["/v2", name, *(quote(part, safe=":+") for part in rest)])


class Lasting(Response):
    """A 200 that stays right until the index changes, as long as the file of `content` has so many bytes.

    And until the monotonic time `until`, if there is one. `pull` is what it counts as.
    """

    def __init__(
        self,
        body: bytes = b"",
        *,
        headers: Mapping[str, str],
        content: tuple[Digest, int] | None = None,
        pull: Pull | None = None,
        until: float | None = None,
    ) -> None:
        super().__init__(body, headers=headers)
        self.content, self.pull, self.until = content, pull, until


class LoggedIn(Response):
    """An answer to one who said in the request's body who it is."""

    def __init__(self, body: str, *, headers: Mapping[str, str], actor: Actor) -> None:
        super().__init__(body, headers=headers)
        self.actor = actor


def json_response(
    value: object,
    *,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
    lasting: bool = True,
) -> Response:
    """`lasting`: it is what the index says, and nothing else."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    fields = {"Content-Type": media_type, **(headers or {})}
    return Lasting(body, headers=fields) if lasting else Response(body, headers=fields)


def digest_headers(digest: Digest) -> dict[str, str]:
    return {"Docker-Content-Digest": str(digest), "ETag": f'"{digest}"'}
