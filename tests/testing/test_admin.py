"""`/_test/faults`: what a test in any language can do with it, and who cannot."""

from collections.abc import AsyncIterator

import httpx
import pytest

from registry.app import build
from registry.settings import Settings
from registry.testing.admin import PATH
from registry.testing.effects import Refuse
from registry.testing.faults import Fault, Faults
from registry.testing.profiles import NONE
from registry.testing.wrapping import wrap
from storage.store import Store
from tests.inprocess import connect_app

pytestmark = pytest.mark.anyio

FAULTS = Faults()
ENTRY = {"do": "refuse", "status": 429, "nth": 1}


@pytest.fixture
async def tested(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    FAULTS.clear()
    FAULTS.fired.clear()
    app = build(store, Settings(root=store.layout.root, access_log=False))
    async with connect_app(wrap(app, NONE, FAULTS, admin=True)) as client:
        yield client


async def test_faults_are_set_happen_and_are_listed(tested: httpx.AsyncClient) -> None:
    assert (await tested.get(PATH)).json() == {"fault": [], "fired": []}
    toml = '[[fault]]\ndo = "refuse"\nstatus = 429\nnth = 1\n'
    assert (await tested.put(PATH, content=toml)).json() == {"fault": [ENTRY], "fired": []}
    assert [(await tested.get("/v2/")).status_code for _ in range(2)] == [429, 200]
    fired = [{"fault": ENTRY, "method": "GET", "path": "/v2/"}]
    assert (await tested.get(PATH)).json() == {"fault": [ENTRY], "fired": fired}


async def test_json_adds_more_and_delete_ends_them(tested: httpx.AsyncClient) -> None:
    await tested.put(PATH, json={"fault": [ENTRY]})
    more = {"do": "refuse", "status": 500, "method": ["PUT"]}
    assert (await tested.post(PATH, json={"fault": [more]})).json()["fault"] == [ENTRY, more]
    assert FAULTS.faults == (Fault(Refuse(429), nth=1), Fault(Refuse(500), method=("PUT",)))
    assert (await tested.delete(PATH)).json()["fault"] == []
    assert (await tested.get("/v2/")).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"fault = 1", "application/toml", "a list of tables"),
        (b"{", "application/json", "no JSON"),
        (b"[]", "application/json", "tables [[fault]]"),
        (b'{"fault": [{"do": "x"}]}', "application/json", "entry 1: do = 'x'"),
        (b"\xff", "application/toml", "no text"),
        (b"\xff", "application/json", "no JSON"),
        (b'{"fault": [{"do": "cut", "after": %b}]}' % (b"9" * 5000), "application/json", "no JSON"),
        (b"[" * 100_000, "application/json", "no JSON"),
        (b"fault = " + b"[" * 10_000, "application/toml", "not TOML"),
        (b"#" * (2**20 + 1), "application/toml", "more than"),
    ],
)
async def test_a_mistake_changes_nothing(
    tested: httpx.AsyncClient, content: bytes, kind: str, said: str
) -> None:
    await tested.put(PATH, json={"fault": [ENTRY]})
    refused = await tested.put(PATH, content=content, headers={"Content-Type": kind})
    assert refused.status_code == 400
    assert said in refused.json()["error"]
    assert (await tested.get(PATH)).json()["fault"] == [ENTRY]


async def test_other_methods_and_web_pages_are_refused(tested: httpx.AsyncClient) -> None:
    assert (await tested.patch(PATH)).status_code == 405
    page = {"Origin": "https://example.com"}
    assert (await tested.put(PATH, json={"fault": [ENTRY]}, headers=page)).status_code == 403
    assert FAULTS.faults == ()


async def test_nobody_finds_it_where_no_faults_were_asked_for(client: httpx.AsyncClient) -> None:
    assert (await client.get(PATH)).status_code == 404


async def test_faults_of_python_are_no_way_in(store: Store) -> None:
    app = wrap(build(store, Settings(root=store.layout.root, access_log=False)), NONE, Faults())
    async with connect_app(app) as client:
        assert (await client.get(PATH)).status_code == 404
