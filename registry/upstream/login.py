"""What requests to one upstream show of who asks: nothing at first, then what its challenges ask for."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from registry.upstream.breaker import busy, read_retry_after
from registry.upstream.challenges import Challenge
from registry.upstream.credentials import Credentials, read_grant
from registry.upstream.errors import UpstreamAstray, UpstreamDenied, UpstreamFailed, UpstreamMissing
from registry.upstream.origins import Origin, is_listed, read_origin
from registry.upstream.settings import Upstream
from registry.upstream.transport import Answer, Transport, read_all

_LARGEST = 65_536  # bytes of a token server's answer
_USUAL, _LONGEST = 60, 3600  # seconds of a token's life: where the server says nothing; that are believed
_EARLY = 10  # seconds before its end that a token is used no more, but for half of its life at most
_MOST = 1024  # repositories whose tokens are kept


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    until: float


class Login:
    """One per upstream. Tokens are kept for each repository; who needs the same one shares its fetch."""

    def __init__(
        self, upstream: Upstream, transport: Transport, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._upstream, self._transport, self._clock = upstream, transport, clock
        self._credentials = Credentials(upstream)
        self._tokens: dict[str, _Token] = {}
        self._fetching: dict[str, asyncio.Task[str]] = {}
        self._direct = False  # whether it has asked for the settings' own login, without a token server

    async def close(self) -> None:
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def known(self, repository: str) -> str | None:
        """The value of Authorization that is right as far as one knows."""
        if self._direct:
            return self._credentials.bearer or self._credentials.basic
        token = self._tokens.get(repository)
        return token.value if token and self._clock() < token.until else None

    async def find(self, challenges: Sequence[Challenge], repository: str, shown: str | None) -> str:
        """Another value than the one that was refused. Raises any UpstreamError where there is none."""
        by_scheme = {challenge.scheme: challenge for challenge in reversed(challenges)}
        if self._credentials.bearer or "bearer" not in by_scheme:
            return self._find_direct(by_scheme, shown)
        self._direct = False
        token = self.known(repository)
        if token and token != shown:
            return token  # another request was refused, too, and has fetched it already
        self._tokens.pop(repository, None)
        return await self._share(repository, by_scheme["bearer"])

    def refused(self, shown: str | None) -> UpstreamMissing | UpstreamDenied:
        """What a 401 means to which there is nothing more to say.

        A token that was fetched for this repository, and is not enough, is how most registries say that there
        is no such repository, or a private one.
        """
        if shown and not self._direct:
            return UpstreamMissing(self._upstream.name, "there is no such repository, or no right to read it")
        return UpstreamDenied(self._upstream.name, "it refuses the login of the settings")

    def _find_direct(self, asked: dict[str, Challenge], shown: str | None) -> str:
        login = self._credentials.bearer or (self._credentials.basic if "basic" in asked else None)
        if login is None:
            wants = " or ".join(asked)[:80] or "of an unknown kind"
            raise UpstreamDenied(
                self._upstream.name, f"it wants a login ({wants}), and the settings have none"
            )
        if login == shown:
            raise UpstreamDenied(self._upstream.name, "it refuses the login of the settings")
        self._direct = True
        return login

    async def _share(self, repository: str, challenge: Challenge) -> str:
        task = self._fetching.get(repository)
        if task is None:
            task = asyncio.create_task(self._fetch(repository, challenge))
            self._fetching[repository] = task
            task.add_done_callback(lambda done: self._forget(repository, done))
        # It goes on if the one who asked first leaves.
        return await asyncio.shield(task)

    def _forget(self, repository: str, task: asyncio.Task[str]) -> None:
        self._fetching.pop(repository, None)
        if not task.cancelled():
            task.exception()  # seen, even if nobody waits any longer

    async def _fetch(self, repository: str, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm", "")
        origin = self._require_realm(realm)
        scope = f"repository:{repository}:pull"  # our own: a challenge might ask for more
        query = urlencode({"service": challenge.parameters.get("service", ""), "scope": scope})
        url = f"{realm}{'&' if '?' in realm else '?'}{query}"
        login = self._credentials.basic
        fields = {"Accept": "application/json"} | ({"Authorization": login} if login else {})
        async with self._transport.ask("GET", url, fields, known=True) as answer:
            self._require_fine(answer, origin)
            raw = await read_all(answer, self._upstream.name, _LARGEST)
        token = self._read(raw, origin)
        while len(self._tokens) >= _MOST:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[repository] = token
        return token.value

    def _require_realm(self, realm: str) -> Origin:
        own = self._upstream.origin
        try:
            origin = read_origin(realm)
        except ValueError:
            raise UpstreamAstray(self._upstream.name, "its realm is no http or https URL") from None
        if own.scheme == "https" and origin.scheme != "https":
            raise UpstreamAstray(self._upstream.name, f"it sends logins from https to {origin}")
        if origin != own and not is_listed(origin, self._upstream.realms):
            why = f"it sends logins to {origin}; if that is right, add {origin.authority!r} to its realms"
            raise UpstreamAstray(self._upstream.name, why)
        return origin

    def _require_fine(self, answer: Answer, origin: Origin) -> None:
        name, status = self._upstream.name, answer.status
        retry_after = answer.fields.get("retry-after")
        if status == 401:
            has = "refuses the login of the settings" if self._credentials.basic else "wants a login"
            raise UpstreamDenied(name, f"{origin} {has}")
        if status == 403:
            raise UpstreamMissing(name, "there is no such repository, or no right to read it")
        if status == 429:
            raise busy(name, retry_after)
        if status != 200:
            raise UpstreamFailed(name, f"{origin} answered {status}", read_retry_after(retry_after))

    def _read(self, raw: bytes, origin: Origin) -> _Token:
        if not (granted := read_grant(raw)):
            raise UpstreamFailed(self._upstream.name, f"{origin} sent no token")
        token, life = granted
        seconds = life if isinstance(life, int) and life > 0 else _USUAL
        seconds = min(seconds, _LONGEST)
        return _Token(f"Bearer {token}", self._clock() + max(seconds - _EARLY, seconds / 2))
