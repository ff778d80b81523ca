"""Passwords checked against bcrypt hashes: seldom, off the event loop, and as long for nobody as for a user.

A check takes 50 ms of a core at cost 10, by design: so it has to be rare, and no one may ask for many.
"""

import asyncio
import hashlib
import hmac
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from registry.auth.failures import Failures
from registry.auth.htpasswd import User
from registry.auth.turns import Turns
from registry.errors import TooManyRequests
from registry.networks import network_of
from storage.threads import Pool

COST = 10
"""Of new hashes: bcrypt makes 2 to this power rounds."""

LONGEST = 72
"""Bytes of a password: bcrypt takes no more into account."""

_AT_ONCE = 2  # checks that run; bcrypt lets go of the interpreter meanwhile
# Checks that run or wait, of one address and of all; and of those addresses that have failed lately.
_OF_ONE, _OF_ALL = 16, 256
_OF_FAILED, _OF_ALL_FAILED = 4, 64  # 64 take 2 s at cost 10
_GOOD_FOR, _BAD_FOR = 300.0, 60.0  # seconds
_MOST = 4096  # passwords remembered, of either sort
_FAILURES_OF_USER = 10  # in a minute, from one address
_FAILURES_OF_ADDRESS = 60


class Users(Protocol):
    @property
    def users(self) -> Mapping[str, User]:
        """The same object until the file changes."""


class Passwords:
    """`key` is one that all processes share: each takes the same time for a name that is no user's.

    Limits count in each process.
    """

    def __init__(self, users: Users, key: bytes, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._users, self._key, self._clock = users, key, clock
        self._threads, self._turns = Pool(_AT_ONCE, thread_name_prefix="bcrypt"), Turns(_AT_ONCE)
        self._secret = os.urandom(32)
        self._good: dict[bytes, float] = {}
        # A client with an old password tries it again and again: that is no guess, and counts once a minute.
        self._bad: dict[bytes, float] = {}
        self._running: dict[bytes, asyncio.Task[bool]] = {}
        self._busy: Counter[str] = Counter()
        self._of_user = Failures(_FAILURES_OF_USER, clock=clock)
        self._of_address = Failures(_FAILURES_OF_ADDRESS, clock=clock)
        self._counted: Mapping[str, User] | None = None
        self._costs: list[int] = []

    async def check(self, user: str, password: str, address: str) -> User | None:
        """The user whose password it is, as it was checked; None if it is nobody's. Raises TooManyRequests.

        What was right lately is right at once, while the file has the same hash. Requests that ask the same
        at the same time share one check: a fleet of machines that log in need not wait for each other.
        """
        users = self._users.users
        found = users.get(user)
        digest = self._digest(user, found, password)
        if self._clock() < self._good.get(digest, 0.0):
            return found
        if self._clock() < self._bad.get(digest, 0.0):
            return None
        network = network_of(address)
        pair = self._pair(user, network)
        if wait := max(self._of_user.wait(pair), self._of_address.wait(network)):
            raise TooManyRequests(
                "too many logins from this address have failed", retry_after=wait, account=user
            )
        task = self._running.get(digest)
        if task is None:
            # Addresses that have failed, or ask for many at once, let others go first: who guesses holds up
            # nobody else.
            failed = self._of_address.count(network)
            mine, all_at_once = (_OF_FAILED, _OF_ALL_FAILED) if failed else (_OF_ONE, _OF_ALL)
            if self._busy[network] >= mine or len(self._running) >= all_at_once:
                raise TooManyRequests("too many logins at once", retry_after=1, account=user)
            hashed = found.hash if found else self._decoy(users, user)
            turn = self._turns.turn(failed + self._busy[network])
            task = asyncio.create_task(self._verify(turn, hashed, password, real=found is not None))
            self._running[digest] = task
            self._busy[network] += 1
            task.add_done_callback(lambda task: self._end(task, digest, pair, network))
        # Who goes away must not end it for the others.
        return found if await asyncio.shield(task) else None

    def close(self) -> None:
        self._threads.shutdown()

    async def _verify(
        self, turn: AbstractAsyncContextManager[None], hashed: bytes, password: str, *, real: bool
    ) -> bool:
        text = password.encode()
        fits = len(text) <= LONGEST and b"\0" not in text
        loop = asyncio.get_running_loop()
        async with turn:
            same = await loop.run_in_executor(self._threads, _compare, text if fits else b"", hashed)
        return same and fits and real

    def _end(self, task: asyncio.Task[bool], digest: bytes, pair: bytes, network: str) -> None:
        del self._running[digest]
        self._busy[network] -= 1
        if not self._busy[network]:
            del self._busy[network]
        if task.cancelled() or task.exception():
            return
        if task.result():
            self._remember(self._good, digest, _GOOD_FOR)
            return
        self._remember(self._bad, digest, _BAD_FOR)
        self._of_user.add(pair)
        self._of_address.add(network)

    def _remember(self, which: dict[bytes, float], digest: bytes, span: float) -> None:
        while len(which) >= _MOST:
            del which[next(iter(which))]
        which[digest] = self._clock() + span

    def _digest(self, user: str, found: User | None, password: str) -> bytes:
        """Under a key of this process, so that no memory of it can be tried against a list of passwords."""
        parts = (user.encode(), found.hash if found else b"", password.encode())
        text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hashlib.blake2b(text, digest_size=32, key=self._secret).digest()

    def _pair(self, user: str, network: str) -> bytes:
        """Short, however long the name is."""
        text = f"{network}\n{user}".encode()
        return hashlib.blake2b(text, digest_size=16, key=self._secret).digest()

    def _decoy(self, users: Mapping[str, User], name: str) -> bytes:
        """A hash for a name that has none, of a cost as a user's has it.

        Where costs differ, each is as frequent among names as it is among users, and a name keeps its own.
        """
        if users is not self._counted:
            self._counted, self._costs = users, sorted(user.cost for user in users.values()) or [COST]
        number = int.from_bytes(hmac.digest(self._key, name.encode(), "sha256")[:8], "big")
        return b"$2b$%02d$" % self._costs[number % len(self._costs)] + b"." * 53


def new_hash(password: str) -> bytes:
    """Raises ValueError for a password that no login could show."""
    text = password.encode()
    if not text or len(text) > LONGEST or not password.isprintable():
        raise ValueError(f"a password has 1 to {LONGEST} bytes, and no control characters")
    import bcrypt

    return bcrypt.hashpw(text, bcrypt.gensalt(COST))


def _compare(password: bytes, hashed: bytes) -> bool:
    # Imported late: a server without users needs none of it.
    import bcrypt

    return bcrypt.checkpw(password, hashed)
