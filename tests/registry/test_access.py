"""Actors, operations, and the rules that come with the registry."""

import dataclasses

import pytest

from registry.access import Action, Actor, Operation, Policy
from registry.errors import Denied, RegistryError, Unsupported
from registry.names import RepositoryName
from registry.policies.anonymous_pull import AnonymousPull
from registry.policies.no_delete import NoDelete
from registry.policies.read_only import ReadOnly

NAME = RepositoryName("team/app")
ANYONE, SOMEONE = Actor(), Actor("bob")

RULES = [
    (AnonymousPull(), ANYONE, {Action.PUSH: Denied, Action.DELETE: Denied}),
    (AnonymousPull(), SOMEONE, {}),
    (NoDelete(), ANYONE, {Action.DELETE: Unsupported}),
    (NoDelete(), SOMEONE, {Action.DELETE: Unsupported}),
    (ReadOnly(), ANYONE, {Action.PUSH: Unsupported, Action.DELETE: Unsupported}),
    (ReadOnly(), SOMEONE, {Action.PUSH: Unsupported, Action.DELETE: Unsupported}),
]


@pytest.mark.parametrize("action", Action)
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
    assert "(" in str(raised.value), "it names the setting that says so"


def test_the_empty_name_is_anonymous() -> None:
    assert Actor() == Actor("")
    assert Operation(Action.PING).repository is None


@pytest.mark.parametrize("value", [Actor("x"), Operation(Action.PULL, NAME)])
def test_values_are_frozen(value: Actor | Operation) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)
    assert hash(value) == hash(dataclasses.replace(value))
