"""Tags, the catalog and referrers: complete, sorted, and in pages that add up."""

import json
import re
import string
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.access import Action, Actor, Operation
from registry.api import listings
from registry.api.access_log import AccessLog
from registry.api.gate import Gate
from registry.errors import Denied
from registry.names import RepositoryName, Tag
from registry.registry import Registry
from registry.repository import Repository
from storage.store import Store
from tests.api.rows import Row, check
from tests.api.world import CONFIG, digest, push_blob, push_manifest
from tests.builders import OCI_CONFIG, OCI_IMAGE, OCI_INDEX, JsonObject, descriptor, image, index
from tests.inprocess import connect, connect_app, opened

_LINK = re.compile(r'<(/v2/[^<>"\s]*)>; rel="next"')
CHARACTERS = string.ascii_letters + string.digits + "_.-"
MANY = 2500


async def walk(client: httpx.AsyncClient, target: str, key: str) -> tuple[list[list[str]], list[str]]:
    """The pages that the links lead through, and the links."""
    pages, links = [], []
    while target:
        answer = await client.get(target)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json()[key])
        link = answer.headers.get("Link")
        if link is None:
            break
        found = _LINK.fullmatch(link)
        assert found, link
        target = found[1]
        assert target not in links, "a link leads back"
        links.append(target)
    return pages, links


def flat(pages: list[list[str]]) -> list[str]:
    return [entry for page in pages for entry in page]


@pytest.fixture(scope="module")
async def many(client: httpx.AsyncClient) -> list[str]:
    """The tags of `many/tags`, in bytewise order."""
    names = [f"{prefix}{number}" for number in range(MANY // 5) for prefix in ("v", "V", "v0.", "_", "1-")]
    for start in range(0, len(names), 100):
        await push_manifest(client, "many/tags", index(), "", *names[start : start + 100])
    return sorted(names)


# -- tags -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "pages"), [("", 3), ("n=1000", 3), ("n=999999999", 3), ("n=500", 5), ("n=833", 4)]
)
async def test_pages_of_many_tags(client: httpx.AsyncClient, many: list[str], n: str, pages: int) -> None:
    """T5, T38: never more than a thousand, whatever is asked for."""
    found, links = await walk(client, f"/v2/many/tags/tags/list?{n}", "tags")
    assert flat(found) == many
    assert (len(found), len(links)) == (pages, pages - 1)
    assert all(len(page) == len(found[0]) <= 1000 for page in found[:-1])


@settings(max_examples=25, deadline=None)
@given(
    names=st.sets(
        st.text(CHARACTERS, min_size=1, max_size=4).filter(lambda text: text[0] not in ".-"),
        min_size=1,
        max_size=30,
    ),
    n=st.integers(1, 12),
)
async def test_a_walk_sees_each_tag_once(client: httpx.AsyncClient, names: set[str], n: int) -> None:
    """T4."""
    repository = "walk/" + digest(json.dumps(sorted(names)).encode())[7:23]
    await push_manifest(client, repository, index(), "", *names)
    pages, links = await walk(client, f"/v2/{repository}/tags/list?n={n}", "tags")
    assert flat(pages) == sorted(names)
    assert all(len(page) == n for page in pages[:-1])
    assert len(pages) == -(-len(names) // n)
    for link, page in zip(links, pages, strict=False):
        assert parse_qs(urlsplit(link).query) == {"last": [page[-1]], "n": [str(n)]}
    for position, name in enumerate(sorted(names)):
        answer = await client.get(f"/v2/{repository}/tags/list", params={"last": name})
        assert answer.json()["tags"] == sorted(names)[position + 1 :]


FEW = ["A", "B", "_", "a", "b", "b.1", "b0"]


@pytest.fixture
async def few(client: httpx.AsyncClient, repository: str) -> str:
    await push_manifest(client, repository, index(), "", *FEW)
    return repository


@pytest.mark.parametrize(
    ("query", "tags", "last"),
    [
        ("", FEW, None),
        ("n=7", FEW, None),
        ("n=8", FEW, None),
        ("n=6", FEW[:6], "b.1"),
        ("n=1", ["A"], "A"),
        ("n=001", ["A"], "A"),
        ("n=0", [], None),
        ("n=0&last=A", [], None),
        ("last=A", FEW[1:], None),
        ("last=A&n=2", ["B", "_"], "_"),
        ("n=2&last=A", ["B", "_"], "_"),
        ("last=b0", [], None),
        ("last=zzz&n=1", [], None),
        ("last=aa", ["b", "b.1", "b0"], None),
        ("last=0", FEW, None),
        ("last=", FEW, None),
        ("last=%00", FEW, None),
        ("last=%ff", [], None),
        ("last=A&last=b", FEW[1:], None),
    ],
)
async def test_tags(
    client: httpx.AsyncClient, few: str, query: str, tags: list[str], last: str | None
) -> None:
    link = f'</v2/{few}/tags/list?last={last}&n={{n}}>; rel="next"' if last else None
    holds = json.dumps({"name": few, "tags": tags}).encode()
    row = Row(
        "GET",
        f"/v2/{few}/tags/list?{query}",
        200,
        expect={"Link": link, "Content-Type": "application/json"},
        holds=holds,
    )
    await check(client, row, n=str(len(tags)))


BAD_COUNTS = (
    "-1",
    "+1",
    "abc",
    "",
    "1.0",
    "0x1",
    "1_0",
    "1e3",
    "%D9%A3",
    "%20",
    "1%20",
    "1000000000",
    "9" * 400,
    str(2**64),
)


@pytest.mark.parametrize("n", BAD_COUNTS)
@pytest.mark.parametrize("path", ["_catalog", "{repo}/tags/list", "{repo}/referrers/" + digest(b"x")])
async def test_counts_that_are_none(client: httpx.AsyncClient, few: str, path: str, n: str) -> None:
    row = Row("GET", f"/v2/{path}?n={n}", 400, "UNSUPPORTED", says=("at most nine digits",))
    await check(client, row, repo=few)


async def test_a_repository_without_tags(client: httpx.AsyncClient, repository: str) -> None:
    """Never null, which breaks clients."""
    await push_blob(client, repository, b"{}")
    holds = json.dumps({"name": repository, "tags": []}).encode()
    await check(client, Row("GET", f"/v2/{repository}/tags/list", 200, holds=holds))


# -- the catalog ------------------------------------------------------------------------------------------


class Hidden:
    def allow(self, actor: Actor, operation: Operation) -> None:
        if operation.action is Action.PULL and "secret" in (operation.repository or ""):
            raise Denied("that is secret")


async def test_the_catalog(store: Store, client: httpx.AsyncClient) -> None:
    """T4: names that begin like others, whole and sorted; only what may be read."""
    names = ["a", "a-b", "a.b", "a/b", "a/b/c", "a_b", "aa", "ab", "ab/secret", "b", "secret", "z/secret/z"]
    for name in names:
        await push_blob(client, f"cat/{name}", b"{}")
    everything = sorted(f"cat/{name}" for name in names)
    for n in range(1, len(names) + 2):
        pages, _ = await walk(client, f"/v2/_catalog?last=cas&n={n}", "repositories")
        assert [name for name in flat(pages) if name.startswith("cat/")] == everything
    gate = Gate(Registry(store.names, store.blobs, store.uploads), policies=[Hidden()], log=AccessLog())
    async with connect_app(gate) as reader:
        for n in (1, 2, 5, 100):
            pages, _ = await walk(reader, f"/v2/_catalog?last=cas&n={n}", "repositories")
            assert [name for name in flat(pages) if name.startswith("cat/")] == [
                name for name in everything if "secret" not in name
            ]


async def test_a_link_shows_no_name_that_may_not_be_read(
    store: Store, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where a page ends before one, nor where so many were looked at that it ends early."""
    names = [f"dog/{number:02}{'/secret' if number % 5 else ''}" for number in range(60)]
    for name in names:
        await push_blob(client, name, b"{}")
    readable = [name for name in names if "secret" not in name]
    gate = Gate(Registry(store.names, store.blobs, store.uploads), policies=[Hidden()], log=AccessLog())
    async with connect_app(gate) as reader:
        for most, entries, short in ((20_000, 1000, False), (6, 5, True)):
            monkeypatch.setattr(listings, "_MOST_LOOKED_AT", most)
            monkeypatch.setattr(listings, "MOST_ENTRIES", entries)
            for n in (1, 3, 12, 100):
                pages, links = await walk(reader, f"/v2/_catalog?last=dog&n={n}", "repositories")
                assert [name for name in flat(pages) if name.startswith("dog/")] == readable
                assert not any("secret" in link for link in links)
                assert short or all(len(page) == n for page in pages[:-1])


async def test_an_empty_catalog(tmp_path_factory: pytest.TempPathFactory) -> None:
    with opened(tmp_path_factory.mktemp("empty")) as store:
        async with connect(store) as client:
            for query in ("", "?n=0", "?n=5", "?last=x"):
                row = Row(
                    "GET", f"/v2/_catalog{query}", 200, expect={"Link": None}, holds=b'{"repositories": []}'
                )
                await check(client, row)


async def test_sessions_and_refusals_make_no_repository(client: httpx.AsyncClient, repository: str) -> None:
    await client.post(f"/v2/{repository}/blobs/uploads/")
    await client.put(f"/v2/{repository}/manifests/x", content=image())
    listed = (await client.get("/v2/_catalog", params={"last": repository[:-1], "n": "1000"})).json()[
        "repositories"
    ]
    assert repository not in listed


# -- referrers --------------------------------------------------------------------------------------------

SUBJECT = index(annotations={"the": "subject"})


def referring(number: int, artifact_type: str | None = None, **annotations: str) -> bytes:
    named = {"number": str(number), **annotations}
    return index(subject=descriptor(SUBJECT, OCI_INDEX), artifact_type=artifact_type, annotations=named)


async def referrers(client: httpx.AsyncClient, repository: str, query: str = "") -> list[JsonObject]:
    answer = await client.get(f"/v2/{repository}/referrers/{digest(SUBJECT)}?{query}")
    assert answer.headers["Content-Type"] == OCI_INDEX
    body = answer.json()
    assert (body["schemaVersion"], body["mediaType"]) == (2, OCI_INDEX)
    found: list[JsonObject] = body["manifests"]
    return found


async def test_what_a_referrer_shows(client: httpx.AsyncClient, repository: str) -> None:
    await push_blob(client, repository, CONFIG)
    subject = descriptor(SUBJECT, OCI_INDEX)
    typed = image(
        descriptor(CONFIG, OCI_CONFIG),
        subject=subject,
        artifact_type="application/x.sbom",
        annotations={"k": "é\n"},
    )
    by_config = image(descriptor(CONFIG, "application/x.config"), subject=subject)
    bare = index(subject=subject)
    pushed = (typed, by_config, bare)
    for raw in pushed:
        assert (await push_manifest(client, repository, raw)).headers["OCI-Subject"] == digest(SUBJECT)
    found = {entry["digest"]: entry for entry in await referrers(client, repository)}
    assert found == {
        digest(typed): descriptor(
            typed, OCI_IMAGE, artifactType="application/x.sbom", annotations={"k": "é\n"}
        ),
        digest(by_config): descriptor(by_config, OCI_IMAGE, artifactType="application/x.config"),
        digest(bare): descriptor(bare, OCI_INDEX),
    }


@pytest.mark.parametrize(
    ("artifact_type", "numbers"),
    [
        ("application/x.a", {0, 1}),
        ("application/x.b", {2}),
        ("application/x.c", set()),
        ("application/x", set()),
    ],
)
async def test_the_filter(client: httpx.AsyncClient, artifact_type: str, numbers: set[int]) -> None:
    for number, its_type in enumerate(("application/x.a", "application/x.a", "application/x.b", None)):
        await push_manifest(client, "filtered", referring(number, its_type))
    answer = await client.get(
        f"/v2/filtered/referrers/{digest(SUBJECT)}", params={"artifactType": artifact_type}
    )
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert {int(entry["annotations"]["number"]) for entry in answer.json()["manifests"]} == numbers


async def test_no_filter(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v2/filtered/referrers/{digest(SUBJECT)}?artifactType=")
    assert "OCI-Filters-Applied" not in answer.headers


async def test_pages_of_referrers(client: httpx.AsyncClient, repository: str) -> None:
    raws = [referring(number, f"application/x.{number % 3}") for number in range(31)]
    for raw in raws:
        await push_manifest(client, repository, raw)
    wanted = sorted(digest(raw) for raw in raws)
    for n in (1, 7, 30, 31, 32):
        target, found = f"/v2/{repository}/referrers/{digest(SUBJECT)}?n={n}", []
        while target:
            answer = await client.get(target)
            entries = answer.json()["manifests"]
            assert len(entries) <= n
            found += [entry["digest"] for entry in entries]
            link = _LINK.fullmatch(answer.headers.get("Link", ""))
            target = link[1] if link else ""
        assert sorted(found) == wanted
    answer = await client.get(
        f"/v2/{repository}/referrers/{digest(SUBJECT)}?n=4&artifactType=application/x.1"
    )
    followed = await client.get(answer.links["next"]["url"])
    assert followed.headers["OCI-Filters-Applied"] == "artifactType"
    assert {entry["artifactType"] for entry in followed.json()["manifests"]} == {"application/x.1"}


async def test_a_page_of_referrers_is_bounded(client: httpx.AsyncClient, repository: str) -> None:
    """T38: each may carry megabytes of annotations."""
    for number in range(5):
        await push_manifest(client, repository, referring(number, None, filler="x" * 1_500_000))
    target, found, sizes = f"/v2/{repository}/referrers/{digest(SUBJECT)}", [], []
    while target:
        answer = await client.get(target)
        sizes.append(len(answer.content))
        found += answer.json()["manifests"]
        link = _LINK.fullmatch(answer.headers.get("Link", ""))
        target = link[1] if link else ""
    assert len(found) == 5
    assert max(sizes) < 6_000_000


async def test_many_referrers(client: httpx.AsyncClient, store: Store) -> None:
    """T38, without HTTP for the pushes: 1,100 of them are two pages."""
    repository = Repository(
        Registry(store.names, store.blobs, store.uploads), RepositoryName("many/referrers")
    )
    for number in range(1100):
        await repository.put_manifest(Tag("latest"), referring(number), None)
    first = await client.get(f"/v2/many/referrers/referrers/{digest(SUBJECT)}")
    second = await client.get(first.links["next"]["url"])
    assert (len(first.json()["manifests"]), len(second.json()["manifests"])) == (1000, 100)
    assert "next" not in second.links


@pytest.mark.parametrize(
    "last", ["x", "@", "a@b", "application/x@sha256:abc", "%00", "sha256:" + "0" * 64 + "@"]
)
async def test_positions_that_are_none(client: httpx.AsyncClient, last: str) -> None:
    row = Row(
        "GET",
        f"/v2/filtered/referrers/{digest(SUBJECT)}?last={last}",
        400,
        "UNSUPPORTED",
        says=("from a Link",),
    )
    await check(client, row)


async def test_referrers_come_and_go(client: httpx.AsyncClient, repository: str) -> None:
    raws = [referring(number) for number in range(3)]
    for raw in raws:
        await push_manifest(client, repository, raw)
    await check(client, Row("DELETE", f"/v2/{repository}/manifests/{digest(raws[0])}", 202))
    left = {entry["digest"] for entry in await referrers(client, repository)}
    assert left == {digest(raw) for raw in raws[1:]}
    # The subject's own coming and going changes nothing.
    await push_manifest(client, repository, SUBJECT)
    await check(client, Row("DELETE", f"/v2/{repository}/manifests/{digest(SUBJECT)}", 202))
    assert len(await referrers(client, repository)) == 2
    assert await referrers(client, f"{repository}/b") == []


@pytest.mark.parametrize("text", ["sha256:abc", "latest", "sha256:" + "A" * 64, "sha256:", ":", "x" * 300])
async def test_referrers_of_no_digest(client: httpx.AsyncClient, text: str) -> None:
    await check(client, Row("GET", f"/v2/filtered/referrers/{text}", 400, "DIGEST_INVALID"))


@pytest.mark.parametrize(
    "text", [digest(b"", "sha512"), "sha256:" + "0" * 64, "blake3:abc", "sha256+b64u:LCa0a2j"]
)
async def test_referrers_of_any_digest(client: httpx.AsyncClient, text: str) -> None:
    """Also of algorithms that this registry does not keep: a manifest may name such a subject."""
    raw = index(subject={"mediaType": OCI_IMAGE, "digest": text, "size": 5})
    pushed = await push_manifest(client, "subjects", raw)
    assert pushed.headers["OCI-Subject"] == text
    answer = await client.get(f"/v2/subjects/referrers/{text}")
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [digest(raw)]
