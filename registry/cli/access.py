"""Decisions of the rules, for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.access import Action, Actor, Operation
from registry.auth.accounts import Accounts
from registry.auth.htpasswd import Htpasswd
from registry.auth.robots import Robots
from registry.auth.scopes import WORDS
from registry.consistency import access_rules_of
from registry.names import RepositoryName, parse_public_name
from registry.settings import Settings
from storage.layout import Layout

ANYONE = "anonymous"
ACTIONS = tuple(word for word in WORDS if word != "*")


@dataclass(frozen=True, slots=True)
class Answer:
    """`reasons` has one for each of the actions that the word stands for."""

    user: str
    repository: RepositoryName
    word: str
    allowed: bool
    reasons: Sequence[str]

    @property
    def as_object(self) -> dict[str, object]:
        return {
            "user": self.user,
            "repository": self.repository,
            "action": self.word,
            "allowed": self.allowed,
            "why": list(self.reasons),
        }

    def __str__(self) -> str:
        verb = "may" if self.allowed else "may not"
        return f"{self.user} {verb} {self.word} in {self.repository}: {'; '.join(self.reasons)}"


def explain(settings: Settings, user: str, repository: str, word: str, groups: frozenset[str]) -> Answer:
    """Raises NameInvalid."""
    name, rules = parse_public_name(repository), access_rules_of(settings)
    actor = _actor(settings, user, groups)
    decisions = {
        action: rules.decide(actor, Operation(action, name)) for action in sorted(WORDS[word], key=_order)
    }
    several = len({decision.why for decision in decisions.values()}) > 1
    reasons = [
        f"{'create tags' if action is Action.PUSH else 'move tags'}: {decision.why}"
        if several
        else decision.why
        for action, decision in decisions.items()
    ]
    allowed = all(decision.allowed for decision in decisions.values())
    return Answer(user, name, word, allowed, list(dict.fromkeys(reasons)))


def _order(action: Action) -> int:
    return list(Action).index(action)


def _actor(settings: Settings, user: str, groups: frozenset[str]) -> Actor:
    """A robot with its grants; whoever else with its name alone."""
    if user == ANYONE:
        return Actor(groups=groups)
    layout = Layout(settings.root)
    accounts = Accounts(Htpasswd(settings.htpasswd or layout.htpasswd), Robots(layout.robots))
    return accounts.find(user) or Actor(user, groups=groups)
