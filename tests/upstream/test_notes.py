"""What an upstream's observer is told, request by request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from registry.names import Tag
from registry.upstream.breaker import Breaker
from registry.upstream.client import UpstreamClient
from registry.upstream.errors import (
    UpstreamAstray,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamForged,
    UpstreamMissing,
)
from tests.auth.hands import Hand
from tests.upstream.clients import ACCEPT, APP, made, taken
from tests.upstream.conftest import PASSWORD, USER, Content
from tests.upstream.proxy import Fault, Rule, proxying

NAME = "up.example"


@dataclass(slots=True)
class Told:
    """Everything, in order: words, and for a failure its class and the rest."""

    words: list[str] = field(default_factory=list)
    bytes: int = 0

    def asked(self) -> None:
        self.words.append("asked")

    def received(self, count: int) -> None:
        self.bytes += count

    def answered(self) -> None:
        self.words.append("answered")

    def failed(self, error: UpstreamError, rest: float) -> None:
        self.words.append(f"{type(error).__name__} {rest:g}")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UpstreamMissing(NAME, "404"), ["asked", "answered"]),
        (UpstreamDenied(NAME, "401"), ["asked", "answered", "UpstreamDenied 0"]),
        (UpstreamAstray(NAME, "realm"), ["asked", "answered", "UpstreamAstray 0"]),
        (UpstreamBusy(NAME, "429", 7), ["asked", "UpstreamBusy 7"]),
        (UpstreamFailed(NAME, "500"), ["asked", "UpstreamFailed 0"]),
        (UpstreamFailed(NAME, "503", 9), ["asked", "UpstreamFailed 9"]),
        (RuntimeError(), ["asked"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_came_of_one_request(error: Exception, words: list[str]) -> None:
    told = Told()
    breaker = Breaker(NAME, Hand(), told)
    with pytest.raises(type(error)), breaker.attempt():
        raise error
    assert told.words == words


def test_while_it_is_left_alone_nothing_is_asked() -> None:
    told = Told()
    breaker = Breaker(NAME, Hand(), told)
    for _ in range(7):
        with pytest.raises(UpstreamFailed), breaker.attempt():
            raise UpstreamFailed(NAME, "500")
    assert told.words == [*["asked", "UpstreamFailed 0"] * 4, "asked", "UpstreamFailed 5"]


Ask = Callable[[UpstreamClient, Content], Awaitable[object]]


async def manifest(client: UpstreamClient, _: Content) -> object:
    return await client.manifest(APP, Tag("v1"), ACCEPT)


async def layer(client: UpstreamClient, content: Content) -> object:
    return await taken(client, content.layer_digest)


@pytest.mark.parametrize(
    ("ask", "fault", "words"),
    [
        (manifest, None, ["asked", "answered"]),
        (layer, None, ["asked", "answered"]),
        (manifest, Fault(flip=9), ["asked", "answered", "UpstreamForged 0"]),
        (layer, Fault(cut=100_000), ["asked", "UpstreamFailed 0"]),
    ],
)
async def test_bodies(content: Content, ask: Ask, fault: Fault | None, words: list[str]) -> None:
    told = Told()
    async with proxying(content.server.host) as proxy:
        proxy.rules += [Rule(fault, path="/(manifests|blobs)/.*")] if fault else []
        client = UpstreamClient(made(proxy.url, username=USER, password=PASSWORD), notes=told)
        try:
            await ask(client, content)
        except (UpstreamForged, UpstreamFailed):
            assert fault
        finally:
            await client.close()
    assert told.words == words
    whole = len(content.layer if ask is layer else content.manifest)
    assert told.bytes == (100_000 if fault and fault.cut else whole)
