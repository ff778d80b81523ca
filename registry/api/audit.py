"""The audit trail of what clients do: a line for each change, login and refusal, with the rule behind it.

Pulls have none, nor has a challenge to somebody who has shown nothing yet: those are in the access log.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar

from registry.access import ANONYMOUS, Action, Actor, Operation
from registry.api.access_log import Entry
from registry.changes import Change
from registry.errors import TooManyRequests, Unauthenticated
from registry.trail import Facts, Sink, describe, render

ITSELF = "registry:retention"
"""Who makes a change that no request asked for."""

_AGAIN = 3600.0  # seconds: credentials on each request are one login for so long
_MOST = 4096  # logins remembered
_LONGEST = 200  # characters of what a client says of itself, or of a reason
_WRITES = (Action.PUSH, Action.DELETE, Action.LOGIN)

_asking: ContextVar[Entry | None] = ContextVar("asking", default=None)


class Audit:
    """A Listener and a Witness. `why` is the rule that allows an operation.

    `knows` says whether a name is an account's: of a login that failed, no other is written, since it may be
    a password that was typed in the wrong place.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        why: Callable[[Actor, Operation], str],
        knows: Callable[[str], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sink, self._why, self._knows, self._clock = sink, why, knows, clock
        self._logins: dict[tuple[str, str], float] = {}

    def notify(self, change: Change) -> None:
        found = describe(change)
        if found is None:
            return
        audit, action, facts = found
        entry = _asking.get()
        if entry is None:
            self._sink(render(audit, "done", ITSELF, facts, self._clock()))
        else:
            self._login(entry)
            rule = self._why(entry.actor or ANONYMOUS, Operation(action, change.repository))
            self._write(audit, "done", entry, {**facts, "rule": rule})

    def begin(self, entry: Entry) -> None:
        _asking.set(entry)

    def end(self, entry: Entry) -> None:
        _asking.set(None)
        self._login(entry)
        if entry.status in (401, 403, 429):
            self._refused(entry)
        elif entry.status >= 500 and entry.operation and entry.operation.action in _WRITES:
            facts: Facts = {**_about(entry), "status": entry.status}
            self._write(entry.operation.action.value, "failed", entry, facts)

    def _login(self, entry: Entry) -> None:
        if self._is_login(entry):
            self._write("login", "done", entry, {"rule": "the credentials are right"})

    def _is_login(self, entry: Entry) -> bool:
        """One with a token of ours had its login when it got that."""
        actor, operation = entry.actor, entry.operation
        if actor is None or not actor.name or actor.limit is not None:
            return False
        now, key = self._clock(), (actor.name, entry.remote)
        known = now < self._logins.get(key, 0.0)
        if not known:
            if len(self._logins) >= _MOST:
                self._logins.clear()
            self._logins[key] = now + _AGAIN
        if operation and operation.action is Action.LOGIN:
            return entry.status == 200
        return not known

    def _refused(self, entry: Entry) -> None:
        fact = entry.fact
        account = fact.account if isinstance(fact, Unauthenticated | TooManyRequests) else ""
        at_login = entry.operation is not None and entry.operation.action is Action.LOGIN
        if entry.status == 401 and not (entry.shows_credentials or account or at_login):
            return
        facts: Facts = {**_about(entry), "status": entry.status, "rule": str(fact or "")[:_LONGEST]}
        who = account if account and self._knows(account) else ""
        self._write("login" if account or at_login else "refused", "refused", entry, facts, who)

    def _write(self, audit: str, outcome: str, entry: Entry, facts: Facts, who: str = "") -> None:
        actor = entry.actor or ANONYMOUS
        asked: Facts = {"id": entry.id, "remote": entry.remote, "agent": entry.agent[:_LONGEST]}
        self._sink(render(audit, outcome, who or actor.name, {**facts, **asked}, self._clock()))


def _about(entry: Entry) -> Facts:
    """What a request that came to nothing was for, as far as its path was read."""
    operation, parameters = entry.operation, entry.parameters
    if operation is None:
        return {}
    return {
        "action": operation.action.value,
        "repository": operation.repository or "",
        "reference": str(parameters.get("reference", "")),
        "digest": str(parameters.get("digest", "")),
    }
