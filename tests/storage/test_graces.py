"""How long what was marked is left alone."""

import pytest

from storage.garbage import DAY, HOUR, Rules
from storage.graces import Receiving, is_active, ripe, superseded
from storage.marking import Marked

NOW = 10 * DAY
RULES = Rules()


@pytest.mark.parametrize(
    ("active", "receiving", "waits"),
    [
        (0, {}, HOUR),
        (NOW - HOUR, {}, HOUR),
        (NOW - HOUR + 1, {}, DAY),
        (0, {"a": 5}, DAY),
        (0, {"b": 5}, HOUR),
    ],
)
def test_pushes_that_may_go_on_hold_it_up(active: int, receiving: Receiving, waits: int) -> None:
    repository = Marked(1, "a", active)
    assert ripe(RULES, repository, receiving, NOW) == NOW - waits
    assert is_active(RULES, repository, receiving, NOW) is (waits == DAY)


def test_nothing_waits_for_less_than_the_grace() -> None:
    rules = Rules(grace=2 * DAY)
    assert ripe(rules, Marked(1, "a", NOW), {}, NOW) == NOW - 2 * DAY


@pytest.mark.parametrize(
    ("receiving", "waits"),
    [({}, 600), ({"a": 0}, 600), ({"a": 90}, 690), ({"a": 1200}, 1800), ({"a": DAY}, 1800), ({"b": 90}, 600)],
)
def test_what_was_superseded_waits_for_a_long_upload_alone(receiving: Receiving, waits: int) -> None:
    assert superseded(600, Marked(1, "a", NOW), receiving, NOW) == NOW - waits
