"""Lines that a client can bring about at will are few, and tell how many they stand for."""

import logging

import pytest

from registry.server.seldom import Seldom


def test_one_line_of_a_kind_and_the_number_of_the_rest(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "registry")
    now = 1000.0
    monkeypatch.setattr("registry.server.seldom.time.monotonic", lambda: now)
    seldom = Seldom(every=60)
    for number in range(3):
        seldom.say("refused %s", str(number))
    seldom.say("another kind")
    now += 61
    seldom.say("refused %s", "later")
    now += 61
    seldom.say("refused %s", "last")
    assert [record.getMessage() for record in caplog.records] == [
        "refused 0",
        "another kind",
        "refused later (and 2 more like it since the last such line)",
        "refused last",
    ]
