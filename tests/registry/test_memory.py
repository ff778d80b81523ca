import os
import platform

import pytest

from bench.memory import MIB
from registry.memory import give_back
from tests.hostile.attacking import resident


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other C library is told to")
def test_what_lies_below_something_small_goes_back() -> None:
    pieces = [bytes(2000) for _ in range(50_000)]
    last = bytes(2000)
    pieces.clear()
    before = resident(os.getpid())
    give_back()
    assert before - resident(os.getpid()) > 50 * MIB
    assert len(last) == 2000


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.memory._find", lambda: None)
    give_back()
