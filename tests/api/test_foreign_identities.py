"""A job that has nothing but its CI system's token: what it may do, for how long, and who else may not."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from registry.access import Action
from registry.app import build
from registry.auth.issuer_settings import Issuer
from registry.auth.rules import Entry
from registry.settings import Settings
from storage.store import Store
from tests.auth.issuing import AUDIENCE, Site, claims_of, key_for, published, serving, signed
from tests.inprocess import connect_app

PUSH = frozenset({Action.PULL, Action.PUSH})
SCOPE = "repository:acme/app:pull,push"
UPLOADS = "/v2/acme/app/blobs/uploads/"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        site.publish(published(key_for("ES256"), "one"))
        yield site


@dataclass(frozen=True, slots=True)
class Job:
    client: httpx.AsyncClient
    issuer: str

    def token(self, **more: object) -> str:
        now = int(time.time())
        usual: dict[str, object] = {"repository": "acme/app", "iat": now, "exp": now + 120}
        claims = claims_of(self.issuer, **(usual | more))
        return signed("ES256", key_for("ES256"), {"alg": "ES256", "kid": "one"}, claims)

    async def exchange(self, token: str) -> httpx.Response:
        return await self.client.get("/token", params={"scope": SCOPE}, auth=("oidc", token))

    async def begin(self, authorization: str) -> int:
        return (await self.client.post(UPLOADS, headers={"Authorization": authorization})).status_code


@pytest.fixture
async def job(store: Store, site: Site) -> AsyncIterator[Job]:
    settings = Settings(
        root=store.layout.root,
        anonymous="none",
        access=(Entry(("acme/app",), PUSH, groups=("ci:repository=acme/app",)),),
        issuers=(Issuer("ci", site.url, AUDIENCE, groups=("repository",), algorithms=("ES256",)),),
    )
    async with connect_app(build(store, settings)) as client:
        yield Job(client, site.url)


async def test_its_token_lets_it_push(job: Job) -> None:
    assert await job.begin(f"Bearer {job.token()}") == 202
    answer = await job.exchange(job.token())
    assert answer.status_code == 200, answer.text
    assert await job.begin(f"Bearer {answer.json()['token']}") == 202
    assert 100 < answer.json()["expires_in"] <= 120  # no longer than the token that it was given for


async def test_another_job_gets_nothing(job: Job) -> None:
    other = job.token(repository="evil/app")
    assert await job.begin(f"Bearer {other}") == 403
    answer = await job.exchange(other)
    assert await job.begin(f"Bearer {answer.json()['token']}") in (401, 403)


async def test_a_bad_token_is_refused_everywhere(job: Job) -> None:
    for bad in (job.token(exp=1), job.token(aud="elsewhere"), job.token() + "A"):
        assert await job.begin(f"Bearer {bad}") == 401
        assert (await job.exchange(bad)).status_code == 401
