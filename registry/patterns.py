"""Patterns of names, as settings and scopes have them."""

import fnmatch
from collections.abc import Sequence


def matches(patterns: Sequence[str], name: str) -> bool:
    """Whether one of them covers all of the name; `*` stands for anything, slashes too."""
    # fnmatch's expressions do not backtrack from one star into another.
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
