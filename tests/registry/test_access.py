"""Actors, operations, and the rules that come with the registry."""

import dataclasses

import pytest

from registry.access import Action, Actor, Grant, Operation, Policy
from registry.auth.rules import Entry, Rules
from registry.auth.scopes import parse_scopes
from registry.errors import Denied, RegistryError, Unauthenticated, Unsupported
from registry.names import RepositoryName
from registry.policies.access_rules import AccessRules
from registry.policies.no_delete import NoDelete
from registry.policies.read_only import ReadOnly

NAME = RepositoryName("team/app")
ANYONE, SOMEONE = Actor(), Actor("bob")
LIMITED = Actor("bob", limit=(Grant(("team/app",), frozenset({Action.PULL})),))
WRITES = (Action.PUSH, Action.MOVE, Action.DELETE)


def rules(anonymous: str, *entries: Entry) -> AccessRules:
    return AccessRules(Rules(entries, {}, anonymous, lambda: True))


READERS = Entry(("*",), frozenset({Action.PULL}), users=("bob",))
RULES = [
    (NoDelete(), ANYONE, {Action.DELETE: Unsupported}),
    (NoDelete(), SOMEONE, {Action.DELETE: Unsupported}),
    (ReadOnly(), ANYONE, {Action.PUSH: Unsupported, Action.DELETE: Unsupported}),
    (ReadOnly(), SOMEONE, {Action.PUSH: Unsupported, Action.DELETE: Unsupported}),
    (rules("push"), ANYONE, {}),
    (rules("pull"), ANYONE, dict.fromkeys(WRITES, Unauthenticated)),
    (rules("pull"), SOMEONE, {}),
    (rules("none"), ANYONE, dict.fromkeys((*WRITES, Action.PULL), Unauthenticated)),
    (rules("none", READERS), SOMEONE, dict.fromkeys(WRITES, Denied)),
    (rules("none"), LIMITED, dict.fromkeys(WRITES, Unauthenticated)),
    (rules("none", READERS), LIMITED, dict.fromkeys(WRITES, Denied)),
]


@pytest.mark.parametrize("action", [Action.PULL, *WRITES])
@pytest.mark.parametrize(("policy", "actor", "refused"), RULES)
def test_rules(
    policy: Policy, actor: Actor, refused: dict[Action, type[RegistryError]], action: Action
) -> None:
    operation = Operation(action, NAME)
    if action not in refused:
        policy.allow(actor, operation)
        return
    with pytest.raises(refused[action]) as raised:
        policy.allow(actor, operation)
    if isinstance(raised.value, Unauthenticated):
        assert any(scope.grant.covers(operation) for scope in parse_scopes([raised.value.scope]))
    assert str(NAME) in str(raised.value) or "(" in str(raised.value), "it names the setting that says so"


def test_the_empty_name_is_anonymous() -> None:
    assert Actor() == Actor("")
    assert Operation(Action.PING).repository is None


@pytest.mark.parametrize("value", [Actor("x"), Operation(Action.PULL, NAME)])
def test_values_are_frozen(value: Actor | Operation) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)
    assert hash(value) == hash(dataclasses.replace(value))
