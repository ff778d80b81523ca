"""`immutable_tags`: once they are pushed, tags of these names neither move nor go."""

import fnmatch
import re
from collections.abc import Sequence

from registry.changes import TagMoved
from registry.errors import TagImmutable


class ImmutableTags:
    """Of `patterns` such as `prod/*:v*`, where `*` stands for any characters, slashes too."""

    def __init__(self, patterns: Sequence[str]) -> None:
        # fnmatch's expressions do not backtrack from one star into another: this runs under the write lock.
        self._patterns = [(text, re.compile(fnmatch.translate(text))) for text in patterns]

    def check(self, change: TagMoved) -> None:
        if change.old is None or change.old == change.new:
            return
        name = f"{change.repository}:{change.tag}"
        for text, pattern in self._patterns:
            if pattern.match(name):
                raise TagImmutable(name, text, change.old)
