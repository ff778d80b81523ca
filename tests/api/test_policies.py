"""Rules over the whole API: what they refuse, they refuse everywhere and before a byte is read (T13, T14)."""

import httpx
import pytest
from starlette.types import Message

from registry.access import Actor, Operation
from registry.api.access_log import AccessLog
from registry.api.gate import Gate
from registry.api.routes import ROUTES, match
from registry.registry import Registry
from storage.store import Store
from tests.api.rows import Row, check
from tests.api.world import IMAGE, LAYER, World, digest
from tests.inprocess import ask, connect, connect_app

DELETES = ("/v2/{repo}/manifests/latest", "/v2/{repo}/manifests/{image}", "/v2/{repo}/blobs/{spare}")
PUSHES = (
    ("POST", "/v2/{repo}/blobs/uploads/"),
    ("POST", "/v2/{repo}/blobs/uploads/?digest={layer}"),
    ("POST", "/v2/{repo}/blobs/uploads/?mount={layer}"),
    ("PATCH", "/v2/{repo}/blobs/uploads/{upload}"),
    ("PUT", "/v2/{repo}/blobs/uploads/{upload}?digest={layer}"),
    ("GET", "/v2/{repo}/blobs/uploads/{upload}"),
    ("DELETE", "/v2/{repo}/blobs/uploads/{upload}"),
    ("PUT", "/v2/{repo}/manifests/new"),
    ("PUT", "/v2/{repo}/manifests/{image}?tag=new"),
)
PULLS = (
    "/v2/",
    "/v2/_catalog",
    "/v2/{repo}/tags/list",
    "/v2/{repo}/blobs/{layer}",
    "/v2/{repo}/manifests/latest",
    "/v2/{repo}/referrers/{image}",
)


async def untouched(client: httpx.AsyncClient, world: World) -> None:
    names = world.named()
    await check(client, Row("GET", "/v2/{repo}/manifests/latest", 200, holds=IMAGE), **names)
    await check(client, Row("HEAD", "/v2/{repo}/blobs/{spare}", 200), **names)
    await check(
        client, Row("GET", "/v2/{repo}/blobs/uploads/{upload}", 204, expect={"Range": "0-3"}), **names
    )
    await check(client, Row("GET", "/v2/{repo}/manifests/new", 404, "MANIFEST_UNKNOWN"), **names)


@pytest.mark.parametrize("path", DELETES)
async def test_delete_switched_off(store: Store, client: httpx.AsyncClient, world: World, path: str) -> None:
    """T14: tags, manifests and blobs by one rule."""
    allow = "GET, HEAD, PUT" if "manifests" in path else "GET, HEAD"
    async with connect(store, delete=False) as fixed:
        row = Row("DELETE", path, 405, "UNSUPPORTED", says=("switched off",), expect={"Allow": allow})
        await check(fixed, row, **world.named())
        absent = Row("DELETE", "/v2/none/manifests/none", 405, "UNSUPPORTED")
        await check(fixed, absent)
        # A cancelled upload is no delete.
        begun = await fixed.post("/v2/team/app/blobs/uploads/")
        assert (await fixed.delete(begun.headers["Location"])).status_code == 204
    await untouched(client, world)


@pytest.mark.parametrize(("method", "path"), [*PUSHES, *(("DELETE", path) for path in DELETES)])
async def test_anonymous_pull(
    store: Store, client: httpx.AsyncClient, world: World, method: str, path: str
) -> None:
    async with connect(store, anonymous="pull") as reader:
        row = Row(
            method,
            path,
            401,
            "UNAUTHORIZED",
            body=LAYER if method in ("PUT", "PATCH") else b"",
            says=("log in to",),
        )
        await check(reader, row, **world.named())
    await untouched(client, world)


@pytest.mark.parametrize(("method", "path"), [*PUSHES, *(("DELETE", path) for path in DELETES)])
async def test_read_only(
    store: Store, client: httpx.AsyncClient, world: World, method: str, path: str
) -> None:
    async with connect(store, read_only=True) as reader:
        row = Row(
            method,
            path,
            405,
            "UNSUPPORTED",
            body=LAYER if method in ("PUT", "PATCH") else b"",
            says=("read-only", "pulls go on"),
        )
        await check(reader, row, **world.named())
    await untouched(client, world)


@pytest.mark.parametrize("path", PULLS)
async def test_read_only_pulls(store: Store, world: World, path: str) -> None:
    async with connect(store, read_only=True) as reader:
        for method in ("GET", "HEAD"):
            await check(reader, Row(method, path, 200), **world.named())
        assert (await reader.get("/readyz")).status_code == 200


@pytest.mark.parametrize("path", PULLS)
async def test_anonymous_pull_pulls(store: Store, world: World, path: str) -> None:
    async with connect(store, anonymous="pull") as reader:
        for method in ("GET", "HEAD"):
            # The ping challenges, or clients would never ask for a token.
            row = Row(method, path, 401, "UNAUTHORIZED") if path == "/v2/" else Row(method, path, 200)
            await check(reader, row, **world.named())


@pytest.mark.parametrize("anonymous", ["auto", "push"])
async def test_anonymous_push(store: Store, anonymous: str) -> None:
    async with connect(store, anonymous=anonymous) as client:
        named = digest(b"free")
        await check(client, Row("POST", f"/v2/free/blobs/uploads/?digest={named}", 201, body=b"free"))
        await check(client, Row("DELETE", f"/v2/free/blobs/{named}", 202))


class Notes:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def allow(self, actor: Actor, operation: Operation) -> None:
        self.asked.append((operation.action.value, operation.repository or ""))


EVERYTHING = [
    *(("GET", path) for path in PULLS),
    *(("HEAD", path) for path in PULLS),
    *PUSHES,
    ("HEAD", "/v2/{repo}/blobs/uploads/{upload}"),
    *(("DELETE", path) for path in DELETES),
]


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
async def test_policies_are_asked_first(store: Store, world: World, method: str, path: str) -> None:
    """Before a byte of the body, and about the operation that the route's table says."""
    notes = Notes()

    class Refuses(Notes):
        def allow(self, actor: Actor, operation: Operation) -> None:
            notes.allow(actor, operation)
            raise AssertionError("refused")

    gate = Gate(Registry(store.names, store.blobs, store.uploads), policies=[Refuses()], log=AccessLog())
    bare, _, query = path.format(**world.named()).partition("?")

    def read() -> Message:
        raise AssertionError("the body was read")

    held_back = [(b"content-length", b"5"), (b"expect", b"100-continue")]
    body = (read() for _ in range(1))
    answer = await ask(gate, method, bare.encode(), query=query.encode(), headers=held_back, body=body)
    found = match(bare)
    assert found is not None
    action, _ = found[0].methods[method]
    assert answer.status == 500
    assert notes.asked == [(action.value, found[1].get("name", ""))]


def test_every_route_was_asked(world: World) -> None:
    asked = {
        (found[0].pattern.pattern, method)
        for method, path in EVERYTHING
        if (found := match(path.format(**world.named()).partition("?")[0]))
    }
    assert asked == {(route.pattern.pattern, method) for route in ROUTES for method in route.methods}


async def test_a_policy_may_let_all_pass(store: Store, world: World) -> None:
    notes = Notes()
    gate = Gate(Registry(store.names, store.blobs, store.uploads), policies=[notes], log=AccessLog())
    async with connect_app(gate) as client:
        await check(client, Row("GET", "/v2/{repo}/manifests/latest", 200), **world.named())
    assert notes.asked[0] == ("pull", "team/app")
    assert notes.asked[1:] == [("push", "team/app")], "what is kept of a pusher's answer is for pushers"
