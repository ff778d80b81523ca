"""The bounds of caches, measured small: the bench says what must show, and that it does."""

from pathlib import Path

import pytest

from bench.bounds import main

PULLS = "--budget 8 --image 1 --images 40 --between 0.05 --pause 0.1 --again 100 --workers 1 --exports 0"
EXPORTS = "--images 0 --exports 6 --layer 16 --every 0.3"


@pytest.mark.parametrize("options", [PULLS, EXPORTS], ids=["pulls", "exports"])
def test_a_cache_keeps_within_its_bounds(tmp_path: Path, options: str) -> None:
    assert main([*options.split(), "--json", str(tmp_path / "bounds.json")]) == 0
