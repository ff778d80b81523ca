"""One request to an upstream: the breaker asked, the login shown, redirects followed, what failed counted."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from registry.names import RepositoryName
from registry.upstream.answers import find_fault, read_end
from registry.upstream.breaker import Breaker
from registry.upstream.challenges import read_challenges
from registry.upstream.errors import UpstreamAstray, UpstreamFailed, UpstreamForged, UpstreamHeadless
from registry.upstream.login import Login
from registry.upstream.notes import Notes, Unnoted
from registry.upstream.origins import read_origin
from registry.upstream.redirects import MOST, STATUSES, find_next, is_known
from registry.upstream.settings import Upstream
from registry.upstream.transport import Answer, Bounds, Transport


class Exchange:
    """All requests to one upstream go through this."""

    def __init__(
        self, upstream: Upstream, clock: Callable[[], float], bounds: Bounds, notes: Notes | None = None
    ) -> None:
        self._upstream, self.notes = upstream, notes or Unnoted()
        self._transport = Transport(
            upstream.name, ca_file=upstream.ca_file, private=upstream.private, bounds=bounds
        )
        self._login = Login(upstream, self._transport, clock)
        self.breaker = Breaker(upstream.name, clock, self.notes)

    async def close(self) -> None:
        await self._login.close()
        await self._transport.close()

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        repository: RepositoryName,
        path: str,
        fields: Mapping[str, str],
        *,
        at_end: int = 0,
    ) -> AsyncIterator[Answer]:
        """A successful answer. The breaker counts until its head is there: a body may take hours."""
        async with AsyncExitStack() as stack:
            with self.breaker.attempt():
                answer = await stack.enter_async_context(
                    self._log_in(method, self._upstream.remote(repository), path, fields, at_end)
                )
            try:
                yield answer
            except UpstreamForged as error:  # what it sent was looked at in the block
                self.notes.failed(error, 0.0)
                raise

    @contextmanager
    def body(self) -> Iterator[None]:
        """Around the reading of one: that it breaks off counts; that it does not shows that all is well."""
        try:
            yield
        except UpstreamFailed as error:
            self.breaker.fail(error)
            raise
        else:
            self.breaker.succeed()

    @asynccontextmanager
    async def _log_in(
        self, method: str, repository: str, path: str, fields: Mapping[str, str], at_end: int
    ) -> AsyncIterator[Answer]:
        """The answer after at most one login: a token may have ended, or a password changed, since."""
        url = f"{self._upstream.url}/v2/{repository}/{path}"
        shown = self._login.known(repository)
        for last in (False, True):
            async with self._follow(method, url, fields, shown) as (answer, own):
                if answer.status != 401 or not own:
                    logged_in = shown is not None
                    fault = find_fault(
                        self._upstream.name, answer, method=method, own=own, logged_in=logged_in
                    )
                    if fault and not read_end(answer, at_end):
                        raise fault
                    yield answer
                    return
            if last:
                break
            shown = await self._login.find(read_challenges(answer.challenges), repository, shown)
        if method == "HEAD":  # public.ecr.aws, of every blob, whatever the token
            raise UpstreamHeadless(self._upstream.name, "it answered 401 to a HEAD")
        raise self._login.refused(shown)

    @asynccontextmanager
    async def _follow(
        self, method: str, url: str, fields: Mapping[str, str], authorization: str | None
    ) -> AsyncIterator[tuple[Answer, bool]]:
        """The answer behind at most three redirects, and whether it is of the upstream itself.

        Authorization goes to the upstream's own origin, and never again once a redirect has led away.
        """
        own = True
        for _ in range(MOST + 1):
            origin = read_origin(url)
            own = own and origin == self._upstream.origin
            shown = {"Authorization": authorization} if own and authorization else {}
            known = is_known(self._upstream, origin)
            async with self._transport.ask(method, url, {**fields, **shown}, known=known) as answer:
                if answer.status not in STATUSES:
                    yield answer, own
                    return
            url = find_next(self._upstream, url, answer.fields.get("location"))
        raise UpstreamAstray(self._upstream.name, f"it redirects more than {MOST} times")
