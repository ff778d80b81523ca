"""Where keys come from: how often they are fetched, how long they are used, what discovery may lead to."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from registry.auth.fetching import LARGEST, Fetched, FetchFailed
from registry.auth.issuer_settings import Issuer
from registry.auth.jwks import FetchedKeys, FileKeys, load, source_of
from registry.auth.public_keys import KeysUnavailable
from tests.auth.issuing import AUDIENCE, Page, Site, key_for, key_set, published, serving

DAY = 86_400
ONE, TWO = published(key_for("ES256"), "one"), published(key_for("ES256", 1), "two")
ISSUER = Issuer("ci", "https://ci.example", AUDIENCE)


FIRST = Fetched(key_set(ONE), 600)


@dataclass(slots=True)
class World:
    """A clock, and what the issuer would answer to a fetch."""

    now: float = 1000.0
    fetches: int = 0
    answer: Fetched | Exception = FIRST

    def clock(self) -> float:
        return self.now

    def load(self, issuer: Issuer) -> Fetched:
        self.fetches += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def source(self) -> FetchedKeys:
        return FetchedKeys(ISSUER, self.load, self.clock)


DOWN = FetchFailed("it is down")


async def kids(source: FetchedKeys | FileKeys, kid: str | None = "one") -> list[str | None]:
    return [key.kid for key in await source.keys(kid)]


@pytest.mark.parametrize(
    ("age", "fresh"), [(None, 3600), (0, 300), (5, 300), (300, 300), (600, 600), (DAY, DAY), (10 * DAY, DAY)]
)
async def test_how_long_keys_are_fresh(age: int | None, fresh: int) -> None:
    world = World(answer=Fetched(key_set(ONE), age))
    source = world.source()
    for after, fetches in ((0, 1), (fresh - 1, 1), (fresh, 2)):
        world.now = 1000.0 + after
        assert await kids(source) == ["one"]
        assert world.fetches == fetches


async def test_an_unknown_kid_fetches_once_a_minute() -> None:
    world = World()
    source = world.source()
    for number in range(50):
        assert await kids(source, f"made up {number}") == ["one"]
    assert world.fetches == 1
    world.now += 59
    await kids(source, "made up")
    assert world.fetches == 1
    world.answer = Fetched(key_set(ONE, TWO), 600)
    world.now += 1
    assert await kids(source, "two") == ["one", "two"]
    assert world.fetches == 2
    await kids(source, "two")
    await kids(source, None)
    assert world.fetches == 2


async def test_a_key_that_is_withdrawn() -> None:
    world = World()
    source = world.source()
    await kids(source)
    world.answer = Fetched(key_set(TWO), 600)
    world.now += 600
    assert await kids(source) == ["two"]


@pytest.mark.parametrize("failure", [DOWN, Fetched(b"<html>"), Fetched(key_set()), MemoryError(), OSError()])
async def test_while_the_issuer_is_down_the_keys_are_used_for_a_day(failure: Fetched | Exception) -> None:
    world = World()
    source = world.source()
    await kids(source)
    world.answer = failure
    world.now += 600
    for _ in range(10):
        assert await kids(source) == ["one"]
    assert world.fetches == 2  # and the next a minute later
    world.now += 60
    assert await kids(source) == ["one"]  # and nobody waits for what the issuer says now
    assert source._fetching
    await source._fetching
    assert world.fetches == 3
    world.now = 1000.0 + 600 + DAY
    assert await kids(source) == ["one"]
    world.now += 61
    with pytest.raises(KeysUnavailable):
        await source.keys("one")
    await source._fetching
    world.answer = Fetched(key_set(ONE))
    world.now += 61
    assert await kids(source) == ["one"]


async def test_before_there_are_keys_it_is_tried_sooner(caplog: pytest.LogCaptureFixture) -> None:
    world = World(answer=DOWN)
    source = world.source()
    for after, fetches in ((0, 1), (9, 1), (10, 2), (19, 2), (20, 3)):
        world.now = 1000.0 + after
        with pytest.raises(KeysUnavailable, match="it is down"):
            await source.keys("one")
        assert world.fetches == fetches
    assert caplog.messages == ["the keys of issuer ci could not be fetched: it is down"] * 3
    world.answer = Fetched(key_set(ONE))
    world.now += 10
    assert await kids(source) == ["one"]


async def test_an_issuer_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.auth.jwks._SECONDS", 0.05)
    with serving() as site:
        site.publish(ONE)
        site.ready.clear()
        source = FetchedKeys(replace(ISSUER, issuer=site.url))
        with pytest.raises(KeysUnavailable, match="no answer"):
            await source.keys("one")


async def test_those_who_ask_at_once_share_a_fetch() -> None:
    with serving() as site:
        site.publish(ONE)
        site.ready.clear()
        source = FetchedKeys(replace(ISSUER, issuer=site.url))
        asking = [asyncio.create_task(kids(source)) for _ in range(20)]
        while not site.asked:
            await asyncio.sleep(0.001)
        asking[0].cancel()  # who asked first leaves
        site.ready.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:] == [["one"]] * 19
        assert dict(site.asked) == {"/.well-known/openid-configuration": 1, "/keys": 1}


async def test_keys_by_an_address_need_no_discovery() -> None:
    with serving() as site:
        site.publish(ONE, Cache_Control="max-age=900")
        issuer = replace(ISSUER, issuer="ci", jwks=f"{site.url}/keys")
        assert await kids(FetchedKeys(issuer)) == ["one"]
        assert load(issuer).max_age == 900
        assert set(site.asked) == {"/keys"}


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        site.publish(ONE)
        yield site


def test_discovery_at_a_path(site: Site) -> None:
    for issuer in (f"{site.url}/realms/acme", f"{site.url}/realms/acme/"):
        about = {"issuer": issuer, "jwks_uri": f"{site.url}/keys"}
        site.pages["/realms/acme/.well-known/openid-configuration"] = Page(json.dumps(about).encode())
        assert load(replace(ISSUER, issuer=issuer)).body == key_set(ONE)


def test_the_keys_may_be_at_another_host(site: Site) -> None:
    with serving() as other:
        other.publish(TWO)
        about = {"issuer": site.url, "jwks_uri": f"{other.url}/keys"}
        site.pages["/.well-known/openid-configuration"] = Page(json.dumps(about).encode())
        assert load(replace(ISSUER, issuer=site.url)).body == key_set(TWO)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"issuer": ["x"]}, "another issuer"),
        ({"jwks_uri": None}, "no jwks_uri"),
        ({"jwks_uri": "http://keys.example"}, "no jwks_uri"),
        ({"jwks_uri": "http://169.254.169.254/latest/meta-data"}, "no jwks_uri"),
        ({"jwks_uri": "file:///etc/passwd"}, "no jwks_uri"),
        ({"jwks_uri": ["https://a.example"]}, "no jwks_uri"),
    ],
)
def test_discovery_that_is_not_believed(site: Site, change: dict[str, object], why: str) -> None:
    about = {"issuer": site.url, "jwks_uri": f"{site.url}/keys"} | change
    site.pages["/.well-known/openid-configuration"] = Page(json.dumps(about).encode())
    with pytest.raises(FetchFailed, match=why):
        load(replace(ISSUER, issuer=site.url))
    assert site.asked["/keys"] == 0


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"issuer": 1, "issuer": 2}'])
def test_discovery_that_cannot_be_read(site: Site, body: bytes) -> None:
    site.pages["/.well-known/openid-configuration"] = Page(body)
    with pytest.raises(FetchFailed, match=r"cannot be read|another issuer"):
        load(replace(ISSUER, issuer=site.url))


def test_no_issuer_elsewhere_leads_to_this_machine(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"issuer": ISSUER.issuer, "jwks_uri": f"{site.url}/keys"}
    monkeypatch.setattr("registry.auth.jwks.fetch", lambda url: Fetched(json.dumps(about).encode()))
    with pytest.raises(FetchFailed, match="this machine itself"):
        load(ISSUER)


def replaced(file: Path, body: bytes) -> None:
    new = file.with_suffix(".new")
    new.write_bytes(body)
    os.replace(new, file)


SPOILS: list[Callable[[Path], object]] = [
    lambda file: file.write_bytes(b'{"keys": ['),
    lambda file: file.write_bytes(b" " * (LARGEST + 1)),
    lambda file: file.unlink(),
]


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_file(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    file, world = tmp_path / "keys.json", World()
    source = FileKeys(replace(ISSUER, jwks=str(file)), world.clock)
    with pytest.raises(KeysUnavailable, match="No such file"):
        await source.keys("one")
    file.write_bytes(key_set(ONE))
    assert await kids(source) == ["one"]
    replaced(file, key_set(TWO))
    assert await kids(source) == ["two"]
    world.now += 10 * DAY
    assert await kids(source) == ["two"]
    spoil(file)
    assert await kids(source) == ["two"]
    world.now += DAY + 1
    with pytest.raises(KeysUnavailable):
        await source.keys("two")
    replaced(file, key_set(ONE))
    assert await kids(source) == ["one"]


async def test_a_file_is_read_only_when_it_is_another(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(ONE))
    source = FileKeys(replace(ISSUER, jwks=str(file)))
    first = await source.keys("one")
    assert await source.keys("unknown") is first


def test_which_source() -> None:
    assert isinstance(source_of(ISSUER), FetchedKeys)
    assert isinstance(source_of(replace(ISSUER, jwks="https://ci.example/keys")), FetchedKeys)
    assert isinstance(source_of(replace(ISSUER, jwks="/etc/registry/keys.json")), FileKeys)
