"""Resident memory, idle and under load (`python -m bench.memory` prints the same figures)."""

import sys
from pathlib import Path

import pytest

from bench.memory import MIB, measure, measure_idle

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="VmRSS is read from /proc")

IDLE = 60 * MIB  # for each process
GROWTH = 64 * MIB


def test_memory_stays_small_while_large_blobs_come_and_go(tmp_path: Path) -> None:
    memory = measure(tmp_path)
    assert max(memory.idle) <= IDLE, memory
    assert memory.push_growth <= GROWTH, memory
    assert memory.pull_growth <= GROWTH, memory


def test_every_process_is_small_when_idle(tmp_path: Path) -> None:
    """The supervisor, its helper of multiprocessing and the workers."""
    idle = measure_idle(tmp_path, 2)
    assert len(idle) >= 3
    assert max(idle) <= IDLE, idle
