"""Patterns of names, as settings and scopes have them."""

from collections.abc import Sequence


def matches(patterns: Sequence[str], name: str) -> bool:
    """Whether one of them covers all of the name; `*` stands for anything, slashes too. Nothing else does."""
    return any(_fits(pattern, name) for pattern in patterns)


def _fits(pattern: str, name: str) -> bool:
    """The parts between the stars one after the other, each as early as it can be: linear, however many."""
    first, *middle = pattern.split("*")
    if not middle:
        return name == pattern
    last = middle.pop()
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    place, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True
