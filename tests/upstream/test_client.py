"""One upstream, asked: a live registry with users and tokens, through a proxy that fails as it is told to."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from registry.descriptors import Descriptor
from registry.names import RepositoryName, Tag
from registry.upstream.client import Fetched, Head, NotModified, UpstreamClient
from registry.upstream.errors import (
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamForged,
    UpstreamMissing,
)
from registry.upstream.transport import BOUNDS, Bounds
from storage.digest import Digest
from tests.auth.hands import Hand
from tests.upstream.clients import ACCEPT, APP, QUICK, connected, taken
from tests.upstream.conftest import IMAGE, PASSWORD, USER, Content
from tests.upstream.proxy import Fault, Rule, proxying

LOGIN: dict[str, Any] = {"username": USER, "password": PASSWORD}
Ask = Callable[[UpstreamClient, Content], Awaitable[object]]


async def manifest(client: UpstreamClient, content: Content) -> object:
    return await client.manifest(APP, Tag("v1"), ACCEPT)


async def pinned(client: UpstreamClient, content: Content) -> object:
    return await client.manifest(APP, content.digest, ACCEPT)


async def head(client: UpstreamClient, content: Content) -> object:
    return await client.head(APP, Tag("v1"), ACCEPT)


async def blob(client: UpstreamClient, content: Content) -> object:
    return await taken(client, content.layer_digest)


async def tail(client: UpstreamClient, content: Content) -> object:
    return await taken(client, content.layer_digest, 1000)


async def tags(client: UpstreamClient, content: Content) -> object:
    return [page async for page in client.tags(APP)]


async def test_everything(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        fetched = await client.manifest(APP, Tag("v1"), ACCEPT)
        assert isinstance(fetched, Fetched)
        assert (fetched.media_type, fetched.raw, fetched.digest) == (IMAGE, content.manifest, content.digest)
        assert await client.manifest(APP, Tag("v1"), ACCEPT, fetched.etag) == NotModified()
        assert await client.head(APP, Tag("v1"), ACCEPT) == Head(IMAGE, content.digest, len(content.manifest))
        assert await pinned(client, content) == fetched
        for offset in (0, 1, 70_000, len(content.layer) - 1, len(content.layer)):
            async with client.blob(APP, content.layer_digest, offset) as stream:
                assert stream.size == len(content.layer)
                assert b"".join([chunk async for chunk in stream.chunks]) == content.layer[offset:]
        assert await tags(client, content) == [("v1", "v2", "v3")]
        assert proxy.count("/token") == 1  # for all of these
        assert proxy.seen[0].fields.get("authorization") is None
        assert proxy.connections == 1


@pytest.mark.parametrize("ask", [manifest, head, blob, tags])
async def test_without_a_login(content: Content, ask: Ask) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url) as client:
        with pytest.raises(UpstreamError) as raised:
            await ask(client, content)
        assert isinstance(raised.value, UpstreamMissing | UpstreamDenied)


async def test_a_wrong_password(content: Content) -> None:
    wrong: dict[str, Any] = {"username": USER, "password": "wrong battery"}
    async with connected(f"http://{content.server.host}", **wrong) as client:
        with pytest.raises(UpstreamDenied, match="refuses the login") as raised:
            await manifest(client, content)
    assert "battery" not in str(raised.value)


async def test_what_is_not_there(content: Content) -> None:
    async with connected(f"http://{content.server.host}", **LOGIN) as client:
        for missing in (Tag("no"), Digest.of(b"no")):
            with pytest.raises(UpstreamMissing):
                await client.manifest(APP, missing, ACCEPT)
            with pytest.raises(UpstreamMissing):
                await client.head(RepositoryName("no/such"), missing, ACCEPT)
        with pytest.raises(UpstreamMissing):
            await taken(client, Digest.of(b"no"))
        with pytest.raises(UpstreamMissing):
            assert [page async for page in client.tags(RepositoryName("no/such"))]
        assert not client.breaker.is_open()


UNTOLD = {"Content-Length": "", "Content-Range": "bytes 1000-1019/1020"}
OTHER = str(Digest.of(b"another"))
FAULTS: list[tuple[str, Ask, Fault, type[UpstreamError]]] = [
    ("a 503", manifest, Fault(503), UpstreamFailed),
    ("a 500", head, Fault(500), UpstreamFailed),
    ("a 502", blob, Fault(502), UpstreamFailed),
    ("a 418", blob, Fault(418), UpstreamMissing),
    ("a 403", manifest, Fault(403), UpstreamMissing),
    ("a 429", manifest, Fault(429, {"Retry-After": "7"}), UpstreamBusy),
    ("a 429 of a blob", blob, Fault(429), UpstreamBusy),
    ("nothing in time", manifest, Fault(delay=5), UpstreamFailed),
    ("nothing in time, blob", blob, Fault(delay=5), UpstreamFailed),
    ("cut", manifest, Fault(cut=10), UpstreamFailed),
    ("cut blob", blob, Fault(cut=100_000), UpstreamFailed),
    ("cut tail", tail, Fault(cut=100_000), UpstreamFailed),
    ("hung", manifest, Fault(stall=10), UpstreamFailed),
    ("hung blob", blob, Fault(stall=100_000), UpstreamFailed),
    ("wrong bytes", manifest, Fault(flip=5), UpstreamForged),
    ("wrong bytes of a digest", pinned, Fault(flip=5), UpstreamForged),
    ("wrong bytes, no digest", pinned, Fault(flip=5, fields={"docker-content-digest": ""}), UpstreamForged),
    ("another digest", manifest, Fault(fields={"docker-content-digest": OTHER}), UpstreamForged),
    ("another pinned", pinned, Fault(fields={"docker-content-digest": OTHER}), UpstreamForged),
    ("another blob", blob, Fault(fields={"docker-content-digest": OTHER}), UpstreamForged),
    ("a large manifest", manifest, Fault(200, {"content-length": str(2**23)}), UpstreamForged),
    ("an endless manifest", manifest, Fault(200, {"content-length": ""}, b"x" * 2**23), UpstreamForged),
    ("too long", blob, Fault(fields={"content-length": str(2**21)}), UpstreamFailed),
    ("a coding", blob, Fault(fields={"content-encoding": "gzip"}), UpstreamForged),
    ("no HTTP", manifest, Fault(999, {"content-length": "no"}), UpstreamFailed),
    ("a 206 for all", blob, Fault(206, {"Content-Range": "bytes 1-2/3"}, b"ab"), UpstreamForged),
    ("a 206 without range", tail, Fault(206, body=b"ab"), UpstreamForged),
    ("another range", tail, Fault(fields={"content-range": "bytes 1001-1048575/1048576"}), UpstreamForged),
    ("half a range", tail, Fault(206, {"Content-Range": "bytes 1000-1001/2000"}, b"ab"), UpstreamForged),
    ("a range of another length", tail, Fault(206, {"Content-Range": "bytes 1000-1002/1003"}, b"ab"),
     UpstreamForged),
    ("more than the range", tail, Fault(206, UNTOLD, b"x" * 30), UpstreamForged),
    ("less than the range", tail, Fault(206, UNTOLD, b"x" * 10), UpstreamFailed),
    ("shorter than before", tail, Fault(200, body=b"ab"), UpstreamForged),
    ("a 416", tail, Fault(416, {"Content-Range": "bytes */9"}), UpstreamForged),
    ("a 206 manifest", manifest, Fault(206, body=b"{}"), UpstreamForged),
    ("a 304 unasked", manifest, Fault(304), UpstreamForged),
    ("no list", tags, Fault(200, body=b"[1]"), UpstreamForged),
    ("no JSON", tags, Fault(200, body=b"<html>"), UpstreamForged),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "fault", "fact"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
async def test_faults(content: Content, ask: Ask, fault: Fault, fact: type[UpstreamError]) -> None:
    bounds = QUICK if fault.delay or fault.stall else BOUNDS
    async with (
        proxying(content.server.host) as proxy,
        connected(proxy.url, bounds=bounds, **LOGIN) as client,
    ):
        await manifest(client, content)
        expected = await ask(client, content)
        proxy.rules.append(Rule(fault, path="/v2/", times=1))
        with pytest.raises(fact) as raised:
            await ask(client, content)
        assert type(raised.value) is fact
        assert PASSWORD not in str(raised.value)
        assert raised.value.__cause__ is None  # aiohttp's texts have URLs
        proxy.rules.clear()
        if fact is not UpstreamBusy:
            assert await ask(client, content) == expected


async def test_an_upstream_that_ignores_ranges(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        proxy.rules.append(Rule(Fault(unasked=True), path="/blobs/"))
        assert await taken(client, content.layer_digest, 70_000) == content.layer[70_000:]
        assert "range" in proxy.seen[-1].fields


async def test_a_cut_transfer_goes_on_where_it_ended(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        await manifest(client, content)
        proxy.rules.append(Rule(Fault(cut=200_000), path="/blobs/", times=1))
        got = bytearray()

        async def take() -> None:
            async with client.blob(APP, content.layer_digest) as stream:
                async for chunk in stream.chunks:
                    got.extend(chunk)

        with pytest.raises(UpstreamFailed, match="broke off"):
            await take()
        got += await taken(client, content.layer_digest, len(got))
        assert got == content.layer


async def test_a_head_that_says_little(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        proxy.rules.append(Rule(Fault(fields={"docker-content-digest": ""}), method="HEAD"))
        expected = Head(IMAGE, content.digest, len(content.manifest))
        assert await client.head(APP, Tag("v1"), ACCEPT) == expected


HEADLESS = [400, 401, 403, 405, 501]


@pytest.mark.parametrize("status", HEADLESS)
async def test_a_head_that_is_not_answered_says_nothing_of_a_get(content: Content, status: int) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        challenge = {"WWW-Authenticate": f'Bearer realm="{proxy.url}/token"'} if status == 401 else {}
        proxy.rules.append(Rule(Fault(status, challenge), method="HEAD"))
        expected = Head(IMAGE, content.digest, len(content.manifest))
        assert await client.head(APP, Tag("v1"), ACCEPT) == expected
        assert await size(client, content) == len(content.layer)
        assert not client.breaker.is_open()
        with pytest.raises(UpstreamMissing):
            await client.head(APP, Tag("no"), ACCEPT)
        with pytest.raises(UpstreamMissing):
            await client.blob_size(APP, Digest.of(b"no"))


@pytest.mark.parametrize("status", HEADLESS)
async def test_a_redirect_that_is_signed_for_a_get_alone(content: Content, status: int) -> None:
    async with proxying() as signed, proxying(content.server.host) as proxy:
        proxy.rules.append(Rule(Fault(307, {"Location": f"{signed.url}/x?X-Signature=a"}), "/blobs/"))
        signed.rules += [Rule(Fault(status), method="HEAD"), Rule(Fault(200, body=content.layer))]
        async with connected(proxy.url, redirects=[signed.host], **LOGIN) as client:
            assert await size(client, content) == len(content.layer)
            assert [each.method for each in signed.seen] == ["HEAD", "GET"]


async def test_pages_of_tags(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        pages = [
            Fault(200, {"Link": '</v2/team/app/tags/list?last=b>; rel="next"'}, b'{"tags":["a","b","-"]}'),
            Fault(200, {"Link": '<?token=x>; rel="next"'}, b'{"tags":null}'),
            Fault(200, body=b'{"tags":["c"]}'),
        ]
        proxy.rules.extend(Rule(page, path="/tags/", times=1) for page in pages)
        assert await tags(client, content) == [("a", "b"), (), ("c",)]
        assert [each.target for each in proxy.seen if "/tags/" in each.target] == [
            "/v2/team/app/tags/list?n=1000",
            "/v2/team/app/tags/list?last=b",
            "/v2/team/app/tags/list?token=x",
        ]


@pytest.mark.parametrize("link", ["/v2/other/tags/list?n=1", "http://169.254.169.254/x", "//h/v2", "/token?"])
async def test_pages_at_another_place(content: Content, link: str) -> None:
    async with proxying() as proxy, connected(proxy.url, **LOGIN) as client:
        proxy.rules.append(Rule(Fault(200, {"Link": f'<{link}>; rel="next"'}, b'{"tags":["a"]}')))
        with pytest.raises(UpstreamError, match="at another place"):
            await tags(client, content)
        assert len(proxy.seen) == 1


async def test_pages_without_end(content: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.upstream.client._LARGEST_LIST", 100)
    async with proxying() as proxy, connected(proxy.url, **LOGIN) as client:
        page = Fault(200, {"Link": '<?x=1>; rel="next"'}, b'{"tags":["a","b","c"]}')  # 22 bytes
        proxy.rules.append(Rule(page))
        with pytest.raises(UpstreamForged, match="more than"):
            await tags(client, content)
        assert len(proxy.seen) == 5


async def size(client: UpstreamClient, content: Content) -> object:
    return await client.blob_size(APP, content.layer_digest)


async def referrers(client: UpstreamClient, content: Content) -> object:
    return [page async for page in client.referrers(APP, content.digest)]


async def test_the_size_of_a_blob_costs_no_byte(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        assert await size(client, content) == len(content.layer)
        assert {each.method for each in proxy.seen if "/blobs/" in each.target} == {"HEAD"}
        for fault, fact in (
            (Fault(404), UpstreamMissing),
            (Fault(200, {"Content-Length": ""}), UpstreamFailed),
            (Fault(200, {"Docker-Content-Digest": OTHER, "Content-Length": "5"}), UpstreamForged),
        ):
            proxy.rules[:] = [Rule(fault, "/blobs/")]
            with pytest.raises(fact):
                await size(client, content)


async def test_pages_of_referrers(content: Content) -> None:
    entry = {
        "mediaType": IMAGE,
        "digest": OTHER,
        "size": 5,
        "artifactType": "application/x",
        "annotations": {"a": "b"},
    }
    path = f"/v2/team/app/referrers/{content.digest}"
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        assert await referrers(client, content) == [()]
        page = json.dumps({"manifests": [entry]}).encode()
        proxy.rules += [
            Rule(Fault(200, {"Link": f'<{path}?last=x>; rel="next"'}, page), "/referrers/", times=1),
            Rule(Fault(200, body=b'{"manifests": []}'), "/referrers/", times=1),
        ]
        (first,), second = typed(await referrers(client, content))
        assert second == ()
        assert (str(first.digest), first.size, first.artifact_type) == (OTHER, 5, "application/x")
        assert [each.target for each in proxy.seen[-2:]] == [path, f"{path}?last=x"]


def typed(found: object) -> list[tuple[Descriptor, ...]]:
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    "page", [b"", b"[]", b"{}", b'{"manifests": [{}]}', b'{"manifests": [{"digest": 5}]}']
)
async def test_lists_of_referrers_that_are_none(content: Content, page: bytes) -> None:
    async with proxying() as proxy, connected(proxy.url, **LOGIN) as client:
        proxy.rules.append(Rule(Fault(200, body=page)))
        with pytest.raises(UpstreamForged, match="list of referrers"):
            await referrers(client, content)


async def test_fifty_at_once_share_a_login(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        proxy.rules.append(Rule(Fault(delay=0.1), path="/token"))
        got = await asyncio.gather(*(pinned(client, content) for _ in range(50)))
        assert len({each.raw for each in got if isinstance(each, Fetched)}) == 1
        assert proxy.count("/token") == 1


async def test_a_token_that_ends(content: Content) -> None:
    hand = Hand()
    async with proxying(content.server.host) as proxy, connected(proxy.url, clock=hand, **LOGIN) as client:
        for now, tokens in ((1000.0, 1), (1020.0, 1), (5000.0, 2)):
            hand.now = now
            await manifest(client, content)
            assert proxy.count("/token") == tokens
        # And one that is refused before its time: once more, and the request goes on.
        proxy.rules.append(
            Rule(Fault(401, {"WWW-Authenticate": f'Bearer realm="{proxy.url}/token"'}), "/v2/", times=1)
        )
        await manifest(client, content)
        assert proxy.count("/token") == 3


async def test_tokens_that_end_at_once_are_renewed_once(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        await manifest(client, content)
        challenge = {"WWW-Authenticate": f'Bearer realm="{proxy.url}/token"'}
        # The second is told only when the first has its new token already.
        proxy.rules += [
            Rule(Fault(401, challenge), "/v2/", times=1),
            Rule(Fault(401, challenge, delay=0.3), "/v2/", times=1),
        ]
        await asyncio.gather(pinned(client, content), pinned(client, content))
        assert proxy.count("/token") == 2


async def test_a_token_that_is_not_enough(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        challenge = f'Bearer realm="{proxy.url}/token",error="insufficient_scope"'
        proxy.rules.append(Rule(Fault(401, {"WWW-Authenticate": challenge}), "/v2/"))
        with pytest.raises(UpstreamMissing, match="no such repository"):
            await manifest(client, content)
        assert proxy.count("/v2/") == 2


async def test_who_leaves_takes_nobody_along(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        proxy.rules.append(Rule(Fault(delay=0.1), path="/token"))
        first, second = (asyncio.create_task(pinned(client, content)) for _ in range(2))
        while not proxy.count("/token"):
            await asyncio.sleep(0.01)
        first.cancel()
        assert isinstance(await second, Fetched)
        assert proxy.count("/token") == 1


async def test_basic(content: Content, secret_file: Path) -> None:
    async with proxying() as proxy:
        login: dict[str, Any] = {"username": USER, "password_file": str(secret_file)}
        basic = Fault(401, {"WWW-Authenticate": 'Basic realm="x"'})
        proxy.rules += [Rule(basic, times=1), Rule(Fault(200, body=b"{}"))]
        async with connected(proxy.url, **login) as client:
            await manifest(client, content)
            await manifest(client, content)
            assert [each.startswith("Basic ") for each in proxy.secrets()] == [True, True]
            secret_file.write_text("another\n")
            proxy.rules[:] = [Rule(basic)]
            with pytest.raises(UpstreamDenied):
                await manifest(client, content)
            assert len(set(proxy.secrets())) == 2


async def test_a_token_of_the_settings(content: Content, secret_file: Path) -> None:
    async with proxying() as proxy, connected(proxy.url, token_file=str(secret_file)) as client:
        secret_file.write_text("some-token\n")
        bearer = Fault(401, {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/t"'})
        proxy.rules += [Rule(bearer, times=1), Rule(Fault(200, body=b"{}"))]
        await manifest(client, content)
        assert proxy.secrets() == ["Bearer some-token"]
        secret_file.write_text("renewed\n")
        await manifest(client, content)
        assert proxy.secrets()[1:] == ["Bearer renewed"]


async def test_the_breaker_opens_and_closes(content: Content) -> None:
    hand = Hand()
    async with proxying(content.server.host) as proxy, connected(proxy.url, clock=hand, **LOGIN) as client:
        proxy.rules.append(Rule(Fault(503)))
        for _ in range(8):
            with pytest.raises(UpstreamFailed):
                await manifest(client, content)
        assert len(proxy.seen) == 5
        proxy.rules.clear()
        hand.now += 6
        assert isinstance(await manifest(client, content), Fetched)
        assert not client.breaker.is_open()


async def test_heads_between_failures(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        fetched = await client.manifest(APP, Tag("v1"), ACCEPT)
        assert isinstance(fetched, Fetched)
        for turn in range(6):
            proxy.rules.append(Rule(Fault(503), times=1))
            with pytest.raises(UpstreamFailed):
                await head(client, content)
            if turn % 2:
                assert isinstance(await head(client, content), Head)
            else:
                assert await client.manifest(APP, Tag("v1"), ACCEPT, fetched.etag) == NotModified()
        assert not client.breaker.is_open()


async def test_a_slow_upstream_is_no_broken_one(content: Content) -> None:
    bounds = Bounds(idle=2.0)
    async with (
        proxying(content.server.host) as proxy,
        connected(proxy.url, bounds=bounds, **LOGIN) as client,
    ):
        proxy.rules.append(Rule(Fault(rate=400_000), path="/blobs/"))
        began = time.monotonic()
        assert await taken(client, content.layer_digest) == content.layer
        assert time.monotonic() - began > bounds.idle


async def test_bodies_that_break_off_open_the_breaker(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        await manifest(client, content)
        proxy.rules.append(Rule(Fault(cut=10), path="/manifests/"))
        for _ in range(6):
            with pytest.raises(UpstreamFailed):
                await manifest(client, content)
        assert client.breaker.is_open()


async def test_an_upstream_that_is_not_there(content: Content) -> None:
    async with proxying() as proxy:
        url = proxy.url
    async with connected(url) as client:
        with pytest.raises(UpstreamFailed, match="cannot be reached"):
            await manifest(client, content)


async def test_who_stops_taking_closes_the_connection(content: Content) -> None:
    async with proxying(content.server.host) as proxy, connected(proxy.url, **LOGIN) as client:
        async with client.blob(APP, content.layer_digest) as stream:
            async for _ in stream.chunks:
                break
        assert not client.breaker.is_open()
        assert isinstance(await manifest(client, content), Fetched)
