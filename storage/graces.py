"""How long what was marked is left alone, by repository: pure functions of the rules and of what goes on."""

from collections.abc import Mapping

from storage.garbage import Rules
from storage.marking import Marked

Receiving = Mapping[str, int]
"""Repositories that uploads are on their way into, and the seconds since the oldest of those began."""

_PATIENCE = 3  # graces that an upload may let what was superseded wait for


def is_active(rules: Rules, repository: Marked, receiving: Receiving, now: int) -> bool:
    """Whether a push into it may be going on that was told of something here longer ago than the grace."""
    return repository.name in receiving or repository.active > now - rules.grace


def ripe(rules: Rules, repository: Marked, receiving: Receiving, now: int) -> int:
    """What was marked until then may go."""
    if is_active(rules, repository, receiving, now):
        return now - max(rules.patience, rules.grace)
    return now - rules.grace


def superseded(grace: int, repository: Marked, receiving: Receiving, now: int) -> int:
    """The same of what lost its last tag, where that has a grace of its own.

    Uploads that follow each other hold nothing up: each lets wait only what was marked less than a grace
    before it began, as whoever makes it may have been told that this is here.
    """
    return now - grace - min(receiving.get(repository.name, 0), (_PATIENCE - 1) * grace)
