"""What the tokens of a token server allow: what their claim `access` says, and nothing else."""

import pytest

from registry.access import Action, Actor, Operation
from registry.auth.claims import actor_of
from registry.auth.issuer_settings import Issuer
from registry.errors import Unauthenticated
from registry.names import RepositoryName
from registry.strict_json import Json
from tests.auth.issuing import AUDIENCE

SERVER = Issuer("hub", "auth.example", AUDIENCE, "keys.json", access=True, realm="https://auth.example/token")
APP, OTHER = RepositoryName("team/app"), RepositoryName("team/app2")
BOTH = frozenset({Action.PUSH, Action.MOVE})


def actor_with(access: Json, **more: Json) -> Actor:
    return actor_of(SERVER, {"sub": "alice", "access": access, **more}, 7)


def entry(*actions: Json, name: str = "team/app", kind: str = "repository") -> Json:
    return {"type": kind, "name": name, "actions": list(actions)}


def allowed(actor: Actor, repository: RepositoryName | None) -> set[Action]:
    assert actor.limit == actor.grants
    return {action for action in Action if any(g.covers(Operation(action, repository)) for g in actor.grants)}


@pytest.mark.parametrize(
    ("access", "actions"),
    [
        ([entry("pull")], {Action.PULL}),
        ([entry("push", "pull")], {Action.PULL, *BOTH}),
        ([entry("pull"), entry("delete")], {Action.PULL, Action.DELETE}),
        ([entry("*")], {Action.PULL, Action.DELETE, *BOTH}),
        ([entry("pull", "unheard-of", 7)], {Action.PULL}),
        ([entry("move"), entry("create")], set()),
        ([entry("pull", kind="repository(plugin)")], set()),
        ([entry("pull", kind="plugin")], set()),
        # No patterns: neither ours nor fnmatch's.
        *(
            ([entry("*", name=name)], set())
            for name in ("*", "team/*", "team/ap?", "team/[a]pp", "", "TEAM/APP")
        ),
        ([{"type": "repository", "name": "team/app", "actions": None}], set()),
        ([], set()),
        (None, set()),
    ],
)
def test_what_is_allowed(access: Json, actions: set[Action]) -> None:
    actor = actor_with(access)
    assert (actor.name, actor.expires) == ("hub:alice", 7)
    assert not actor.groups
    assert allowed(actor, APP) == actions
    assert allowed(actor, OTHER) == set()


def test_the_catalog() -> None:
    assert allowed(actor_with([entry("*", name="catalog", kind="registry")]), None) == {Action.LIST}
    assert allowed(actor_with([entry("pull", name="catalog", kind="registry")]), None) == set()


@pytest.mark.parametrize(
    "access",
    [
        "repository:team/app:pull",
        {"type": "repository"},
        ["repository:team/app:pull"],
        [{"name": "team/app", "actions": ["pull"]}],
        [{"type": "repository", "actions": ["pull"]}],
        [{"type": "repository", "name": "team/app", "actions": "pull"}],
        [{"type": 1, "name": "team/app", "actions": ["pull"]}],
        [entry("pull")] * 101,
    ],
)
def test_access_that_cannot_be_read(access: Json) -> None:
    with pytest.raises(Unauthenticated, match="access"):
        actor_with(access)


@pytest.mark.parametrize("subject", [{"sub": ""}, {"sub": None}])
def test_anonymous_tokens(subject: dict[str, Json]) -> None:
    actor = actor_with([entry("pull")], **subject)
    assert actor.name == ""
    assert allowed(actor, APP) == {Action.PULL}


@pytest.mark.parametrize("subject", [0, False, [], "a\nb"])
def test_subjects_that_are_no_name(subject: Json) -> None:
    with pytest.raises(Unauthenticated, match="sub"):
        actor_with([], sub=subject)
