"""Outcomes as tables: for a terminal, for a page, for programs."""

import json
from collections.abc import Sequence

from oci_registry_testing.scenarios.running import Outcome
from oci_registry_testing.scenarios.scenario import Scenario
from oci_registry_testing.scenarios.verdict import Verdict


def as_text(outcomes: Sequence[Outcome]) -> str:
    rows = [["scenario", *_clients(outcomes)], *_rows(outcomes, "{}")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    head = ["Scenario", "What happens", *(f"`{client}`" for client in _clients(outcomes))]
    abouts = {each.scenario.name: each.scenario.about for each in outcomes}
    rows = [[row[0], abouts[row[0]], *row[1:]] for row in _rows(outcomes, "**{}**")]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def as_json(outcomes: Sequence[Outcome]) -> str:
    found = [
        {
            "client": each.client,
            "scenario": each.scenario.name,
            "about": each.scenario.about,
            "verdict": each.verdict.value,
            "note": each.note,
            "requests": each.requests,
            "seconds": round(each.seconds, 2),
            "told": each.told if each.verdict is not Verdict.SURVIVES else "",
        }
        for each in outcomes
    ]
    return json.dumps(found, indent=2, ensure_ascii=False)


def _clients(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(each.client for each in outcomes))


def _rows(outcomes: Sequence[Outcome], bold: str) -> list[list[str]]:
    cells = {(each.scenario.name, each.client): cell(each, bold) for each in outcomes}
    scenarios: list[Scenario] = list({each.scenario.name: each.scenario for each in outcomes}.values())
    clients = _clients(outcomes)
    return [[each.name, *(cells[each.name, client] for client in clients)] for each in scenarios]


def cell(outcome: Outcome, bold: str) -> str:
    verdict = outcome.verdict.value
    if outcome.verdict in (Verdict.WRONG, Verdict.HANGS):
        verdict = bold.format(verdict)
    return f"{verdict}: {outcome.note}" if outcome.note else verdict
