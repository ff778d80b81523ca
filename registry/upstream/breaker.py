"""When an upstream is left alone: it failed again and again, or asked for patience."""

import email.utils
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from registry.upstream.errors import UpstreamBusy, UpstreamError, UpstreamFailed, UpstreamMissing
from registry.upstream.notes import Notes, Unnoted

_FAILURES = 5  # in turn, until it is left alone
_FIRST, _LAST = 5.0, 60.0  # seconds of that: doubled for each probe that fails
_SHORTEST, _LONGEST = 1.0, 300.0  # seconds that are believed of a Retry-After
_USUAL = 10.0  # seconds for a 429 that says nothing


def read_retry_after(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Seconds (RFC 9110, section 10.2.3), at most those that are believed; None for what cannot be read."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _LONGEST)
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(then - now(), 0.0), _LONGEST)


class Breaker:
    """Of one upstream. While it is open nothing is asked; then one request tries, and decides for all."""

    def __init__(
        self, name: str, clock: Callable[[], float] = time.monotonic, notes: Notes | None = None
    ) -> None:
        self._name, self._clock, self._notes = name, clock, notes or Unnoted()
        self._failures = 0
        self._pause = _FIRST
        self._until: float | None = None  # open, or being tried; None: closed
        self._busy = self._probing = False
        self._counted: UpstreamFailed | None = None

    def is_open(self) -> bool:
        """Whether it is left alone, or being tried."""
        return self._until is not None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One request. Raises UpstreamBusy or UpstreamFailed at once while the upstream is left alone.

        Whatever else the block raises says nothing of the upstream's health, but that it answers; a request
        that is cancelled says nothing at all.
        """
        probe = self._enter()
        self._notes.asked()
        try:
            yield
        except UpstreamBusy as error:
            self._rest(error.retry_after, busy=True)
            self._notes.failed(error, self._left())
            raise
        except UpstreamFailed as error:
            self.fail(error, probe=probe)
            raise
        except UpstreamMissing:
            self.succeed(probe=probe)
            raise
        except UpstreamError as error:
            self.succeed(probe=probe)
            self._notes.failed(error, 0.0)
            raise
        else:
            if probe:  # else the body has still to come
                self.succeed(probe=True)
        finally:
            if probe:
                self._probing = False

    def fail(self, error: UpstreamFailed, *, probe: bool = False) -> None:
        """It failed, in an attempt or while a body that it had begun was read."""
        if error is self._counted:
            return  # of a login that many requests shared
        self._counted = error
        self._failures += 1
        if error.retry_after is not None:
            self._rest(error.retry_after, busy=False)
        elif probe:
            self._pause = min(self._pause * 2, _LAST)
            self._rest(self._pause, busy=False)
        elif self._until is None and self._failures >= _FAILURES:
            self._rest(self._pause, busy=False)
        self._notes.failed(error, self._left())

    def _enter(self) -> bool:
        """Whether this attempt is the one that tries."""
        if self._until is None:
            return False
        left = self._left()
        if left <= 0 and not self._probing:
            self._probing = True
            return True
        left = max(left, 1.0)
        if self._busy:
            raise UpstreamBusy(self._name, f"it asked for patience, and is asked again in {left:.0f} s", left)
        raise UpstreamFailed(self._name, f"it failed just now, and is asked again in {left:.0f} s", left)

    def _left(self) -> float:
        """Seconds, 0 if it is asked."""
        return 0.0 if self._until is None else max(self._until - self._clock(), 0.0)

    def _rest(self, seconds: float, *, busy: bool) -> None:
        until = self._clock() + min(max(seconds, _SHORTEST), _LONGEST)
        if self._until is None or until > self._until:
            self._until, self._busy = until, busy

    def succeed(self, *, probe: bool = False) -> None:
        """It answered to the end. Who asked before it was left alone changes nothing of that."""
        self._notes.answered()
        if probe or self._until is None:
            self._failures, self._pause, self._until = 0, _FIRST, None


def busy(name: str, retry_after: str | None) -> UpstreamBusy:
    """The fact of a 429."""
    seconds = read_retry_after(retry_after)
    return UpstreamBusy(name, "it has too many requests (429)", _USUAL if seconds is None else seconds)
