"""The official suite, against two workers on one root."""

import shutil
from pathlib import Path

from tests.conformance import RUNS, complete, launch, read_counts
from tests.e2e.clients import search_path
from tests.live.servers import running
from tests.missing import absent


def test_everything_passes_with_two_workers(tmp_path: Path) -> None:
    runner = shutil.which("conformance", path=search_path())
    if runner is None:
        absent("the official conformance runner")
    run = RUNS[0]
    results = tmp_path / "results"
    results.mkdir()
    with running(tmp_path / "root", "--workers", "2", *run.flags) as live:
        output = launch(runner, live.host, run.settings, results)
    counts = read_counts(output)
    assert complete(counts, run.expected), counts
