"""Requests to an upstream, on aiohttp (docs/decisions/013), which is loaded when there is an upstream at all.

No redirect is followed here, no proxy used, no cookie kept, no content decoded, and nobody connected to
whose address is not allowed.
"""

import asyncio
import contextlib
import importlib.util
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.upstream.addresses import AddressForbidden, is_public, is_reachable, socket_maker
from registry.upstream.errors import UpstreamAstray, UpstreamError, UpstreamFailed, UpstreamForged
from registry.upstream.origins import read_origin

if TYPE_CHECKING:
    import aiohttp

_CHUNK = 65536
_DRAINED = 65536  # bytes of an answer without use that are read, so that its connection can be used again
_DRAIN_SECONDS = 0.2
_LONGEST_FIELD = 16_384


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds: until connected (TLS included), until the head is there, between two receives."""

    connect: float = 5.0
    head: float = 10.0
    idle: float = 30.0


BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Answer:
    """A head, and a body that comes as it is taken. `fields` has names in lower case."""

    status: int
    fields: Mapping[str, str]
    challenges: tuple[str, ...]
    chunks: AsyncIterator[bytes]

    @property
    def length(self) -> int | None:
        text = self.fields.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None


def is_installed() -> bool:
    """Whether upstreams can be asked at all."""
    return importlib.util.find_spec("aiohttp") is not None


def trust(ca_file: str) -> ssl.SSLContext:
    """Whom this machine trusts, and those of the file. Raises OSError for one that cannot be read."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


class Transport:
    """To one upstream and to where it leads; a pool for hosts that are known, and one for others."""

    def __init__(
        self, name: str, *, ca_file: str = "", private: bool = False, bounds: Bounds = BOUNDS
    ) -> None:
        self._name, self._bounds = name, bounds
        self._context = trust(ca_file)
        self._checks = {True: is_reachable if private else is_public, False: is_public}
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    @asynccontextmanager
    async def ask(
        self, method: str, url: str, fields: Mapping[str, str], *, known: bool
    ) -> AsyncIterator[Answer]:
        """`known`: the settings name this host. Raises UpstreamFailed, UpstreamAstray, UpstreamForged."""
        response = await self._begin(method, url, fields, known)
        try:
            yield self._answer(response, url)
            if response.status >= 300 and (response.content_length or 0) <= _DRAINED:
                await _drain(response)
        finally:
            response.release()  # closes the connection of a body that was not taken to its end

    async def _begin(
        self, method: str, url: str, fields: Mapping[str, str], known: bool
    ) -> "aiohttp.ClientResponse":
        from yarl import URL

        try:
            async with asyncio.timeout(self._bounds.head):
                return await self._session(known).request(
                    # Encoded: what a Location says is taken as it is, since it may be signed.
                    *(method, URL(url, encoded=True)),
                    headers={"Accept-Encoding": "identity", **fields},
                    allow_redirects=False,
                )
        except Exception as error:
            # Not from error: aiohttp's texts have URLs, and the queries of those may be signed.
            raise self._fact(error, str(read_origin(url))) from None

    def _answer(self, response: "aiohttp.ClientResponse", url: str) -> Answer:
        fields = {name.lower(): value for name, value in response.headers.items()}
        if response.status < 300 and fields.get("content-encoding", "identity").lower() not in (
            "",
            "identity",
        ):
            raise UpstreamForged(self._name, "it sends what it was not asked for: a Content-Encoding")
        challenges = tuple(response.headers.getall("WWW-Authenticate", ()))
        return Answer(response.status, fields, challenges, self._chunks(response, str(read_origin(url))))

    async def _chunks(self, response: "aiohttp.ClientResponse", where: str) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except Exception as error:
            raise self._fact(error, where) from None

    def _session(self, known: bool) -> "aiohttp.ClientSession":
        if known not in self._sessions:
            self._sessions[known] = self._open(known)
        return self._sessions[known]

    def _open(self, known: bool) -> "aiohttp.ClientSession":
        import aiohttp

        connector = aiohttp.TCPConnector(
            ssl=self._context,
            socket_factory=socket_maker(self._checks[known]),
            limit=0,  # a wait here would be counted as the upstream's; who fetches bounds how many fetch
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._bounds.connect, sock_read=self._bounds.idle
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": "oci-registry"},
            read_bufsize=_CHUNK,
            max_field_size=_LONGEST_FIELD,
            max_line_size=_LONGEST_FIELD,
        )

    def _fact(self, error: Exception, where: str) -> UpstreamError:
        import aiohttp

        if isinstance(error, UpstreamError):
            return error
        if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressForbidden):
            why = f"it leads to {where}, at an address of this machine or its networks; "
            return UpstreamAstray(self._name, why + "if that is right: private = true, and list the host")
        if isinstance(error, TimeoutError):
            return UpstreamFailed(self._name, f"{where} took too long")
        if isinstance(error, aiohttp.ClientConnectorError):
            return UpstreamFailed(self._name, f"{where} cannot be reached: {error.os_error}")
        if isinstance(error, aiohttp.ClientPayloadError):
            return UpstreamFailed(self._name, f"{where} broke off before the end")
        if isinstance(error, aiohttp.ClientResponseError):
            return UpstreamFailed(self._name, f"{where} sent no readable HTTP")
        if isinstance(error, aiohttp.ClientError | OSError | ValueError):
            return UpstreamFailed(self._name, f"{where} hung up ({type(error).__name__})")
        raise error


async def _drain(response: "aiohttp.ClientResponse") -> None:
    """An error's few bytes, which mostly came with its head: their connection can be used again."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_DRAIN_SECONDS):
            await response.read()


async def read_all(answer: Answer, name: str, limit: int) -> bytes:
    """The body. Raises UpstreamForged where it is larger than the limit."""
    body = bytearray()
    if answer.length is None or answer.length <= limit:
        async for chunk in answer.chunks:
            body += chunk
            if len(body) > limit:
                break
        else:
            return bytes(body)
    raise UpstreamForged(name, f"it sends more than the {limit} bytes that this may have")
