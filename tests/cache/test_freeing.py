"""Room that is on its way: what is counted as free although the disk does not show it."""

import pytest

from registry.cache import freeing
from registry.cache.freeing import Freeing


def test_what_went_counts_until_it_shows() -> None:
    found = Freeing()
    assert found.foresee(100) == 100
    found.add(30)
    assert found.foresee(100) == 130
    assert found.foresee(110) == 130
    assert found.foresee(105) == 125, "others took some"
    found.add(5)
    assert found.foresee(130) == 130, "all of it has come"
    assert found.foresee(50) == 50


def test_nothing_is_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Freeing()
    found.foresee(100)
    found.add(30)
    monkeypatch.setattr(freeing, "_SHOWS", 0.0)
    assert found.foresee(100) == 100
