"""Who may do what, and why: a table of rules against a table of actors."""

from collections.abc import Iterable, Sequence

import pytest

from registry.access import ANONYMOUS, Action, Actor, Grant, Operation
from registry.auth.access_settings import ACCESS, GROUPS
from registry.auth.rules import Decision, Entry, Rules
from registry.kinds import Misfit
from registry.names import RepositoryName

NAMES = ("team/app", "team/deep/er", "other")
ALL = {Action.PULL, Action.PUSH, Action.MOVE, Action.DELETE}
ALICE, BOB = Actor("alice"), Actor("bob")
CERTIFICATE, FOREIGN = Actor("cert:build"), Actor("github:repo:acme/app", frozenset({"github:ref=main"}))
ROBOT = Actor("token:ci", grants=(Grant(("team/*",), frozenset({Action.PULL, Action.PUSH})),))


def entry(
    actions: Iterable[Action] = (Action.PULL,),
    repositories: Sequence[str] = ("*",),
    *,
    users: Sequence[str] = (),
    groups: Sequence[str] = (),
    anonymous: bool = False,
) -> Entry:
    return Entry(tuple(repositories), frozenset(actions), tuple(users), tuple(groups), anonymous)


def rules(*entries: Entry, anonymous: str = "none", accounts: bool = True, **groups: Sequence[str]) -> Rules:
    return Rules(entries, groups, anonymous, lambda: accounts)


def allowed(rules: Rules, actor: Actor, name: str = "team/app") -> set[Action]:
    return {action for action in ALL if rules.decide(actor, Operation(action, RepositoryName(name))).allowed}


@pytest.mark.parametrize(
    ("anonymous", "accounts", "anyone", "user"),
    [
        ("unclaimed", False, ALL, ALL),
        ("unclaimed", True, set(), ALL),
        ("none", False, set(), ALL),
        ("none", True, set(), ALL),
        ("pull", True, {Action.PULL}, ALL),
        ("push", True, ALL, ALL),
    ],
)
def test_the_short_form(anonymous: str, accounts: bool, anyone: set[Action], user: set[Action]) -> None:
    short = rules(anonymous=anonymous, accounts=accounts)
    assert allowed(short, ANONYMOUS) == anyone
    assert allowed(short, ALICE) == allowed(short, CERTIFICATE) == user
    assert allowed(short, FOREIGN) == anyone, "who is known elsewhere only has what anyone has"
    assert short.open is (anyone == ALL)


def test_entries_close_what_they_do_not_allow() -> None:
    """Also before there is any account: a rule has been written, so a rule is meant to hold."""
    some = rules(entry(users=["alice"]), anonymous="unclaimed", accounts=False)
    assert not some.open
    assert allowed(some, ALICE) == {Action.PULL}
    assert allowed(some, BOB) == allowed(some, ANONYMOUS) == set()


@pytest.mark.parametrize(
    ("whom", "named"),
    [
        (entry(users=["alice"]), {"alice"}),
        (entry(users=["*"]), {"alice", "bob"}),
        (entry(users=["a*"]), {"alice"}),
        (entry(users=["cert:*"]), {"cert:build"}),
        (entry(users=["github:repo:acme/*"]), {"github:repo:acme/app"}),
        (entry(users=["gitlab:*", "*:build", "g*:*"]), set()),
        (entry(groups=["github:ref=*"]), {"github:repo:acme/app"}),
        (entry(groups=["*"]), {"bob"}),
        (entry(groups=["developers"]), {"bob"}),
        (entry(anonymous=True), {"", "alice", "bob", "cert:build", "github:repo:acme/app"}),
        (entry(users=[""]), set()),
    ],
)
def test_whom_an_entry_names(whom: Entry, named: set[str]) -> None:
    """No star reaches over a colon: what is before it says who vouches for the name."""
    some = rules(whom, developers=["bob"])
    actors = (ANONYMOUS, ALICE, BOB, CERTIFICATE, FOREIGN)
    assert {actor.name for actor in actors if allowed(some, actor)} == named


@pytest.mark.parametrize(
    ("patterns", "covered"),
    [(["*"], set(NAMES)), (["team/*"], set(NAMES[:2])), (["team/app", "other"], {"team/app", "other"})],
)
def test_which_repositories_an_entry_covers(patterns: list[str], covered: set[str]) -> None:
    some = rules(entry(users=["alice"], repositories=patterns))
    assert {name for name in NAMES if allowed(some, ALICE, name)} == covered


def test_a_registry_that_was_closed_does_not_open_again() -> None:
    there = [False, False, True, False]
    now = iter([0.0, 0.4, 0.5, 0.9, 1.0])  # it looks at once, and then not before half a second is over
    some = Rules((), {}, "unclaimed", lambda: there.pop(0), lambda: next(now))
    assert [some.open for _ in range(6)] == [True, True, True, False, False, False]
    assert there == [False]


def test_rights_add_up() -> None:
    some = rules(
        entry([Action.PUSH], ["team/*"], users=["alice"]),
        entry([Action.DELETE], ["team/app"], groups=["owners"]),
        anonymous="pull",
        owners=["alice"],
    )
    assert allowed(some, ALICE) == {Action.PULL, Action.PUSH, Action.DELETE}
    assert allowed(some, ALICE, "team/deep/er") == {Action.PULL, Action.PUSH}
    assert allowed(some, BOB) == {Action.PULL}


def test_a_robot_has_its_own_grants_and_no_users_rights() -> None:
    assert allowed(rules(), ROBOT) == {Action.PULL, Action.PUSH}
    assert allowed(rules(), ROBOT, "other") == set()


@pytest.mark.parametrize(
    ("some", "actor", "action", "decision"),
    [
        (rules(accounts=False, anonymous="unclaimed"), ANONYMOUS, Action.PUSH, "nobody has an account yet"),
        (rules(anonymous="push"), ALICE, Action.PUSH, "anonymous = push: anyone may"),
        (rules(anonymous="pull"), ALICE, Action.PULL, "anonymous = pull: anyone may"),
        (rules(), ROBOT, Action.PULL, "the scope of token:ci"),
        (rules(entry(users=["bob"]), entry(users=["alice"])), ALICE, Action.PULL, "entry 2 of access"),
        (rules(), ALICE, Action.PUSH, "access has no entries: users may do everything"),
        (rules(), ANONYMOUS, Action.PULL, "nothing allows it"),
    ],
)
def test_a_decision_says_why(some: Rules, actor: Actor, action: Action, decision: str) -> None:
    found = some.decide(actor, Operation(action, RepositoryName("team/app")))
    assert found == Decision(decision != "nothing allows it", decision)


@pytest.mark.parametrize("action", [Action.PING, Action.LIST, Action.LOGIN])
@pytest.mark.parametrize(
    ("some", "actor", "may"),
    [
        (rules(), ANONYMOUS, set()),
        (rules(anonymous="pull"), ANONYMOUS, {Action.LIST}),
        (rules(entry(anonymous=True)), ANONYMOUS, {Action.LIST}),
        (rules(), Actor(limit=()), {Action.PING, Action.LIST}),
        (rules(), ALICE, {Action.PING, Action.LIST}),
        (rules(anonymous="push"), ANONYMOUS, {Action.PING, Action.LIST}),
    ],
)
def test_the_registry_as_a_whole(some: Rules, actor: Actor, may: set[Action], action: Action) -> None:
    """A ping challenges whoever shows nothing, or clients would never log in; a login always may be tried."""
    assert some.decide(actor, Operation(action)).allowed is (action in may | {Action.LOGIN})


def test_settings() -> None:
    one = {"repositories": ["team/*"], "users": ["alice"], "actions": ["pull", "push"]}
    assert ACCESS.check([one]) == (
        entry([Action.PULL, Action.PUSH, Action.MOVE], ["team/*"], users=["alice"]),
    )
    text = '[{repositories = ["*"], anonymous = true, actions = ["*"]}]'
    assert ACCESS.check(ACCESS.read(text)) == (entry(ALL, anonymous=True),)
    assert GROUPS.check(GROUPS.read('{dev = ["alice", "cert:x"]}')) == (("dev", ("alice", "cert:x")),)


@pytest.mark.parametrize(
    ("entries", "where"),
    [
        ([{}], "entry 1"),
        ([{"repositories": ["a"], "actions": ["pull"]}], "entry 1"),
        ([{"repositories": ["a"], "users": ["b"]}], "entry 1"),
        ([{"repositories": ["A"], "users": ["b"], "actions": ["pull"]}], "entry 1: repositories"),
        ([{"repositories": ["a"], "users": ["b "], "actions": ["pull"]}], "entry 1: users"),
        ([{"repositories": ["a"], "users": ["b"], "actions": ["read"]}], "entry 1: actions"),
        ([{"repositories": ["a"], "user": ["b"], "actions": ["pull"]}], "entry 1: user"),
        (["pull"], "entry 1"),
    ],
)
def test_entries_that_say_too_little_or_nonsense(entries: list[object], where: str) -> None:
    with pytest.raises(Misfit) as raised:
        ACCESS.check(entries)
    assert raised.value.where == where


@pytest.mark.parametrize("value", ["alice", [], {"a b": ["c"]}, {"a": []}, {"a": "b"}, {"a": [1]}])
def test_groups_that_are_none(value: object) -> None:
    with pytest.raises(ValueError):
        GROUPS.check(value)
