"""`python -m bench.scale`: pages and look-ups in a large root beside the same in a small one."""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from bench.accounting import machine
from bench.contents import ARTIFACT, FEW, MANY, SMALL, SUBJECT, Sizes, held, repository, tag
from bench.fill import add_options, make, sizes_of
from bench.kinds import KINDS, PROJECT, find
from bench.latency import ANEW, Asker, milliseconds, quantile
from bench.payloads import digest_of
from bench.report import aligned
from bench.servers import Failed, started

_PAGE = 100
_MIDDLE = f"{ARTIFACT}@sha256:{'8' * 64}"  # digests are even: half of the referrers come before it


@dataclass(frozen=True, slots=True)
class Case:
    """A request, or a choice of them; `small` is the case whose median its own is compared with.

    `expected` sees the first answer's body and says whether it is the page that was meant.
    `ratio` and `seconds`: what its median must not exceed.
    """

    name: str
    targets: Sequence[str]
    expected: Callable[[bytes], bool]
    small: str = ""
    method: str = "GET"
    ratio: float | None = None
    seconds: float | None = None


def cases(sizes: Sizes) -> list[Case]:
    middle, end = sizes.tags // 2, sizes.tags - _PAGE
    half = sizes.repositories // 2
    first_names = [FEW, MANY, *map(repository, range(_PAGE - 2))]
    few, many = "tags, all 100", f"{sizes.tags:,} tags"
    return [
        Case(few, [_tags(FEW)], _listed("tags", _tag_names(0))),
        Case(f"{many}, first page", [_tags(MANY)], _listed("tags", _tag_names(0)), few, ratio=2),
        Case(f"{many}, middle", [_tags(MANY, middle)], _listed("tags", _tag_names(middle)), few, ratio=2),
        Case(f"{many}, last page", [_tags(MANY, end)], _listed("tags", _tag_names(end)), few, ratio=2),
        Case(
            f"{sizes.repositories:,} repositories, first page",
            [f"/v2/_catalog?n={_PAGE}"],
            _listed("repositories", first_names),
            seconds=0.005,
        ),
        Case(
            f"{sizes.repositories:,} repositories, middle",
            [f"/v2/_catalog?n={_PAGE}&last={quote(repository(half - 1))}"],
            _listed("repositories", list(map(repository, range(half, half + _PAGE)))),
        ),
        Case("referrers, all 100", [_referrers(FEW)], _has_referrers),
        Case(
            f"{sizes.referrers:,} referrers, first page",
            [_referrers(MANY)],
            _has_referrers,
            "referrers, all 100",
        ),
        Case(
            f"{sizes.referrers:,} referrers, middle",
            [f"{_referrers(MANY)}&last={quote(_MIDDLE)}"],
            _has_referrers,
            "referrers, all 100",
        ),
        Case("blob HEAD, always the same", [_blob(FEW, 0)], _nothing, method="HEAD"),
        Case(
            f"blob HEAD, any of {sizes.links:,} links",
            [_blob(repository(number), number % sizes.held) for number in _sample(sizes.repositories)],
            _nothing,
            "blob HEAD, always the same",
            method="HEAD",
        ),
    ]


def _sample(count: int) -> list[int]:
    return random.Random(3).choices(range(count), k=5000)  # noqa: S311


def _tags(name: str, first: int = 0) -> str:
    after = f"&last={tag(first - 1)}" if first else ""
    return f"/v2/{name}/tags/list?n={_PAGE}{after}"


def _tag_names(first: int) -> list[str]:
    return [tag(number) for number in range(first, first + _PAGE)]


def _referrers(name: str) -> str:
    return f"/v2/{name}/referrers/{SUBJECT}?n={_PAGE}"


def _blob(name: str, number: int) -> str:
    return f"/v2/{name}/blobs/{digest_of(held(number))}"


def _listed(key: str, names: list[str]) -> Callable[[bytes], bool]:
    return lambda body: bool(json.loads(body)[key] == names)


def _has_referrers(body: bytes) -> bool:
    return len(json.loads(body)["manifests"]) == SMALL


def _nothing(body: bytes) -> bool:
    return body == b""


def measure(port: int, wanted: Sequence[Case], rounds: int) -> dict[str, list[float]]:
    """Seconds by case; each round asks every case once, so that all meet the same disturbances."""
    taken: dict[str, list[float]] = {case.name: [] for case in wanted}
    with Asker(port, ANEW) as asker:
        for case in wanted:
            _, body = asker.ask(case.method, case.targets[0])
            if not case.expected(body):
                raise Failed(f"{case.name}: not the page that was meant: {body[:300]!r}")
        for number in range(rounds):
            for case in wanted:
                seconds, _ = asker.ask(case.method, case.targets[number % len(case.targets)])
                taken[case.name].append(seconds)
    return taken


def table(wanted: Sequence[Case], taken: Mapping[str, Sequence[float]]) -> list[str]:
    medians = {name: quantile(seconds, 0.5) for name, seconds in taken.items()}
    lines = [["", "p50", "p99", "÷ small", "must show"]]
    for case in wanted:
        median, tail = medians[case.name], quantile(taken[case.name], 0.99)
        ratio = median / medians[case.small] if case.small else None
        verdict = ""
        if case.ratio is not None and ratio is not None:
            verdict = f"≤ {case.ratio:g}: {'met' if ratio <= case.ratio else 'MISSED'}"
        if case.seconds is not None:
            verdict = f"≤ {milliseconds(case.seconds)}: {'met' if median <= case.seconds else 'MISSED'}"
        share = "" if ratio is None else f"{ratio:.2f}"
        lines.append([case.name, milliseconds(median), milliseconds(tail), share, verdict])
    return aligned(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--folder", type=Path, help="a filled root to keep; made if it is not there")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--json", type=Path, default=PROJECT / "results" / "scale.json", metavar="FILE")
    add_options(parser)
    options = parser.parse_args()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    if options.folder:
        _run(options, options.folder.absolute())
        return
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.json.parent) as folder:
        _run(options, Path(folder))


def _run(options: argparse.Namespace, folder: Path) -> None:
    sizes = sizes_of(options)
    make(folder, sizes)
    found = find(KINDS[0])
    assert found is not None
    wanted = cases(sizes)
    with started(found, folder) as server:
        taken = measure(server.port, wanted, options.rounds)
    run = {"machine": machine(), "sizes": asdict(sizes), "seconds": taken}
    options.json.write_text(json.dumps(run))
    print("\n".join(table(wanted, taken)))


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"bench: {error}")
