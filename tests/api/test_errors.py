"""Every row of the error table, reached over HTTP: its status, its code, and a message that helps."""

import asyncio
import errno
import gc
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from registry.access import Actor, Operation
from registry.api import errors as api
from registry.api import ranges
from registry.api.access_log import AccessLog
from registry.api.gate import Gate
from registry.cache.routing import NamespaceUnknown
from registry.errors import (
    ConditionInvalid,
    Denied,
    ManifestInvalid,
    ManifestTooLarge,
    NameInvalid,
    RegistryError,
    TagImmutable,
    TagInvalid,
    TooManyRequests,
    Unauthenticated,
    Unsupported,
)
from registry.manifests import MAX_MANIFEST
from registry.quotas import Quota
from registry.registry import Registry
from registry.upstream.errors import UpstreamError
from storage import errors as storage
from storage.store import Store
from tests.api.rows import CODES, Row, assert_closed, assert_error, check
from tests.api.world import (
    CONFIG,
    IMAGE,
    REPOSITORY,
    World,
    begin,
    digest,
    push_blob,
    push_image,
    put_manifest,
)
from tests.builders import descriptor, image
from tests.inprocess import Answer, ask, connect, connect_app, opened

MANIFEST = "/v2/{repo}/manifests/latest"
UPLOAD = "/v2/{repo}/blobs/uploads/{upload}"
FOUR = ("session goes on at byte 4",)
CHUNKED = [(b"transfer-encoding", b"chunked")]

PLAIN: dict[type[Exception], Row] = {
    storage.InvalidDigest: Row(
        "GET",
        "/v2/{repo}/blobs/sha256:ABC",
        400,
        "DIGEST_INVALID",
        says=("'sha256:ABC'", "64 lower-case hex"),
    ),
    storage.BlobMissing: Row("GET", "/v2/{repo}/blobs/{absent}", 404, "BLOB_UNKNOWN", says=("{absent}",)),
    storage.BlobReferenced: Row(
        "DELETE",
        "/v2/{repo}/blobs/{layer}",
        405,
        "UNSUPPORTED",
        says=("{layer}", "{image}", "delete that first"),
        expect={"Allow": "GET, HEAD"},
    ),
    storage.ReferencesMissing: Row(
        "PUT",
        MANIFEST,
        400,
        "MANIFEST_BLOB_UNKNOWN",
        body=image(layers=[descriptor(b"absent")]),
        says=(digest(b"absent"), digest(b"{}"), "push it first"),
    ),
    storage.ManifestMissing: Row("GET", "/v2/{repo}/manifests/none", 404, "MANIFEST_UNKNOWN", says=("none",)),
    storage.RepositoryMissing: Row("GET", "/v2/none/tags/list", 404, "NAME_UNKNOWN", says=("none",)),
    storage.UploadMissing: Row(
        "PATCH", "/v2/{repo}/blobs/uploads/{nowhere}", 404, "BLOB_UPLOAD_UNKNOWN", says=("begin a new one",)
    ),
    storage.WrongOffset: Row(
        "PATCH",
        UPLOAD,
        416,
        "BLOB_UPLOAD_INVALID",
        send={"Content-Range": "9-10"},
        body=b"xy",
        says=("begins at byte 9", *FOUR),
        expect={"Range": "0-3", "Docker-Upload-UUID": "{upload}"},
    ),
    api.LengthMismatch: Row(
        "PATCH",
        UPLOAD,
        400,
        "SIZE_INVALID",
        send={"Content-Range": "4-10"},
        body=b"xy",
        says=("spans 7 bytes", "Content-Length says 2"),
    ),
    ranges.InvalidContentRange: Row(
        "PATCH",
        UPLOAD,
        416,
        "BLOB_UPLOAD_INVALID",
        send={"Content-Range": "bytes 4-5/6"},
        body=b"xy",
        says=("'bytes 4-5/6'", "0-1023"),
    ),
    storage.DigestMismatch: Row(
        "PUT",
        UPLOAD + "?digest={absent}",
        400,
        "DIGEST_INVALID",
        body=b"xy",
        says=(digest(b"fourxy"), "{absent}"),
    ),
    storage.PreconditionFailed: Row(
        "PUT",
        MANIFEST,
        412,
        "DENIED",
        send={"If-None-Match": "*"},
        body=IMAGE,
        says=("tag latest is {image}", "anything but that it exists"),
    ),
    ConditionInvalid: Row(
        "PUT",
        MANIFEST,
        400,
        "UNSUPPORTED",
        send={"If-Match": "sha256:0"},
        body=IMAGE,
        says=("If-Match is 'sha256:0'", "quoted digests"),
    ),
    ManifestInvalid: Row(
        "PUT", MANIFEST, 400, "MANIFEST_INVALID", body=b"[", says=("cannot be read", "character 1")
    ),
    ManifestTooLarge: Row(
        "PUT",
        MANIFEST,
        413,
        "MANIFEST_INVALID",
        body=b" " * (MAX_MANIFEST + 1),
        says=(f"larger than {MAX_MANIFEST} bytes",),
    ),
    NameInvalid: Row("GET", "/v2/Team/tags/list", 400, "NAME_INVALID", says=("'Team'", "lower-case letters")),
    TagInvalid: Row(
        "PUT", "/v2/{repo}/manifests/-x", 400, "MANIFEST_INVALID", body=IMAGE, says=("'-x'", "1 to 128 of")
    ),
    ranges.Unsatisfiable: Row(
        "GET",
        "/v2/{repo}/blobs/{layer}",
        416,
        "UNSUPPORTED",
        send={"Range": "bytes=2048-"},
        says=("which has 2048",),
        expect={"Content-Range": "bytes */2048"},
    ),
    api.RouteMissing: Row("GET", "/v1/", 404, "UNSUPPORTED", says=("'/v1/'", "begins with /v2/")),
    api.MethodUnknown: Row(
        "POST",
        MANIFEST,
        405,
        "UNSUPPORTED",
        says=("POST does not apply", "GET, HEAD, PUT, DELETE"),
        expect={"Allow": "GET, HEAD, PUT, DELETE"},
    ),
    api.PageInvalid: Row(
        "GET", "/v2/_catalog?n=-1", 400, "UNSUPPORTED", says=("n is '-1'", "at most nine digits")
    ),
    api.TooManyTags: Row(
        "PUT",
        MANIFEST + "?" + "&".join(f"tag=t{number}" for number in range(101)),
        414,
        "UNSUPPORTED",
        body=IMAGE,
        says=("101 tag parameters", "100 are allowed"),
    ),
    api.ForeignName: Row(
        "GET",
        MANIFEST,
        403,
        "DENIED",
        send={"Host": "registry.evil.com:5000", "Accept-Language": "en"},
        says=("'registry.evil.com:5000'", "ask for localhost"),
    ),
    api.CrossOrigin: Row(
        "DELETE",
        MANIFEST,
        403,
        "DENIED",
        send={"Origin": "https://evil.example"},
        says=("'https://evil.example'", "may not write"),
    ),
    api.EncodingUnsupported: Row(
        "PUT",
        MANIFEST,
        415,
        "UNSUPPORTED",
        send={"Content-Encoding": "gzip"},
        body=IMAGE,
        says=("'gzip'", "send the bytes as they are"),
    ),
}


@pytest.mark.parametrize(("fact", "row"), PLAIN.items(), ids=[fact.__name__ for fact in PLAIN])
async def test_plain_rows(client: httpx.AsyncClient, world: World, fact: type[Exception], row: Row) -> None:
    assert api.TABLE[fact] == (row.status, row.code)
    await check(client, row, **world.named())
    untouched = Row("GET", UPLOAD, 204, expect={"Range": "0-3"})
    await check(client, untouched, **world.named())
    await check(client, Row("GET", MANIFEST, 200, holds=IMAGE), **world.named())


# -- those that need a store or a registry in another state -----------------------------------------------


class Refuses:
    def __init__(self, fact: Exception) -> None:
        self.fact = fact

    def allow(self, actor: Actor, operation: Operation) -> None:
        raise self.fact


@dataclass(slots=True)
class NoRoom:
    """From the moment it is `armed`, these calls of storage/files.py fail: the disk is full."""

    calls: frozenset[str]
    armed: bool = False
    code: int = errno.ENOSPC
    seen: set[str] = field(default_factory=set)

    def __call__(self, moment: str, name: str, target: str) -> None:
        if self.armed and moment == "before":
            self.seen.add(name)
            if name in self.calls:
                raise OSError(self.code, os.strerror(self.code))


async def busy(folder: Path) -> httpx.Response:
    with opened(folder) as store:
        async with connect(store) as client:
            upload = await begin(client, REPOSITORY)
            under_way, go_on = asyncio.Event(), asyncio.Event()

            async def slow() -> AsyncIterator[bytes]:
                yield b"x"
                under_way.set()
                await go_on.wait()

            target = f"/v2/{REPOSITORY}/blobs/uploads/{upload}"
            first = asyncio.create_task(client.patch(target, content=slow()))
            await under_way.wait()
            second = await client.patch(target, content=b"y")
            go_on.set()
            assert (await first).headers["Range"] == "0-0"
            assert second.headers["Retry-After"] == "5"
            return second


async def sealed(folder: Path) -> httpx.Response:
    """A full disk between a blob's install and its claim: the session is complete, and can only be closed."""
    probe = NoRoom(frozenset({"commit"}))
    with opened(folder, probe) as store:
        async with connect(store) as client:
            upload = await begin(client, REPOSITORY, b"four")
            target = f"/v2/{REPOSITORY}/blobs/uploads/{upload}"
            closing = {"digest": digest(b"four")}
            probe.armed = True
            assert_error(await client.put(target, params=closing), 507, "UNKNOWN", "free some space")
            assert "rename" in probe.seen
            probe.armed = False
            refused = await client.patch(target, content=b"more")
            assert (await client.put(target, params=closing, content=b"")).status_code == 201
            return refused


async def short(folder: Path) -> httpx.Response:
    async def two() -> AsyncIterator[bytes]:
        yield b"xy"

    with opened(folder) as store:
        async with connect(store) as client:
            target = f"/v2/{REPOSITORY}/blobs/uploads/{await begin(client, REPOSITORY)}"
            answer = await client.patch(target, content=two(), headers={"Content-Range": "0-6"})
            assert (await client.get(target)).headers["Range"] == "0-0"
            return answer


async def full(folder: Path) -> httpx.Response:
    probe = NoRoom(frozenset({"write"}))
    with opened(folder, probe) as store:
        async with connect(store) as client:
            probe.armed = True
            posted = f"/v2/{REPOSITORY}/blobs/uploads/"
            answer = await client.post(posted, params={"digest": digest(CONFIG)}, content=CONFIG)
            assert os.listdir(store.layout.uploads) == []
            return answer


async def scarce(folder: Path) -> httpx.Response:
    """The process has as many files open as it may."""
    probe = NoRoom(frozenset({"create"}), code=errno.EMFILE)
    with opened(folder, probe) as store:
        async with connect(store) as client:
            probe.armed = True
            answer = await client.post(f"/v2/{REPOSITORY}/blobs/uploads/")
            assert answer.headers["Retry-After"] == "5"
            return answer


async def crowded(folder: Path) -> httpx.Response:
    """Clients that each stop before their manifest's last byte, until no more is taken in."""
    chunk = {"type": "http.request", "body": b" " * MAX_MANIFEST, "more_body": True}
    whole = {"type": "http.request", "body": IMAGE, "more_body": False}
    with opened(folder) as store:
        gate = Gate(Registry(store.names, store.blobs, store.uploads), log=AccessLog())

        def put(body: Message) -> asyncio.Task[Answer]:
            return asyncio.create_task(ask(gate, "PUT", b"/v2/a/manifests/x", headers=CHUNKED, body=[body]))

        stalled = [put(chunk) for _ in range(16)]
        async with asyncio.timeout(10):
            while gate._held._used < 16 * MAX_MANIFEST:
                await asyncio.sleep(0.01)
        assert not any(task.done() for task in stalled)
        late = await put(whole)
        for task in stalled:
            task.cancel()
        assert {answer.status for answer in await asyncio.gather(*stalled)} == {503}
        # What they held is free again: now it fails for what it says.
        assert (await put(whole)).status == 400
    return httpx.Response(late.status, headers=dict(late.headers), content=late.body)


async def degraded(folder: Path) -> httpx.Response:
    with opened(folder) as store:
        async with connect(store) as client:
            await push_blob(client, REPOSITORY, CONFIG)
            store.files.latch("a test says so")
            kept = await client.get(f"/v2/{REPOSITORY}/blobs/{digest(CONFIG)}")
            assert (kept.status_code, kept.content) == (200, CONFIG)
            answer = await client.post(f"/v2/{REPOSITORY}/blobs/uploads/")
            assert answer.headers["Retry-After"] == "5"
            return answer


async def immutable(folder: Path) -> httpx.Response:
    with opened(folder) as store:
        async with connect(store, immutable_tags=("team/*:v*",)) as client:
            await push_image(client, REPOSITORY, "v1")
            other = await push_image(client, REPOSITORY, "latest", seed=1)
            return await put_manifest(client, REPOSITORY, other, "v1")


async def denied(folder: Path) -> httpx.Response:
    with opened(folder) as store:
        registry = Registry(store.names, store.blobs, store.uploads)
        refuses = Refuses(Denied("alice may not push to team/app: nothing allows it"))
        async with connect_app(Gate(registry, policies=[refuses], log=AccessLog())) as client:
            return await client.post(f"/v2/{REPOSITORY}/blobs/uploads/")


async def unauthenticated(folder: Path) -> httpx.Response:
    with opened(folder) as store:
        registry = Registry(store.names, store.blobs, store.uploads)
        refuses = Refuses(Unauthenticated("log in first: this registry knows its users"))
        async with connect_app(Gate(registry, policies=[refuses], log=AccessLog())) as client:
            answer = await client.get("/v2/")
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="registry"'
            return answer


class Counts:
    def ask(self, actor: Actor, operation: Operation) -> None:
        raise TooManyRequests("that was the third ping of this second", retry_after=7)

    def count(self, actor: Actor, operation: Operation) -> None:
        """Never called."""


async def too_many(folder: Path) -> httpx.Response:
    with opened(folder) as store:
        registry = Registry(store.names, store.blobs, store.uploads)
        async with connect_app(Gate(registry, meters=[Counts()], log=AccessLog())) as client:
            answer = await client.get("/v2/")
            assert answer.headers["Retry-After"] == "7"
            return answer


async def over_quota(folder: Path) -> httpx.Response:
    with opened(folder) as store:
        async with connect(store, quota=[Quota(("team/*",), bytes=3)]) as client:
            path = f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest(b'four')}"
            answer = await client.post(path, content=b"four")
            assert answer.json()["errors"][0]["detail"] == {
                "quota": "team/* together",
                "limit": 3,
                "used": 0,
                "needed": 4,
            }
            return answer


async def too_many_uploads(folder: Path) -> httpx.Response:
    with opened(folder) as store:
        async with connect(store, quota=[Quota(each=True, uploads=1)]) as client:
            await begin(client, REPOSITORY)
            answer = await client.post(f"/v2/{REPOSITORY}/blobs/uploads/")
            assert answer.headers["Retry-After"] == "5"
            return answer


async def repeated(folder: Path) -> httpx.Response:
    with opened(folder) as store:
        async with connect(store) as client:
            twice = [("Content-Range", "0-0"), ("content-range", "4-4")]
            return await client.post(f"/v2/{REPOSITORY}/blobs/uploads/", headers=twice, content=b"x")


async def unsupported(folder: Path) -> httpx.Response:
    with opened(folder) as store:
        async with connect(store, delete=False) as client:
            answer = await client.delete(f"/v2/{REPOSITORY}/manifests/latest")
            assert answer.headers["Allow"] == "GET, HEAD, PUT"
            return answer


async def stopping(folder: Path) -> httpx.Response:
    """A stop that has waited long enough cancels the request; what had arrived is kept."""
    with opened(folder) as store:
        async with connect(store) as client:
            target = f"/v2/{REPOSITORY}/blobs/uploads/{await begin(client, REPOSITORY)}"
            under_way = asyncio.Event()

            async def slow() -> AsyncIterator[bytes]:
                yield b"four"
                under_way.set()
                await asyncio.Event().wait()

            request = asyncio.create_task(client.patch(target, content=slow()))
            await under_way.wait()
            request.cancel()
            answer = await request
            assert (answer.headers["Connection"], answer.headers["Retry-After"]) == ("close", "5")
            assert (await client.get(target)).headers["Range"] == "0-3"
            return answer


STAGED: dict[type[Exception], tuple[Callable[[Path], Awaitable[httpx.Response]], tuple[str, ...]]] = {
    storage.UploadBusy: (busy, ("another request", "retry later")),
    storage.UploadSealed: (sealed, ("is complete", "only its closing PUT")),
    storage.WrongLength: (short, ("has 2 bytes", "7 were announced")),
    storage.StoreFull: (full, ("the disk is full", "free some space")),
    storage.StoreDegraded: (degraded, ("registry fsck --repair",)),
    api.FieldRepeated: (repeated, ("more than one content-range header",)),
    api.Scarce: (scarce, ("short of memory or of descriptors", "try again")),
    api.Busy: (crowded, ("too many manifests", "try again")),
    TagImmutable: (immutable, (f"{REPOSITORY}:v1 is immutable", "'team/*:v*'", "push another tag")),
    Denied: (denied, ("alice may not push", "nothing allows it")),
    storage.QuotaExceeded: (over_quota, ("of team/* together is 3 bytes", "delete tags and images")),
    storage.TooManyUploads: (too_many_uploads, (f"of {REPOSITORY} is 1 open uploads", "try again when")),
    TooManyRequests: (too_many, ("third ping", "in 7 s")),
    Unauthenticated: (unauthenticated, ("log in first",)),
    Unsupported: (unsupported, ("switched off", "delete = false")),
    api.Stopping: (stopping, ("is stopping", "keeps what arrived")),
}


@pytest.mark.parametrize("fact", STAGED, ids=[fact.__name__ for fact in STAGED])
async def test_staged_rows(fact: type[Exception], tmp_path: Path) -> None:
    scenario, says = STAGED[fact]
    answer = await scenario(tmp_path)
    assert_error(answer, *api.TABLE[fact], *says)
    assert_closed(answer.headers)
    if answer.status_code >= 500:
        assert answer.json()["errors"][0]["detail"] == {"id": answer.headers["X-Request-Id"]}


async def test_a_client_that_leaves_gets_no_answer(
    client: httpx.AsyncClient, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The row of ClientDisconnect: its status is for the log alone."""
    upload = await begin(client, REPOSITORY)
    gate = Gate(Registry(store.names, store.blobs, store.uploads), log=AccessLog())
    leaves = ({"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"})
    path = f"/v2/{REPOSITORY}/blobs/uploads/{upload}"
    with caplog.at_level(logging.INFO, "registry.access"):
        answer = await ask(gate, "PATCH", path.encode(), headers=[(b"content-length", b"8")], body=leaves)
    assert answer.status == 0
    assert api.TABLE[ClientDisconnect] == (499, "UNKNOWN")
    assert json.loads(caplog.records[-1].message)["status"] == 499
    assert (await client.get(path)).headers["Range"] == "0-3"  # what arrived stays, to go on from


def test_no_row_is_left_out() -> None:
    # Above; in tests/server/test_taken.py; in tests/api/test_token.py; in tests/cache/.
    elsewhere = {ClientDisconnect, api.BodyMalformed, api.FormInvalid, api.HostInvalid, api.OriginUnclear}
    assert {*PLAIN, *STAGED, *elsewhere, NamespaceUnknown, *facts(UpstreamError)} == set(api.TABLE)


def facts(base: type[Exception]) -> set[type[Exception]]:
    return {fact for direct in base.__subclasses__() for fact in {direct, *facts(direct)}}


def test_every_fact_has_a_row() -> None:
    """But those that stop a start or a command, and one that nobody outside can do anything about."""
    without = {storage.StoreUnusable, storage.StoreBusy, storage.IndexFailed, storage.DiskUnreadable}
    bases = storage.StorageError, RegistryError, UpstreamError
    assert set().union(*map(facts, bases)) == set(api.TABLE) - {ClientDisconnect} | without
    assert api.look_up(storage.IndexFailed("it is broken")) == (500, "UNKNOWN")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), 503),
        (OSError(errno.EMFILE, "too many open files"), 503),
        (OSError(errno.ENFILE, "too many open files in the system"), 503),
        (OSError(errno.ENOMEM, "cannot allocate memory"), 503),
        (OSError(errno.EIO, "input/output error"), 500),
        (RuntimeError("a mistake"), 500),
    ],
    ids=repr,
)
def test_errors_of_the_machine_that_may_pass_are_a_503(error: Exception, status: int) -> None:
    assert api.look_up(api.fact_of(error)) == (status, "UNKNOWN")


def test_codes_are_those_of_the_specification() -> None:
    for status, code in api.TABLE.values():
        assert (code in CODES) if status < 499 else code == "UNKNOWN"


async def test_a_refused_request_leaves_nothing_for_pythons_collector(client: httpx.AsyncClient) -> None:
    """A manifest of a hundred thousand parts would wait for it, with its hundred megabytes."""
    gc.collect()
    gc.disable()
    try:
        answer = await client.put(f"/v2/{REPOSITORY}/manifests/x", content=b'{"config":{},"layers":[{}]}')
        assert_error(answer, 400, "MANIFEST_INVALID")
        assert [found for found in gc.get_objects() if isinstance(found, ManifestInvalid)] == []
    finally:
        gc.enable()
