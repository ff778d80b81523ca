"""schemathesis against a real server: what docs/openapi.json says is all that ever comes back (T40)."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation.stateful import run_state_machine_as_test
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from registry.api import errors
from registry.api.routes import ROUTES
from tests.api.world import DOCKER, IMAGE, INDEX, LAYER, REFERRER, REPOSITORY, SPARE, digest
from tests.fuzz import document, tiers
from tests.fuzz.arena import USER, Arena, attacked

TURNS = 2
EXAMPLES = 12  # for each operation and mode, in each turn
SCENARIOS = 10  # in each turn
SCOPE = f"repository:{REPOSITORY}:pull,push"
NAMES = [REPOSITORY, "other/app"]
STEPS = 8


def light(value: Any) -> Any:
    """With two names instead of the expression for all of them, which takes 100 ms to be met by chance.

    Only of what is sent: a wrong name such as `false`, which is no string, is a good one in a path, and so in
    the answer.
    """
    if value == document.NAME:
        return {"enum": NAMES}
    if isinstance(value, dict):
        return {key: each if key == "schemas" else light(each) for key, each in value.items()}
    return [light(each) for each in value] if isinstance(value, list) else value


SCHEMA = schemathesis.openapi.from_dict(light(document.document()))
OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok)]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
Case = schemathesis.Case[Any]
Operation = schemathesis.schemas.APIOperation[Any, Any, Any, Any]


def test_the_document_is_up_to_date() -> None:
    assert document.PAGE.read_text() == document.render(), "type: python -m tests.fuzz.document"


def test_the_document_is_valid() -> None:
    schemathesis.openapi.from_dict(document.document()).validate()


def test_the_document_has_every_route_and_status() -> None:
    said = document.document()
    paths = {path: {method.upper() for method in methods} for path, methods in said["paths"].items()}
    for route in ROUTES:
        assert paths.pop(document.template(route)) == set(route.methods)
    assert set(paths) == {"/healthz", "/livez", "/readyz", "/token"}
    statuses = {
        int(each) for methods in said["paths"].values() for op in methods.values() for each in op["responses"]
    }
    assert {status for status, _ in errors.TABLE.values()} - {errors.CLIENT_GONE} <= statuses


def test_answers_are_held_against_the_document_itself() -> None:
    """A push to `false`, a wrong name where only two are right, was answered well, and failed."""
    said = document.document()
    assert light(said)["components"] == said["components"]
    assert light(said)["paths"] != said["paths"]


class Plain(HTTPAdapter):
    """Sends a name's slashes as they are, for which OpenAPI has no word."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        assert request.url
        path, query, rest = request.url.partition("?")
        request.url = path.replace("%2F", "/") + query + rest
        return super().send(request, *args, **kwargs)


def connect(arena: Arena) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.auth = USER
    session.mount("http://", Plain())
    return session


def real(uploads: tuple[str, ...]) -> dict[tuple[str, str], st.SearchStrategy[Any]]:
    """What there is, for parameters that are right by chance only once in 2**256 times."""
    names = st.sampled_from(NAMES)
    digests = st.sampled_from([digest(each) for each in (LAYER, SPARE, IMAGE, INDEX, b"", b"absent")])
    tags = st.sampled_from(["latest", "all", "docker", "wide", "new"])
    return {
        ("path_parameters", "name"): names,
        ("path_parameters", "digest"): digests,
        ("path_parameters", "subject"): st.just(digest(IMAGE)),
        ("path_parameters", "reference"): st.one_of(tags, st.just(digest(IMAGE))),
        ("path_parameters", "upload"): st.sampled_from(uploads),
        ("query", "digest"): digests,
        ("query", "mount"): digests,
        ("query", "from"): names,
        ("query", "scope"): st.sampled_from([[SCOPE], [SCOPE, "registry:catalog:*"], [f"{SCOPE} {SCOPE}"]]),
        ("query", "offline_token"): st.sampled_from(["true", "1", "no"]),
        ("headers", "Range"): st.sampled_from(["bytes=0-0", "bytes=0-1,5-9,-1", "bytes=99999-", "bytes=5-4"]),
        ("headers", "If-Match"): st.sampled_from(["*", f'"{digest(IMAGE)}"']),
        ("headers", "Content-Range"): st.sampled_from(["0-3", "4-7", "9-1"]),
    }


BODIES = st.sampled_from([b"", b"four", LAYER, SPARE, IMAGE, INDEX, DOCKER, REFERRER])


@st.composite
def aimed(
    draw: st.DrawFn, cases: st.SearchStrategy[Case], truth: dict[tuple[str, str], st.SearchStrategy[Any]]
) -> Case:
    """A case of which some values, but seldom all, are those of what there is."""
    case = draw(cases)
    likely = draw(st.sampled_from([0, 5, 9, 10]))
    for (place, name), values in truth.items():
        container = getattr(case, place)
        if container is not None and name in container and draw(st.integers(0, 9)) < likely:
            container[name] = draw(values)
    return case


def bounded(examples: int, **more: Any) -> settings:
    every = list(HealthCheck)
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=every,
        **more,
    )


def run(arena: Arena, session: requests.Session, cases: st.SearchStrategy[Case], number: int) -> None:
    @seed(number)
    @bounded(EXAMPLES)
    @given(case=cases)
    def send(case: Case) -> None:
        response = case.call(base_url=arena.url, session=session)
        case.validate_response(response, checks=CHECKS)

    send()


def modes(operation: Operation) -> list[GenerationMode]:
    """Nothing can be wrong with what has no parameters."""
    varied = operation.definition.raw["parameters"] or operation.body
    return [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if varied else [])]


def turns(share: float) -> Iterator[int]:
    """Seeds: some, or as many as there is time for."""
    first, end = tiers.seed(), time.monotonic() + tiers.SECONDS * share
    print(f"FUZZ_SEED={first}")
    last = first + TURNS - 1
    yield first
    while first < last or time.monotonic() < end:
        first += 1
        yield first


@pytest.mark.timeout(tiers.SECONDS * tiers.API + 300)
def test_answers_are_those_of_the_document(say: Callable[[str], None]) -> None:
    with attacked("schemathesis", say, users=True) as arena, connect(arena) as session:
        truth = real(arena.uploads)
        cases = [
            aimed(operation.as_strategy(generation_mode=mode), truth)
            for operation in OPERATIONS
            for mode in modes(operation)
        ]
        for number in turns(tiers.API):
            for each in cases:
                run(arena, session, each, number)
            arena.note_memory()
    done = {line["method"] for line in arena.lines if line["status"] < 300}
    assert done == {
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
    }  # else all was refused, and nothing shown
    assert any(line["target"].startswith("/token") and line["status"] == 200 for line in arena.lines)


@pytest.mark.timeout(tiers.SECONDS * tiers.STATES + 300)
def test_uploads_go_on_by_their_links(say: Callable[[str], None]) -> None:
    with attacked("schemathesis, stateful", say, users=True) as arena, connect(arena) as session:

        def call_kwargs(self: object, case: Case) -> dict[str, Any]:
            return {"base_url": arena.url, "session": session}

        def validate(self: object, response: schemathesis.Response, case: Case, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

        methods = {"get_call_kwargs": call_kwargs, "validate_response": validate}
        machine = type("Machine", (SCHEMA.as_state_machine(),), methods)
        for number in turns(tiers.STATES):
            seed(number)(machine)
            run_state_machine_as_test(machine, settings=bounded(SCENARIOS, stateful_step_count=STEPS))
            arena.note_memory()
