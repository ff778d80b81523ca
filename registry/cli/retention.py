"""`registry retention`: the rules' verdict on tags, shown and carried out."""

import asyncio
from collections.abc import Sequence
from functools import partial

from registry.changes import Guards
from registry.cli import text
from registry.cli.audit import note_change
from registry.cli.content import by, opened
from registry.guards.immutable_tags import ImmutableTags
from registry.names import RepositoryName
from registry.retention import Applied, Plan, Verdict, affected, plan_one, retain
from registry.settings import Settings


def plan(settings: Settings, repository: RepositoryName | None) -> list[Plan]:
    """Of one repository, or of all that a rule may take tags of. Raises RepositoryMissing."""
    rules, guards = settings.retention, _guards(settings)
    with opened(settings) as store:
        chosen = [repository] if repository else affected(store, rules)
        return [plan_one(store, rules, guards, name) for name in chosen]


def apply(settings: Settings) -> Applied:
    with opened(settings) as store:
        who, tell = by("retention apply"), partial(note_change, settings, "retention apply")
        return asyncio.run(retain(store, settings.retention, _guards(settings), who=who, tell=tell))


def _guards(settings: Settings) -> Guards:
    # Not app.guards, which would bring the whole server along.
    return [ImmutableTags(settings.immutable_tags)] if settings.immutable_tags else []


def plans_as_object(plans: Sequence[Plan]) -> dict[str, object]:
    return {
        "removed": _count(plans, kept=False),
        "kept": _count(plans, kept=True),
        "repositories": [
            {"name": plan.repository, "tags": [_tag(plan, verdict) for verdict in plan.verdicts]}
            for plan in plans
        ],
    }


def _tag(plan: Plan, verdict: Verdict) -> dict[str, object]:
    tag = verdict.tag
    return {
        "name": tag.name,
        "digest": str(tag.digest),
        "kept": bool(verdict.keeps),
        "why": verdict.reason,
        "moved_ago": plan.now - tag.moved,
        "pulled_ago": None if tag.pulled is None else plan.now - tag.pulled,
    }


def plans_text(plans: Sequence[Plan]) -> str:
    """For people: every tag, then how many would go."""
    rows = [
        (
            plan.repository,
            verdict.tag.name,
            "keep" if verdict.keeps else "remove",
            verdict.reason,
            text.duration(max(0, plan.now - verdict.tag.moved)),
            "-" if verdict.tag.pulled is None else text.duration(max(0, plan.now - verdict.tag.pulled)),
        )
        for plan in plans
        for verdict in plan.verdicts
    ]
    if not rows:
        return "no rule of [[retention]] may remove a tag of what is here: all stay"
    removed, kept = _count(plans, kept=False), _count(plans, kept=True)
    head = ("REPOSITORY", "TAG", "VERDICT", "WHY", "MOVED AGO", "PULLED AGO")
    return f"{text.table(head, rows)}\n{removed} tags would be removed, {kept} stay"


def _count(plans: Sequence[Plan], *, kept: bool) -> int:
    return sum(bool(verdict.keeps) is kept for plan in plans for verdict in plan.verdicts)


def applied_as_object(applied: Applied) -> dict[str, object]:
    return {
        "removed": [
            {"repository": repository, "tag": tag.name, "digest": str(tag.digest)}
            for repository, tag in applied.removed
        ],
        "stayed": [
            {"repository": repository, "tag": tag.name, "digest": str(tag.digest), "why": why}
            for repository, tag, why in applied.stayed
        ],
    }


def applied_text(applied: Applied) -> str:
    removed = [f"removed {repository}:{tag.name} ({tag.digest})" for repository, tag in applied.removed]
    stayed = [f"kept {repository}:{tag.name}: {why}" for repository, tag, why in applied.stayed]
    return "\n".join([*removed, *stayed, f"{len(removed)} tags removed"])
