"""Passwords: right or wrong, how often they are hashed, how often they may be wrong, and for how long."""

import asyncio
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import bcrypt
import pytest

from registry.auth import passwords as module
from registry.auth.htpasswd import User
from registry.auth.passwords import COST, Passwords, new_hash
from registry.errors import TooManyRequests
from tests.auth.hands import Hand

KEY = b"k" * 32
HERE, THERE = "192.0.2.1", "198.51.100.1"
CHEAP = 4


@cache
def hashed(password: str, cost: int = CHEAP) -> bytes:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost))


@dataclass
class Book:
    users: Mapping[str, User] = field(default_factory=dict)

    def put(self, **hashes: bytes) -> None:
        self.users = {name: User(name, found) for name, found in {**self._hashes(), **hashes}.items()}

    def _hashes(self) -> dict[str, bytes]:
        return {name: user.hash for name, user in self.users.items()}


@dataclass
class Comparisons:
    """Notes each, makes it wait for `go`, and counts how many there are at once."""

    go: threading.Event = field(default_factory=threading.Event)
    made: list[tuple[bytes, bytes]] = field(default_factory=list)
    running: int = 0
    most: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, password: bytes, against: bytes) -> bool:
        with self._lock:
            self.made.append((password, against))
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(10)
        with self._lock:
            self.running -= 1
        return bcrypt.checkpw(password, against)


@pytest.fixture
def book() -> Book:
    book = Book()
    book.put(alice=hashed("secret"), bob=hashed("other"))
    return book


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def passwords(book: Book, hand: Hand) -> Iterator[Passwords]:
    passwords = Passwords(book, KEY, clock=hand)
    yield passwords
    passwords.close()


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Comparisons:
    comparisons = Comparisons()
    comparisons.go.set()
    monkeypatch.setattr(module, "_compare", comparisons)
    return comparisons


@pytest.mark.parametrize(
    ("user", "password", "right"),
    [
        ("alice", "secret", True),
        ("alice", "Secret", False),
        ("alice", "other", False),
        ("bob", "other", True),
        ("carol", "secret", False),
        ("alice", "", False),
        ("", "", False),
    ],
)
async def test_right_and_wrong(passwords: Passwords, user: str, password: str, right: bool) -> None:
    for _ in range(2):
        assert (await passwords.check(user, password, HERE) is not None) is right


@pytest.mark.parametrize("prefix", [b"$2a$", b"$2b$", b"$2y$"])
async def test_every_kind_of_bcrypt(passwords: Passwords, book: Book, prefix: bytes) -> None:
    book.put(alice=prefix + hashed("secret")[4:])
    assert await passwords.check("alice", "secret", HERE)
    assert not await passwords.check("alice", "secreT", HERE)


@pytest.mark.parametrize("more", ["x", "\0", "é"])
async def test_what_bcrypt_does_not_tell_apart_is_wrong(
    passwords: Passwords, book: Book, compared: Comparisons, more: str
) -> None:
    """After the same time: one comparison."""
    longest = "p" * (72 if more != "\0" else 5)
    book.put(alice=hashed(longest))
    assert not await passwords.check("alice", longest + more, HERE)
    assert len(compared.made) == 1
    assert await passwords.check("alice", longest, HERE)


async def test_an_empty_password_does_not_stand_in_for_one_too_long(passwords: Passwords, book: Book) -> None:
    book.put(alice=hashed(""))
    assert not await passwords.check("alice", "x" * 73, HERE)


async def test_what_was_right_is_remembered_for_five_minutes(
    passwords: Passwords, compared: Comparisons, hand: Hand
) -> None:
    for at, made in ((0.0, 1), (299.0, 1), (300.0, 2), (301.0, 2)):
        hand.now = 1000 + at
        assert await passwords.check("alice", "secret", HERE)
        assert len(compared.made) == made


async def test_a_changed_file_counts_at_once(passwords: Passwords, book: Book) -> None:
    assert await passwords.check("alice", "secret", HERE)
    book.put(alice=hashed("new"))
    assert not await passwords.check("alice", "secret", HERE)
    assert await passwords.check("alice", "new", HERE)
    book.users = {}
    assert not await passwords.check("alice", "new", HERE)


async def test_no_more_are_remembered_than_there_is_room_for(
    passwords: Passwords, book: Book, compared: Comparisons, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    book.put(carol=hashed("third"))
    for user, password in (("alice", "secret"), ("bob", "other"), ("carol", "third")):
        assert await passwords.check(user, password, HERE)
    assert len(passwords._good) == 2
    assert await passwords.check("carol", "third", HERE)
    assert len(compared.made) == 3


async def fail(passwords: Passwords, count: int, user: str = "alice", address: str = HERE) -> None:
    for number in range(count):
        assert not await passwords.check(user, f"wrong {number}", address)


@pytest.mark.parametrize("user", ["alice", "nobody"])
async def test_one_wrong_password_is_one_failure_a_minute(
    passwords: Passwords, compared: Comparisons, hand: Hand, user: str
) -> None:
    """A client that was left with an old one shuts out nobody beside it."""
    for _ in range(30):
        assert not await passwords.check(user, "old", HERE)
    assert len(compared.made) == 1
    assert await passwords.check("alice", "secret", HERE)
    hand.now += 60
    assert not await passwords.check(user, "old", HERE)
    assert len(compared.made) == 3


async def test_a_wrong_password_may_become_the_right_one(passwords: Passwords, book: Book) -> None:
    assert not await passwords.check("alice", "new", HERE)
    assert not await passwords.check("carol", "new", HERE)
    book.put(alice=hashed("new"), carol=hashed("new"))
    assert await passwords.check("alice", "new", HERE)
    assert await passwords.check("carol", "new", HERE)


@pytest.mark.parametrize("user", ["alice", "nobody"])
async def test_ten_failures_of_one_user_from_one_address(passwords: Passwords, hand: Hand, user: str) -> None:
    await fail(passwords, 10, user)
    hand.now += 12.5
    with pytest.raises(TooManyRequests, match="too many logins from this address have failed") as caught:
        await passwords.check(user, "wrong", HERE)
    assert caught.value.retry_after == 48
    assert await passwords.check("alice", "secret", THERE)
    assert await passwords.check("bob", "other", HERE)
    hand.now += 47.5
    assert not await passwords.check(user, "wrong", HERE)


async def test_a_good_password_is_refused_too_unless_it_was_good_before(passwords: Passwords) -> None:
    assert await passwords.check("bob", "other", HERE)
    for user in ("alice", "bob"):
        await fail(passwords, 10, user)
    with pytest.raises(TooManyRequests):
        await passwords.check("alice", "secret", HERE)
    assert await passwords.check("bob", "other", HERE)


async def test_sixty_failures_from_one_address(passwords: Passwords, compared: Comparisons) -> None:
    for number in range(60):
        await fail(passwords, 1, f"user{number}", f"2001:db8::{number:x}")
    for user, password in (("alice", "secret"), ("user60", "wrong")):
        with pytest.raises(TooManyRequests):
            await passwords.check(user, password, "2001:db8::ffff")
    assert len(compared.made) == 60
    assert await passwords.check("alice", "secret", "2001:db8:0:1::1")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_two_at_once_and_some_of_one_address(passwords: Passwords, compared: Comparisons) -> None:
    """Fewer of one that has failed: many may be behind one address, and have their passwords right."""
    compared.go.clear()
    right = [asyncio.create_task(passwords.check("bob", f"{n}", THERE)) for n in range(20)]
    await until(lambda: sum(task.done() for task in right) == 4)
    compared.go.set()
    await asyncio.gather(*right, return_exceptions=True)
    await fail(passwords, 1)
    compared.go.clear()
    bad = [asyncio.create_task(passwords.check("alice", f"bad {n}", HERE)) for n in range(20)]
    await until(lambda: sum(task.done() for task in bad) == 16)
    good = asyncio.create_task(passwords.check("alice", "secret", THERE))
    await until(lambda: compared.running == 2)
    assert not good.done()
    compared.go.set()
    assert await good
    outcomes = Counter(map(type, await asyncio.gather(*bad, return_exceptions=True)))
    assert outcomes == {TooManyRequests: 16, type(None): 4}
    assert compared.most == 2
    assert (dict(passwords._busy), passwords._running) == ({}, {})
    assert not await passwords.check("alice", "wrong", HERE)  # there is room again


async def test_who_has_not_failed_goes_first(passwords: Passwords, compared: Comparisons) -> None:
    await fail(passwords, 1)
    compared.go.clear()
    compared.made.clear()
    bad = [asyncio.create_task(passwords.check("alice", f"bad {n}", HERE)) for n in range(4)]
    await until(lambda: compared.running == 2)
    good = asyncio.create_task(passwords.check("bob", "other", THERE))
    await asyncio.sleep(0)
    compared.go.set()
    assert await good
    assert not any(await asyncio.gather(*bad))
    assert b"other" in [password for password, _ in compared.made[2:4]]


async def test_a_bound_for_all_addresses(passwords: Passwords, compared: Comparisons) -> None:
    for number in range(70):
        await fail(passwords, 1, f"nobody{number}", f"192.0.2.{number}")
    compared.go.clear()
    bad = [asyncio.create_task(passwords.check("alice", "wrong" * n, f"192.0.2.{n}")) for n in range(70)]
    await until(lambda: sum(task.done() for task in bad) == 6)
    good = asyncio.create_task(passwords.check("bob", "other", THERE))  # has not failed, and goes first
    await asyncio.sleep(0)
    compared.go.set()
    assert await good
    assert len(compared.made) < 70 + 8
    outcomes = await asyncio.gather(*bad, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, TooManyRequests)]
    assert [(str(each), each.retry_after) for each in refused] == [
        ("too many logins at once: try again in 1 s", 1)
    ] * 6


async def test_who_asks_the_same_shares_a_check(passwords: Passwords, compared: Comparisons) -> None:
    """And it goes on for the others when the first goes away."""
    compared.go.clear()
    fleet = [asyncio.create_task(passwords.check("alice", "secret", HERE)) for _ in range(50)]
    await until(lambda: compared.running == 1)
    fleet[0].cancel()
    await asyncio.sleep(0)
    compared.go.set()
    assert all(await asyncio.gather(*fleet[1:]))
    assert len(compared.made) == 1


async def test_a_thread_that_cannot_be_started_is_no_failed_login(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(module, "_compare", refuse)
        for number in range(12):
            with pytest.raises(MemoryError):
                await passwords.check("alice", f"{number}", HERE)
    assert not await passwords.check("alice", "wrong", HERE)


def cost(compared: Comparisons) -> int:
    return int(compared.made[-1][1][4:6])


async def test_a_name_without_a_user_costs_what_users_do(
    passwords: Passwords, book: Book, compared: Comparisons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Always the same for a name, in every process; each cost as often as it is among users."""
    monkeypatch.setattr(module, "_FAILURES_OF_ADDRESS", 1000)
    book.users = {f"user{n}": User(f"user{n}", hashed("x", 4 if n % 4 else 5)) for n in range(8)}
    others = Passwords(book, KEY)
    found = Counter[int]()
    for number in range(200):
        await passwords.check(f"nobody{number}", "x", f"10.0.0.{number}")
        found[cost(compared)] += 1
        first = cost(compared)
        await others.check(f"nobody{number}", "y", f"10.0.0.{number}")
        assert cost(compared) == first
    others.close()
    assert set(found) == {4, 5}
    assert 25 <= found[5] <= 75  # 50 are expected; it is the same in every run


async def test_without_users_it_takes_as_long_as_for_new_ones(
    passwords: Passwords, book: Book, compared: Comparisons
) -> None:
    book.users = {}
    assert not await passwords.check("alice", "secret", HERE)
    assert cost(compared) == COST


async def test_names_cannot_be_told_apart_by_time() -> None:
    """Medians of 40 in turn, at cost 8, within 5 %; a machine that is busy may have three tries."""
    book = Book()
    book.put(alice=hashed("secret", 8))
    passwords = Passwords(book, KEY)
    await passwords.check("alice", "secret", HERE)  # imports, threads
    differences = []
    for turn in range(3):
        took: dict[str, list[float]] = {"alice": [], "nobody": []}
        for number in range(40):
            for user, times in took.items():
                start = time.perf_counter()
                assert not await passwords.check(user, f"wrong {number}", f"10.{turn}.{number}.1")
                times.append(time.perf_counter() - start)
        known, unknown = (statistics.median(times) for times in took.values())
        differences.append(abs(known - unknown) / known)
        if differences[-1] <= 0.05:
            break
    passwords.close()
    assert differences[-1] <= 0.05, differences


async def test_two_hundred_bad_logins_keep_no_good_one_waiting() -> None:
    """Of another address, and never seen before: each of its names is new, and has to be hashed."""
    book = Book()
    secret = hashed("secret", 8)
    book.put(**{f"user{number}": secret for number in range(20)})
    passwords = Passwords(book, KEY)
    stop = asyncio.Event()
    ended = Counter[str]()

    async def attack(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                await passwords.check(f"user{number % 30}", f"wrong {number} {turn}", HERE)
                ended["wrong"] += 1
            except TooManyRequests:
                ended["refused"] += 1
                await asyncio.sleep(0.05)

    attackers = [asyncio.create_task(attack(number)) for number in range(200)]
    await asyncio.sleep(0.05)
    waited, unqueued = [], []
    for number in range(20):
        start = time.perf_counter()
        await asyncio.to_thread(bcrypt.checkpw, b"secret", secret)
        unqueued.append(time.perf_counter() - start)
        start = time.perf_counter()
        assert await passwords.check(f"user{number}", "secret", THERE)
        waited.append(time.perf_counter() - start)
    stop.set()
    await asyncio.gather(*attackers)
    passwords.close()
    # Behind all the others it would be a hundred times as long as without a queue.
    assert max(waited) < max(0.5, 5 * max(unqueued)), (waited, unqueued)
    assert ended["wrong"] <= 60 + 4
    assert ended["refused"] > 100


def test_new_hashes() -> None:
    found = new_hash("pässword")
    assert found.startswith(b"$2b$10$")
    assert bcrypt.checkpw("pässword".encode(), found)


@pytest.mark.parametrize("password", ["", "x" * 73, "é" * 37, "a\0b", "a\nb", "a\x7f"])
def test_passwords_that_are_none(password: str) -> None:
    with pytest.raises(ValueError, match="a password has 1 to 72 bytes, and no control characters"):
        new_hash(password)
