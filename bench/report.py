"""One table of medians and ratios, as text that is Markdown too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.kinds import KINDS
from bench.targets import TARGETS, Rounds, judge, median, ratio

_NAMES = {
    "wall": "wall",
    "cpu": "server CPU",
    "machine": "machine CPU",
    "rate": "requests/s",
    "each": "server CPU each",
    "p99": "p99",
    "memory": "resident",
}
_TEXTS: Mapping[str, Callable[[float], str]] = {
    "wall": lambda value: f"{value:.3f} s" if value < 1 else f"{value:.2f} s",
    "cpu": lambda value: f"{value:.2f} s",
    "machine": lambda value: f"{value:.2f} s",
    "rate": lambda value: f"{value:,.0f}",
    "each": lambda value: f"{value * 1e6:.0f} µs",
    "p99": lambda value: f"{value * 1e3:.1f} ms",
    "memory": lambda value: f"{value:.0f} MiB",
}
_OF_A_LOAD = ("rate", "each", "p99")
_OF_A_TRANSFER = ("wall", "cpu", "machine")


def measures(rounds: Rounds, row: str) -> tuple[str, ...]:
    found = {name for rounds_of in rounds[row].values() for figures in rounds_of for name in figures}
    if "rate" in found:
        return _OF_A_LOAD
    return tuple(name for name in (*_OF_A_TRANSFER, "memory") if name in found)


def table(rounds: Rounds, bases: Mapping[str, str]) -> list[str]:
    """`bases`: the server of ours that the ratios of a row are about. A cell: median (ours ÷ this one)."""
    columns = [kind.name for kind in KINDS if any(kind.name in servers for servers in rounds.values())]
    lines = [["", "", *columns, "must show"]]
    for row in rounds:
        for measure in measures(rounds, row):
            ours = median(rounds, row, bases[row], measure)
            cells = [
                _cell(measure, median(rounds, row, server, measure), ours, is_base=server == bases[row])
                for server in columns
            ]
            wanted = [each for each in TARGETS if (each.row, each.measure) == (row, measure)]
            verdicts = "; ".join(judge(rounds, each).text for each in wanted)
            lines.append([row, _NAMES[measure], *cells, verdicts])
    return aligned(lines)


def _cell(measure: str, value: float | None, ours: float | None, *, is_base: bool) -> str:
    if value is None:
        return ""
    text = _TEXTS[measure](value)
    share = None if is_base else ratio(ours, value)
    return text if share is None else f"{text} ({share:.2f})"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table that reads as text; the first line is the head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    return [rows[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows[1:]]


def heading(run: Mapping[str, Any]) -> list[str]:
    machine, settings = run["machine"], run["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in run["servers"].items())
    return [
        "{date}, commit {commit}:".format(**run),
        "medians of {rounds} rounds, blobs of {size_mib} MiB, {seconds} s of each small request.".format(
            **settings
        ),
        "{cores} cores of {processor}, {memory_gib} GiB, Linux {kernel}, Python {python};".format(**machine),
        f"load before: {machine['load_before']}.",
        f"Servers: {versions}.",
    ]


def document(run: Mapping[str, Any]) -> str:
    """What is printed, and what docs/performance.md holds between its marks."""
    lines = [*heading(run), "", *table(run["rounds"], run["bases"])]
    if run["failures"]:
        lines += ["", "Not measured:", *(f"- {failure}" for failure in run["failures"])]
    return "\n".join(lines)
