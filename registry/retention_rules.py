"""What `[[retention]]` entries say: which tags of which repositories stay."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from registry.kinds import NEVER, SPAN, Kind, seconds, whole
from registry.patterns import matches
from registry.tables import read_tables, read_toml, texts


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry; what is None it does not say. Times in seconds. In patterns `*` is anything, slashes too."""

    repositories: tuple[str, ...]
    keep_last: int | None = None
    keep_newer: int | None = None
    keep_pulled: int | None = None
    keep_tags: tuple[str, ...] | None = None
    untagged: int | str | None = None

    @property
    def removes(self) -> bool:
        """Without a word on what it keeps, an entry keeps everything."""
        keeps = (self.keep_last, self.keep_newer, self.keep_pulled, self.keep_tags)
        return any(each is not None for each in keeps)


def find_rule(rules: Sequence[Rule], repository: str) -> Rule | None:
    """The first that matches."""
    return next((rule for rule in rules if matches(rule.repositories, repository)), None)


def untagged_of(rules: Sequence[Rule], default: int | str) -> Callable[[str], int | None]:
    """How many seconds a repository keeps what no tag names any more; None: for ever."""

    def untagged(repository: str) -> int | None:
        rule = find_rule(rules, repository)
        span = default if rule is None or rule.untagged is None else rule.untagged
        return None if span == NEVER else int(span)

    return untagged


def _patterns(character: str, example: str) -> Kind:
    """A list of patterns; other characters than these stand in no name."""
    valid = re.compile(rf"(?:{character}|\*)+", re.ASCII)
    return texts(valid.fullmatch, f"a list of patterns such as {example}, * for anything")


_KEYS: Mapping[str, Kind] = {
    "repositories": _patterns(r"[a-z0-9._/-]", '["ci/*"]'),
    "keep_last": whole(1, 10**9),
    "keep_newer": seconds(1),
    "keep_pulled": seconds(1),
    "keep_tags": _patterns(r"[A-Za-z0-9._-]", '["v*"]'),
    "untagged": SPAN,
}


def _rules(value: object) -> tuple[Rule, ...]:
    return tuple(Rule(**entry) for entry in read_tables(value, _KEYS, ["repositories"]))


RETENTION = Kind(
    'tables such as [[retention]] with repositories = ["ci/*"] and keep_last = 10; as text, '
    '[{repositories = ["ci/*"], keep_last = 10}]',
    "TOML",
    _rules,
    read_toml,
)
