"""What `[[rate]]` entries say, and whom they concern."""

import tomllib

import pytest

from registry.access import ANONYMOUS, Action, Actor
from registry.config import load
from registry.rates import RATE, Rate
from registry.settings import ConfigError

HOME = {"HOME": "/home/ann"}
TOML = """
[[rate]]
requests = "100/s"
burst = 500

[[rate]]
requests = "100/6h"
who = "anonymous"
actions = ["pull", "list"]

[[rate]]
requests = "1000/1m"
who = "known"
"""


def test_entries_are_read() -> None:
    assert RATE.check(tomllib.loads(TOML)["rate"]) == (
        Rate(100, 1, 500),
        Rate(100, 6 * 3600, 100, "anonymous", ("pull", "list")),
        Rate(1000, 60, 1000, "known"),
    )


ALICE = Actor("alice")


@pytest.mark.parametrize(
    ("rate", "actor", "action", "covers"),
    [
        (Rate(1, 1, 1), ANONYMOUS, Action.PULL, True),
        (Rate(1, 1, 1), ALICE, Action.PING, True),
        (Rate(1, 1, 1, "anonymous"), ANONYMOUS, Action.PULL, True),
        (Rate(1, 1, 1, "anonymous"), ALICE, Action.PULL, False),
        (Rate(1, 1, 1, "known"), ANONYMOUS, Action.PULL, False),
        (Rate(1, 1, 1, "known"), ALICE, Action.PULL, True),
        (Rate(1, 1, 1, "all", ("pull",)), ALICE, Action.PULL, True),
        (Rate(1, 1, 1, "all", ("pull",)), ALICE, Action.PUSH, False),
    ],
)
def test_whom_a_rate_is_for(rate: Rate, actor: Actor, action: Action, covers: bool) -> None:
    assert rate.covers(actor, action) is covers


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[{}]", "entry 1.*expected requests among its keys"),
        *(
            (f"[{{requests = {value}}}]", "entry 1: requests.*such as 100/s, 1000/1m or 100/6h")
            for value in ("100", "'100'", "'0/s'", "'1/0s'", "'1/parsec'", "'1/'", "'/s'")
        ),
        ("[{requests = '1/s', who = 'bob'}]", 'entry 1: who.*"all", "anonymous", "known"'),
        (
            "[{requests = '1/s', actions = ['move']}]",
            "entry 1: actions.*a list out of .*list, pull, push, delete",
        ),
        ("[{requests = '1/s', burst = 0}]", "entry 1: burst"),
    ],
)
def test_mistakes(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load({}, {**HOME, "REGISTRY_RATE": text})
