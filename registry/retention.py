"""Retention: which tags may go (pure), and taking those away.

A tag that goes leaves its manifest, which can be pulled by digest until garbage collection finds that it has
been untagged for long enough.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from registry.changes import Change, Guards, TagMoved
from registry.errors import RegistryError
from registry.names import RepositoryName, Tag
from registry.patterns import matches
from registry.retention_rules import Rule, find_rule
from storage.digest import Digest
from storage.errors import ManifestMissing, PreconditionFailed, RepositoryMissing
from storage.liveness import named_by
from storage.rows import FETCHED
from storage.store import Store
from storage.tagged import Tagged, repository_names, tagged

_TOGETHER = 100  # removals that share a transaction: it holds every writer up


@dataclass(frozen=True, slots=True)
class Verdict:
    """`keeps`: all that keeps the tag; nothing for one that goes."""

    tag: Tagged
    keeps: tuple[str, ...]

    @property
    def reason(self) -> str:
        return ", ".join(self.keeps) or "nothing keeps it"


@dataclass(frozen=True, slots=True)
class Plan:
    """A verdict on every tag of a repository, at the store's time `now`."""

    repository: RepositoryName
    now: int
    verdicts: tuple[Verdict, ...]

    @property
    def removed(self) -> list[Tagged]:
        return [verdict.tag for verdict in self.verdicts if not verdict.keeps]


@dataclass(slots=True)
class Applied:
    """`removed` went; `stayed` were to go and changed meanwhile, with why."""

    removed: list[tuple[RepositoryName, Tagged]] = field(default_factory=list)
    stayed: list[tuple[RepositoryName, Tagged, str]] = field(default_factory=list)


def plan(
    repository: RepositoryName, tags: Sequence[Tagged], rule: Rule | None, guards: Guards, now: int
) -> Plan:
    """Pure. What people tagged is counted; tags that refer to a digest stay as long as that."""
    own = [tag for tag in tags if not named_by(tag.name)]
    newest = sorted(own, key=lambda tag: (tag.moved, tag.name), reverse=True)
    last = {tag.name for tag in newest[: (rule and rule.keep_last) or 0]}

    def keeps(tag: Tagged) -> Iterator[str]:
        if named_by(tag.name):
            yield "goes with the digest that it refers to"
        elif rule is None or not rule.removes:
            yield "no rule"
        else:
            yield from _keeping(rule, tag, last, now)

    def judge(tag: Tagged) -> Verdict:
        found = tuple(keeps(tag))
        if not found and _refused(guards, repository, tag):
            found = ("immutable",)
        return Verdict(tag, found)

    return Plan(repository, now, tuple(map(judge, tags)))


def _keeping(rule: Rule, tag: Tagged, last: set[str], now: int) -> Iterator[str]:
    if rule.keep_tags is not None and matches(rule.keep_tags, tag.name):
        yield "keep_tags"
    if tag.name in last:
        yield "keep_last"
    if rule.keep_newer is not None and tag.moved >= now - rule.keep_newer:
        yield "keep_newer"
    # A push counts as a use: what came just now has had no time to be pulled.
    if rule.keep_pulled is not None and max(tag.moved, tag.pulled or 0) >= now - rule.keep_pulled:
        yield "keep_pulled"


def _refused(guards: Guards, repository: RepositoryName, tag: Tagged) -> bool:
    try:
        _ask(guards, repository, tag)
    except RegistryError:
        return True
    return False


def _ask(guards: Guards, repository: RepositoryName, tag: Tagged) -> None:
    for guard in guards:
        guard.check(TagMoved(repository, Tag(tag.name), tag.digest, None))


def plan_one(store: Store, rules: Sequence[Rule], guards: Guards, repository: RepositoryName) -> Plan:
    """Raises RepositoryMissing."""
    with closing(store.database.scan()) as connection:
        tags = tagged(connection, repository)
    return plan(repository, tags, find_rule(rules, repository), guards, store.database.clock.now())


def affected(store: Store, rules: Sequence[Rule]) -> list[RepositoryName]:
    """The repositories that a rule may take tags of: what was fetched has bounds of its own."""
    if not any(rule.removes for rule in rules):
        return []
    with closing(store.database.scan()) as connection:
        names = repository_names(connection)
    pushed = [RepositoryName(name) for name in names if not name.startswith(FETCHED)]
    return [name for name in pushed if (rule := find_rule(rules, name)) and rule.removes]


def _tell_nobody(_: Change) -> None:
    """What needs no listener."""


async def retain(
    store: Store,
    rules: Sequence[Rule],
    guards: Guards,
    *,
    who: str = "retention",
    tell: Callable[[Change], None] = _tell_nobody,
) -> Applied:
    """Plan and apply, one repository after the other, beside a running server.

    `who` is for the history; `tell` hears of each tag that went.
    """
    applied = Applied()
    for repository in await asyncio.to_thread(affected, store, rules):
        try:
            found = await asyncio.to_thread(plan_one, store, rules, guards, repository)
        except RepositoryMissing:  # it went meanwhile
            continue
        await apply(store, found, guards, applied, who, tell)
    return applied


async def apply(
    store: Store,
    found: Plan,
    guards: Guards,
    applied: Applied,
    who: str,
    tell: Callable[[Change], None] = _tell_nobody,
) -> None:
    """Take the tags that a plan removes, as far as they are as it saw them."""
    tags = found.removed
    for start in range(0, len(tags), _TOGETHER):
        some = tags[start : start + _TOGETHER]
        kept = await asyncio.gather(*(_remove(store, found.repository, tag, guards, who) for tag in some))
        for tag, why in zip(some, kept, strict=True):
            if why:
                applied.stayed.append((found.repository, tag, why))
            else:
                applied.removed.append((found.repository, tag))
                tell(TagMoved(found.repository, Tag(tag.name), tag.digest, None))


async def _remove(store: Store, repository: RepositoryName, tag: Tagged, guards: Guards, who: str) -> str:
    """Why it stays; empty if it went."""

    def check(_tag: str, old: Digest | None, _new: Digest | None) -> None:
        if old != tag.digest:
            raise PreconditionFailed(f"tag {tag.name}", wanted=f"only {tag.digest}", found=old)
        _ask(guards, repository, tag)

    try:
        await store.names.manifests.remove_tag(repository, tag.name, check=check, who=who, moved=tag.moved)
    except (ManifestMissing, PreconditionFailed, RegistryError) as error:
        return str(error)
    return ""
