"""Scopes: read, written, cut down to what is allowed."""

import pytest

from registry.access import Action, Operation
from registry.auth.scopes import WORDS, Scope, intersect, parse_scopes, scope_of
from registry.names import RepositoryName

NAME = RepositoryName("team/app")
ALL = frozenset({Action.PULL, Action.PUSH, Action.MOVE, Action.DELETE})


def scope(*words: str, name: str = "team/app", kind: str = "repository") -> Scope:
    return Scope(kind, name, frozenset(words))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("repository:team/app:pull", [scope("pull")]),
        ("repository:team/app:push,pull", [scope("pull", "push")]),
        ("repository(plugin):team/app:pull", [scope("pull")]),
        ("repository:a:pull repository:b:push", [scope("pull", name="a"), scope("push", name="b")]),
        ("repository:host:5000/app:pull", [scope("pull", name="host:5000/app")]),
        ("registry:catalog:*", [scope("*", name="catalog", kind="registry")]),
        ("repository:team/app:", [scope()]),
        ("", []),
        ("repository", []),
        ("repository::pull", []),
        ("repository:a b:pull", []),
        ("REPOSITORY:a:pull", []),
    ],
)
def test_parse(text: str, found: list[Scope]) -> None:
    assert parse_scopes([text]) == found


def test_repeated_ones_are_all_read() -> None:
    assert parse_scopes(["repository:a:pull", "repository:b:pull"]) == [
        scope("pull", name="a"),
        scope("pull", name="b"),
    ]


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (Operation(Action.PING), ""),
        (Operation(Action.LIST), "registry:catalog:*"),
        (Operation(Action.PULL, NAME), "repository:team/app:pull"),
        (Operation(Action.PUSH, NAME), "repository:team/app:pull,push"),
        (Operation(Action.DELETE, NAME), "repository:team/app:delete"),
    ],
)
def test_a_challenge_names_what_is_needed(operation: Operation, text: str) -> None:
    assert scope_of(operation) == text
    for needed in parse_scopes([text]):
        assert needed.grant.covers(operation)


@pytest.mark.parametrize("word", WORDS)
def test_a_grant_has_what_its_words_mean(word: str) -> None:
    grant = scope(word, name="team/*").grant
    covered = {action for action in Action if grant.covers(Operation(action, NAME))}
    assert covered == WORDS[word]
    assert not any(grant.covers(Operation(action, RepositoryName("other"))) for action in Action)


@pytest.mark.parametrize(
    ("asked", "allowed", "granted"),
    [
        ({"pull", "push"}, ALL, {"pull", "push"}),
        ({"pull", "push"}, {Action.PULL}, {"pull"}),
        ({"pull", "push"}, {Action.PUSH}, {"push"}),
        ({"*"}, ALL, {"*"}),
        ({"*"}, {Action.PULL, Action.PUSH}, {"pull", "push"}),
        ({"delete"}, {Action.PULL}, set()),
        ({"unheard-of"}, ALL, set()),
    ],
)
def test_intersection(asked: set[str], allowed: set[Action], granted: set[str]) -> None:
    assert intersect(scope(*asked), allowed.__contains__) == scope(*granted)
