"""A registry as a test has it, in both of its forms."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from oci_registry_testing import (
    CannotStart,
    Registry,
    Request,
    make_artifact,
    make_broken,
    make_image,
    make_index,
)
from oci_registry_testing.manifests import OCI_IMAGE, digest_of
from oci_registry_testing.pushing import PushRefused
from registry.testing.effects import Refuse
from registry.testing.faults import Fault
from tests.certificates import make_certificate
from tests.oci_registry_testing.asking import ask

FORMS = pytest.mark.parametrize("isolated", [False, True], ids=["inside", "isolated"])


@pytest.fixture(scope="module", params=[False, True], ids=["inside", "isolated"])
def shared(request: pytest.FixtureRequest) -> Iterator[Registry]:
    with Registry(isolated=request.param) as registry:
        yield registry


@pytest.fixture
def registry(shared: Registry) -> Iterator[Registry]:
    """Empty before each test: by `reset`, which is thereby tried as often."""
    shared.reset()
    yield shared
    shared.fail()


def get(registry: Registry, path: str) -> httpx.Response:
    return ask("GET", f"{registry.url}/v2/{path}")


def test_threads_may_ask_at_once(registry: Registry) -> None:
    """As a test does that pushes from several."""
    image = registry.push_image("app:v1")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: ask_in_turn(registry, image.digest, number), range(200)))
    assert all(found)


def ask_in_turn(registry: Registry, digest: str, number: int) -> bool:
    if number % 2:
        return registry.requests == ()
    return registry.blob(digest) is not None


# -- what is put in ------------------------------------------------------------------------------------


def test_an_image_can_be_pulled_whole(registry: Registry) -> None:
    pushed = registry.push_image("team/app:v1", {"etc/motd": "hello\n"}, config={"Env": ["A=B"]})
    assert pushed.ref == f"{registry.host}/team/app:v1"
    assert (pushed.repository, pushed.tag) == ("team/app", "v1")
    found = get(registry, "team/app/manifests/v1")
    assert found.headers["Docker-Content-Digest"] == pushed.digest == digest_of(found.content)
    manifest = found.json()
    for named in (manifest["config"], *manifest["layers"]):
        data = get(registry, f"team/app/blobs/{named['digest']}").content
        assert (digest_of(data), len(data)) == (named["digest"], named["size"])
        assert registry.blob(named["digest"]) == data
    assert json.loads(registry.blob(manifest["config"]["digest"]))["config"] == {"Env": ["A=B"]}


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("app", "app:latest"),
        ("app:v1", "app:v1"),
        ("docker.io/library/app:v1", "library/app:v1"),
        ("localhost:5000/app:v1", "app:v1"),
    ],
)
def test_an_image_goes_where_its_reference_says(registry: Registry, reference: str, place: str) -> None:
    assert registry.push_image(reference).ref == f"{registry.host}/{place}"
    assert [f"{each.repository}:{tag}" for each in registry.manifests() for tag in each.tags] == [place]


def test_an_artifact_is_found_by_what_it_refers_to(registry: Registry) -> None:
    image = registry.push_image("app:v1")
    artifact = registry.push_artifact("app", {"a.txt": "a"}, "application/vnd.test", subject=image)
    assert artifact.ref == f"{registry.host}/app@{artifact.digest}"
    listed = get(registry, f"app/referrers/{image.digest}").json()["manifests"]
    assert [(each["digest"], each["artifactType"]) for each in listed] == [
        (artifact.digest, "application/vnd.test")
    ]


def test_a_digest_is_held_to(registry: Registry) -> None:
    image, other = make_image(), make_artifact()
    assert registry.push(f"app@{image.digest}", image).digest == image.digest
    with pytest.raises(ValueError, match="names another digest"):
        registry.push(f"app@{other.digest}", image)


def test_a_mapping_seeds_images(registry: Registry) -> None:
    index = make_index()
    pushed = registry.seed({"a:1": {"f": "g"}, "b:2": [b"one", {"two": "2"}], "c:3": index})
    assert [each.reference.place for each in pushed] == ["a:1", "b:2", "c:3"]
    assert [len(each.content.blobs) for each in pushed] == [2, 3, 0]
    tagged = {tag: each for each in registry.manifests() for tag in each.tags}
    assert tagged["3"].manifest == index.manifest
    assert len(registry.manifests()) == 5  # the index and its two images


def test_sparse_content_is_taken(registry: Registry) -> None:
    image = make_image()
    registry.push("app:v1", image.without())
    assert get(registry, "app/manifests/v1").content == image.manifest
    layer = json.loads(image.manifest)["layers"][0]["digest"]
    assert get(registry, f"app/blobs/{layer}").status_code == 404
    with pytest.raises(KeyError):
        registry.blob(layer)


def test_what_is_planted_is_served_as_it_is(registry: Registry) -> None:
    broken = make_broken("cut")
    digest = registry.plant("app:v1", broken)
    assert digest == broken.digest
    assert registry.plant("app", b"nonsense", "text/plain") == digest_of(b"nonsense")
    found = get(registry, "app/manifests/v1")
    assert (found.content, found.headers["Content-Type"]) == (broken.manifest, OCI_IMAGE)
    other = get(registry, f"app/manifests/{digest_of(b'nonsense')}")
    assert (other.content, other.headers["Content-Type"]) == (b"nonsense", "text/plain")


def test_what_cannot_be_pushed_says_why(registry: Registry) -> None:
    with pytest.raises(PushRefused, match="is not a repository name"):
        registry.push_image("App:v1")
    with pytest.raises(Exception, match="is not a repository name"):
        registry.plant("App:v1", b"")


# -- what is remembered --------------------------------------------------------------------------------


def test_requests_are_there_as_soon_as_their_answers(registry: Registry) -> None:
    registry.push_image("app:v1")
    assert list(registry.requests) == []
    for number in range(50):  # the second of them would be answered from memory
        size = len(get(registry, "app/manifests/v1").content)
        assert len(registry.requests) == number + 1
    last = list(registry.requests)[-1]
    assert (last.method, last.path, last.query, last.status) == ("GET", "/v2/app/manifests/v1", "", 200)
    assert (last.bytes, last.who, last.headers["host"]) == (size, "", registry.host)
    assert str(last) == f"GET /v2/app/manifests/v1 → 200, {size} bytes"
    ask("GET", f"{registry.url}/v2/app/tags/list?n=1", headers=[("X-A", "1"), ("x-a", "2")])
    last = list(registry.requests)[-1]
    assert (last.target, last.headers["x-a"]) == ("/v2/app/tags/list?n=1", "1, 2")
    registry.forget_requests()
    assert list(registry.requests) == []


def test_large_blobs_count_to_the_byte(registry: Registry) -> None:
    """They are sent from the file, and taken from the socket, past ASGI's messages."""
    data = bytes(3 * 2**20)
    url = f"{registry.url}/v2/app/blobs"
    assert ask("POST", f"{url}/uploads/?digest={digest_of(data)}", content=data).status_code == 201
    assert ask("GET", f"{url}/{digest_of(data)}").content == data
    assert [(each.method, each.status, each.bytes) for each in registry.requests] == [
        ("POST", 201, 0),
        ("GET", 200, len(data)),
    ]


def test_a_restart_keeps_content_address_and_requests(registry: Registry) -> None:
    pushed = registry.push_image("app:v1")
    url = registry.url
    with httpx.Client(verify=False) as client:
        assert client.get(f"{url}/v2/").status_code == 200
        registry.restart()
        assert registry.url == url
        found = client.get(f"{url}/v2/app/manifests/v1")
    assert found.headers["Docker-Content-Digest"] == pushed.digest
    assert len(registry.requests) == 2


def test_a_reset_empties_it(registry: Registry) -> None:
    registry.push_image("app:v1")
    get(registry, "")
    registry.fail({"do": "refuse", "status": 503})
    assert get(registry, "").status_code == 503
    url = registry.url
    registry.reset()
    assert (registry.manifests(), registry.requests, registry.fired, registry.url) == ([], (), (), url)
    assert get(registry, "").status_code == 200


@pytest.mark.parametrize(
    "fault",
    [{"do": "refuse", "status": 429, "retry_after": 7}, Fault(Refuse(429, 7))],
    ids=["table", "object"],
)
def test_faults_come_and_go(registry: Registry, fault: Fault | dict[str, object]) -> None:
    registry.push_image("app:v1")
    registry.fail(fault)
    registry.push_image("app:v2")  # past them
    refused = get(registry, "app/manifests/v1")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
    assert [(each.method, each.path, each.fault["do"]) for each in registry.fired] == [
        ("GET", "/v2/app/manifests/v1", "refuse")
    ]
    assert [each.status for each in registry.requests] == [429]
    registry.fail()
    assert get(registry, "app/manifests/v1").status_code == 200


# -- how it is made ------------------------------------------------------------------------------------


@FORMS
def test_users_have_to_log_in_and_are_named(isolated: bool) -> None:
    with Registry(isolated=isolated, users={"ann": "secret", "bob": "x"}) as registry:
        assert registry.login == ("ann", "secret")
        registry.push_image("app:v1")
        url = f"{registry.url}/v2/app/manifests/v1"
        assert ask("GET", url).status_code == 401
        assert ask("GET", url, auth=registry.login).status_code == 200
        assert ask("GET", url, auth=("bob", "x")).status_code == 200
        assert [(each.status, each.who) for each in registry.requests] == [
            (401, ""),
            (200, "ann"),
            (200, "bob"),
        ]
        registry.reset()
        assert ask("GET", f"{registry.url}/v2/", auth=registry.login).status_code == 200


@FORMS
def test_tls_is_trusted_by_its_authority(isolated: bool) -> None:
    with Registry(isolated=isolated, tls=True) as registry:
        trusted = ssl.create_default_context(cafile=registry.authority)
        pushed = registry.push_image("app:v1")
        with httpx.Client(verify=trusted) as client:
            assert registry.url.startswith("https://")
            found = client.get(f"{registry.url}/v2/app/manifests/v1")
            assert digest_of(found.content) == pushed.digest
            registry.reset()
            assert client.get(f"{registry.url}/v2/").status_code == 200  # by the same authority


@FORMS
@pytest.mark.parametrize("settings", [{"tls": True}, {"tls_self_signed": True}], ids=["tls", "setting"])
def test_its_certificate_may_have_more_names(isolated: bool, settings: dict[str, Any]) -> None:
    with Registry(isolated=isolated, tls_names=["registry.lan"], **settings) as registry:
        pushed = registry.push_image("app:v1")
        trusted = ssl.create_default_context(cafile=registry.authority)
        with httpx.Client(verify=trusted) as client:
            named = {"sni_hostname": "registry.lan"}
            found = client.get(f"{registry.url}/v2/app/manifests/v1", extensions=named)
            assert digest_of(found.content) == pushed.digest


@FORMS
def test_a_certificate_of_ones_own(isolated: bool, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    with Registry(isolated=isolated, tls_cert=str(made.cert), tls_key=str(made.key)) as registry:
        pushed = registry.push_image("app:v1")
        with httpx.Client(verify=ssl.create_default_context(cafile=str(made.cert))) as client:
            found = client.get(f"{registry.url}/v2/app/manifests/v1")
            assert digest_of(found.content) == pushed.digest


@FORMS
def test_profiles_faults_and_settings_are_passed_on(isolated: bool) -> None:
    faults = [{"do": "refuse", "status": 500, "route": "catalog"}]
    with Registry(isolated=isolated, profile="dev", faults=faults, delete=False) as registry:
        pushed = registry.push_image("app:v1")
        assert get(registry, "_catalog").status_code == 500
        assert ask("DELETE", f"{registry.url}/v2/app/manifests/{pushed.digest}").status_code == 405


@FORMS
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"profile": "unheard-of"}, "no profile 'unheard-of'"),
        ({"faults": [{"do": "explode"}]}, "explode"),
        ({"delte": False}, "delte is no setting; did you mean delete"),
        ({"port": "x"}, "port = 'x'.*expected a whole number"),
        ({"host": "192.0.2.1", "anonymous": "push"}, "assign requested address"),
        ({"users": {"a:b": "x"}}, "users: 'a:b' is no user name"),
        ({"users": {"ann": "x" * 73}}, "the password of ann: expected 1 to 72 bytes"),
        ({"tls": True, "tls_cert": "/a", "tls_key": "/b"}, "give one of the two"),
    ],
)
def test_what_cannot_start_says_why(isolated: bool, wrong: dict[str, object], said: str) -> None:
    registry = Registry(isolated=isolated, **wrong)  # type: ignore[arg-type]
    with pytest.raises(CannotStart, match=said):
        registry.start()
    with pytest.raises(RuntimeError, match="is not running"):
        registry.restart()


@FORMS
async def test_async_programs_have_it_too(isolated: bool) -> None:
    async with Registry(isolated=isolated) as registry, httpx.AsyncClient(base_url=registry.url) as client:
        registry.push_image("app:v1")
        answers = await asyncio.gather(*(client.get("/v2/app/manifests/v1") for _ in range(8)))
        assert {each.status_code for each in answers} == {200}
        assert len(registry.requests) == 8


@pytest.mark.parametrize("wrong", [{"do": "cut"}, "cut", [None]], ids=str)
def test_what_is_no_list_of_faults_says_so(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a list of tables"):
        Registry(faults=wrong)


def test_a_registry_that_does_not_run_says_what_to_do() -> None:
    registry = Registry()
    for use in (lambda: registry.url, lambda: registry.requests, registry.reset):
        with pytest.raises(RuntimeError, match=r"use `with Registry\(\) as r:`"):
            use()
    registry.stop()
    with registry:
        with pytest.raises(RuntimeError, match="has been started"):
            registry.start()
        with pytest.raises(RuntimeError, match="Registry\\(tls=True\\)"):
            _ = registry.authority
        with pytest.raises(RuntimeError, match="Registry\\(users="):
            _ = registry.login
    with registry:  # once more
        assert get(registry, "").status_code == 200


def test_registry_testing_has_the_same_names() -> None:
    import oci_registry_testing
    import registry.testing

    for name in oci_registry_testing.__all__:
        assert getattr(registry.testing, name) is getattr(oci_registry_testing, name)
    with pytest.raises(AttributeError, match="has no attribute 'Registri'"):
        getattr(oci_registry_testing, "Registri")  # noqa: B009


def test_a_request_without_an_answer_says_so() -> None:
    asked = Request("GET", "/v2/", "", {}, 0, 0, "ann", 0.0)
    assert str(asked) == "GET /v2/ → no answer, 0 bytes by ann"
