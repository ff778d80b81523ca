"""Mounts: a blob taken from another repository, and all the ways to be refused alike (T11, T12)."""

import re
from urllib.parse import quote

import httpx
import pytest

from registry.access import Action, Actor, Operation
from registry.api.access_log import AccessLog
from registry.api.gate import Gate
from registry.errors import Denied
from registry.registry import Registry
from storage.store import Store
from tests.api.rows import Row, check
from tests.api.world import begin, digest, push_blob
from tests.inprocess import connect_app

DATA = b"to be mounted"
NAMED = digest(DATA)


class Closed:
    """Nobody reads what is below `closed/`."""

    def allow(self, actor: Actor, operation: Operation) -> None:
        if operation.action is Action.PULL and (operation.repository or "").startswith("closed/"):
            raise Denied("closed/ is closed")


@pytest.fixture
def guarded(store: Store) -> httpx.AsyncClient:
    return connect_app(
        Gate(Registry(store.names, store.blobs, store.uploads), policies=[Closed()], log=AccessLog())
    )


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize(
    "query",
    [
        "mount={digest}&from={source}",
        "from={source}&mount={digest}",
        "mount={digest}",
        "mount={escaped}&from={source_escaped}",
        "mount={digest}&from={source}&origin=docker.io",
    ],
)
async def test_mounts(client: httpx.AsyncClient, repository: str, query: str, algorithm: str) -> None:
    source = f"{repository}/source"
    named = await push_blob(client, source, DATA, algorithm)
    text = query.format(
        digest=named, source=source, escaped=quote(named, safe=""), source_escaped=quote(source, safe="")
    )
    row = Row(
        "POST",
        f"/v2/{repository}/blobs/uploads/?{text}",
        201,
        expect={"Location": f"/v2/{repository}/blobs/{named}", "Docker-Content-Digest": named},
        holds=b"",
    )
    await check(client, row)
    await check(client, Row("GET", f"/v2/{repository}/blobs/{named}", 200, holds=DATA))
    # What was mounted does not depend on where it came from.
    await check(client, Row("DELETE", f"/v2/{source}/blobs/{named}", 202))
    await check(client, Row("GET", f"/v2/{repository}/blobs/{named}", 200, holds=DATA))


async def test_a_mount_of_what_is_here(client: httpx.AsyncClient, repository: str) -> None:
    """Only the source counts that was named."""
    await push_blob(client, repository, DATA)
    for source, status in ((repository, 201), ("none", 202)):
        target = f"/v2/{repository}/blobs/uploads/?mount={NAMED}&from={source}"
        await check(client, Row("POST", target, status))


REFUSED = {
    "an unknown repository": f"mount={NAMED}&from=none/at/all",
    "an empty repository": f"mount={NAMED}&from=own/emptied",
    "a repository without the blob": f"mount={digest(b'else')}&from=own/full",
    "a closed repository": f"mount={NAMED}&from=closed/full",
    "a closed repository without the blob": f"mount={NAMED}&from=closed/none",
    "a malformed name": f"mount={NAMED}&from=../../etc",
    "an empty name": f"mount={NAMED}&from=",
    "a name that is too long": f"mount={NAMED}&from={'a' * 300}",
    "a name with a line feed": f"mount={NAMED}&from=a%0ab",
    "nobody has it": f"mount={digest(b'never')}",
    "only a closed repository has it": f"mount={digest(b'secret')}",
}


def anonymised(response: httpx.Response) -> dict[str, str]:
    """All headers, with the ids, which differ always, replaced by one."""
    return {
        name: re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}", "ID", value)
        for name, value in response.headers.items()
    }


async def test_refusals_look_alike(
    client: httpx.AsyncClient, guarded: httpx.AsyncClient, repository: str
) -> None:
    """T12: a session begins, and nothing tells what exists and may not be read from what does not."""
    await push_blob(client, "own/emptied", DATA)
    await check(client, Row("DELETE", f"/v2/own/emptied/blobs/{NAMED}", 202))
    await push_blob(client, "own/full", b"another")
    await push_blob(client, "closed/full", DATA)
    await push_blob(client, "closed/full", b"secret")
    plain = await guarded.post(f"/v2/{repository}/blobs/uploads/")
    for why, query in REFUSED.items():
        answer = await guarded.post(f"/v2/{repository}/blobs/uploads/?{query}")
        assert (answer.status_code, answer.content) == (202, b""), why
        assert anonymised(answer) == anonymised(plain), why
        # The session works.
        closing = {"digest": digest(why.encode())}
        closed = await guarded.put(answer.headers["Location"], params=closing, content=why.encode())
        assert closed.status_code == 201
    await check(guarded, Row("HEAD", f"/v2/{repository}/blobs/{NAMED}", 404))
    await check(guarded, Row("HEAD", f"/v2/{repository}/blobs/{digest(b'secret')}", 404))


async def test_an_open_source_is_found_beside_closed_ones(
    client: httpx.AsyncClient, guarded: httpx.AsyncClient, repository: str
) -> None:
    for name in ("closed/a", "closed/b", f"{repository}/z"):
        await push_blob(client, name, b"everywhere")
    target = f"/v2/{repository}/blobs/uploads/?mount={digest(b'everywhere')}"
    await check(guarded, Row("POST", f"{target}&from=closed/a", 202))
    await check(guarded, Row("POST", target, 201))


async def test_bytes_elsewhere_are_not_readable_here(client: httpx.AsyncClient, repository: str) -> None:
    """T11: the store has the bytes once, but only a repository's own link shows them."""
    await push_blob(client, f"{repository}/source", b"only there")
    target = f"/v2/{repository}/blobs/{digest(b'only there')}"
    for method in ("GET", "HEAD", "DELETE"):
        await check(client, Row(method, target, 404, "BLOB_UNKNOWN"))


@pytest.mark.parametrize("text", ["", "sha256:abc", "md5:" + "0" * 32, "sha256:" + "A" * 64])
async def test_a_mount_of_no_digest(client: httpx.AsyncClient, repository: str, text: str) -> None:
    row = Row("POST", f"/v2/{repository}/blobs/uploads/?mount={text}&from=own", 400, "DIGEST_INVALID")
    await check(client, row)


async def test_an_unwanted_session_is_deleted(client: httpx.AsyncClient, repository: str) -> None:
    """What podman does after a 202."""
    upload = await begin(client, repository)
    await check(client, Row("DELETE", f"/v2/{repository}/blobs/uploads/{upload}", 204))
