"""Answers given before, given again at once: without a task and a route, and with every check.

A request hits if it is a GET or HEAD of the same target that says nothing which could change the answer, and
if nothing in the index has changed since: then all that the index would say is as it was. Who asks, the
meters and the content's file are looked at each time; the policies once in half a second for each who asks.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from starlette.types import Scope

from registry.access import Action, Actor, Meter, Operation, Policy, Shown, meter
from registry.api import access_log
from registry.api.access_log import Sink
from registry.api.identities import Identities, Standing, authorization_of
from registry.api.origins import Origins
from registry.api.wire import ALWAYS, Lasting
from registry.errors import RegistryError
from registry.pulls import Pull, Pulls
from storage.contracts import Generation
from storage.digest import Digest

PROMPT = "prompt"  # in the lifespan's state, for our server: whom to ask before it makes an ASGI call

_LIMIT = 16 * 2**20  # bytes that are kept, with what an entry takes by itself
_ENTRY = 2**9
LARGEST = 64 * 2**10  # of a body
_LONGEST = 2**10  # of a target
# A request with any other field takes the long way.
_MEANINGLESS = frozenset(
    {b"host", b"user-agent", b"accept", b"accept-encoding", b"connection", b"authorization"}
)

Headers = Sequence[tuple[bytes, bytes]]
FileSize = Callable[[Digest], int | None]


@dataclass(frozen=True, slots=True)
class _Kept:
    operation: Operation
    pusher: bool  # it was worked out for one who may push, for whom "here" is a promise (Repository)
    said: str  # of it in the access log, with as much of the target as is written there
    target: bytes
    head: bytes  # all fields but those that differ each time
    body: bytes
    content: tuple[Digest, int] | None
    pull: Pull | None

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return _ENTRY + len(self.said) + len(self.target) + len(self.head) + len(self.body)


class Prompt:
    """`find` is for a server that asks before it makes an ASGI call of a request; it may never ask."""

    def __init__(
        self,
        generation: Generation,
        file_size: FileSize,
        *,
        identities: Identities,
        policies: Sequence[Policy],
        meters: Sequence[Meter],
        origins: Origins,
        sink: Sink | None,
        pulls: Pulls,
        limit: int = _LIMIT,
    ) -> None:
        self._generation, self._file_size = generation, file_size
        self._identities, self._policies, self._meters = identities, policies, meters
        self._origins = origins
        self._sink, self._pulls, self._limit = sink, pulls, limit
        self._number: int | None = None
        self._kept: OrderedDict[tuple[bytes, bytes], _Kept] = OrderedDict()
        self._size = 0
        self._ids = os.urandom(8).hex()
        self._count = 0

    @property
    def generation(self) -> int | None:
        """To be noted before an answer is worked out that shall be kept."""
        return self._generation.current

    def find(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        client: tuple[str, int] | None,
        certificate: str = "",
    ) -> bytes | None:
        """A whole answer but for its status line and what the server adds; None: ask the app."""
        begun = time.monotonic()
        kept = self._kept.get((method, target))
        if kept is None or not self._holds(kept):
            return None
        if self._origins.proxied:
            headers, client = self._origins.unwrap(headers, client)
        if not is_plain(headers):
            return None
        remote = access_log.remote_of(client)
        try:
            standing = self._identities.known(Shown(authorization_of(headers), certificate, remote))
            if standing is None or not self._serves(kept, standing):
                return None
            meter(self._meters, standing.actor, kept.operation)
        except RegistryError:  # the long way says why
            return None
        self._kept.move_to_end((method, target))
        if kept.pull:
            self._pulls.add(kept.pull)
        self._count += 1
        request_id = f"{self._ids}{self._count:016x}"
        if self._sink:
            seconds, agent = time.monotonic() - begun, access_log.agent_of(headers)
            who = {"who": standing.actor.name} if standing.actor.name else {}
            line = access_log.render(request_id, remote, kept.said, seconds, agent, who)
            self._sink(line)
        return b"%b%b\r\n\r\n%b" % (kept.head, request_id.encode(), kept.body)

    def _holds(self, kept: _Kept) -> bool:
        if self._generation.current != self._number:
            self._forget()
            return False
        return kept.content is None or self._file_size(kept.content[0]) == kept.content[1]

    def _serves(self, kept: _Kept, standing: Standing) -> bool:
        """Raises what the policies raise."""
        pushes = standing.pushes.get(kept.operation)
        if pushes is None:
            self._require(standing.actor, kept.operation)
            pushes = self._may_push(standing.actor, kept.operation)
            standing.remember(kept.operation, pushes)
        return kept.pusher is pushes

    def _require(self, actor: Actor, operation: Operation) -> None:
        for policy in self._policies:
            policy.allow(actor, operation)

    def _may_push(self, actor: Actor, operation: Operation) -> bool:
        if operation.repository is None or not self._policies:
            return True
        try:
            self._require(actor.unlimited, Operation(Action.PUSH, operation.repository))
        except RegistryError:
            return False
        return True

    def keep(
        self, scope: Scope, operation: Operation, response: Lasting, generation: int | None, actor: Actor
    ) -> None:
        """`generation` is that from before the answer was worked out."""
        current = self._generation.current
        if current is None or current != generation or not is_plain(scope["headers"]):
            return
        method, body = scope["method"].encode(), bytes(response.body)
        if method == b"HEAD":
            body = b""
        target = access_log.target_of(scope)
        if len(body) > LARGEST or len(target) > _LONGEST:
            return
        if current != self._number:
            self._forget()
            self._number = current
        if (method, target) in self._kept:
            return
        fields = [b"%b: %b\r\n" % field for field in (*response.raw_headers, *ALWAYS)]
        head = b"%bx-request-id: " % b"".join(fields)
        said = access_log.describe(scope["method"], target, 200, len(body))
        kept = self._kept[method, target] = _Kept(
            operation,
            self._may_push(actor, operation),
            said,
            target,
            head,
            body,
            response.content,
            response.pull,
        )
        self._size += kept.size
        while self._size > self._limit:
            _, dropped = self._kept.popitem(last=False)
            self._size -= dropped.size

    def _forget(self) -> None:
        self._kept.clear()
        self._size = 0


def is_plain(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether nothing in a request's head asks for anything in particular."""
    return _MEANINGLESS.issuperset([name for name, _ in headers])
