"""Scenarios run with clients that behave well and badly: every verdict is one that can come."""

import time
from pathlib import Path

import pytest

from oci_registry_testing.scenarios import SCENARIOS, Client, Outcome, Verdict, make, run_all, run_one
from oci_registry_testing.scenarios.table import PROFILES
from registry.testing.profiles import names

FAKE = Path(__file__).parent / "fake_client.py"
BY_NAME = {each.name: each for each in SCENARIOS}


def fake(manner: str) -> Client:
    command = f"{{python}} {FAKE} {manner}"
    return make(
        manner,
        {
            "pull": f"{command} pull {{image}} {{out}}",
            "push": f"{command} push {{layout}} {{image}}",
            "tags": f"{command} tags {{repository}}",
            "attach": f"{command} attach {{image}} {{file}} {{type}}",
            "referrers": f"{command} referrers {{image}} {{type}}",
        },
    )


@pytest.mark.parametrize(
    ("manner", "name", "verdict", "note"),
    [
        ("honest", "push, pull", Verdict.SURVIVES, "by PUT"),
        ("honest", "push again elsewhere", Verdict.SURVIVES, "sends all again"),
        ("lost", "no mounts", Verdict.GIVES_UP, "without a word"),
        ("honest", "list tags", Verdict.SURVIVES, ""),
        ("honest", "pages of 10 tags", Verdict.WRONG, ""),
        ("honest", "pull: 429", Verdict.SURVIVES, "waits as long as it is told"),
        ("honest", "pull: cut every time", Verdict.SURVIVES, "goes on by Range"),
        ("honest", "pull: other bytes", Verdict.REFUSES, ""),
        ("honest", "pull: other bytes, once", Verdict.GIVES_UP, ""),
        ("honest", "tag that stays", Verdict.REFUSES, ""),
        ("honest", "push: session lost", Verdict.GIVES_UP, ""),
        ("honest", "delete", Verdict.CANNOT, ""),
        ("honest", "refer", Verdict.SURVIVES, ""),
        ("careless", "refer", Verdict.SURVIVES, ""),
        ("honest", "referrers unfiltered", Verdict.SURVIVES, ""),
        ("careless", "referrers unfiltered", Verdict.WRONG, ""),
        ("honest", "no referrers API", Verdict.GIVES_UP, ""),
        ("careless", "no referrers API", Verdict.WRONG, ""),
        ("honest", "no single POST", Verdict.SURVIVES, "does not meet it"),
        ("careless", "push, pull", Verdict.SURVIVES, "by PUT"),
        ("careless", "pull: other bytes", Verdict.WRONG, ""),
        ("careless", "pull: short", Verdict.WRONG, ""),
        ("careless", "pull: half a manifest", Verdict.WRONG, ""),
        ("careless", "tag that stays", Verdict.WRONG, ""),
        ("careless", "no room", Verdict.WRONG, ""),
        ("lost", "push, pull", Verdict.GIVES_UP, "without a word"),
        ("lost", "pull: other bytes", Verdict.GIVES_UP, "does not meet it, without a word"),
        ("sleepy", "push, pull", Verdict.HANGS, ""),
    ],
)
def test_what_comes_of_it(manner: str, name: str, verdict: Verdict, note: str) -> None:
    seconds = 0.5 if manner == "sleepy" else 60.0
    outcome = run_one(fake(manner), BY_NAME[name], seconds=seconds)
    assert (outcome.verdict, outcome.note) == (verdict, note), outcome.told


def test_all_at_once_and_in_order() -> None:
    scenarios = [each for each in SCENARIOS if each.name.startswith("as ")]
    heard: list[Outcome] = []
    clients = [fake("honest"), fake("lost")]
    outcomes = run_all(clients, scenarios, jobs=4, heard=heard.append)
    assert [(each.client, each.scenario) for each in outcomes] == [
        (client.name, scenario) for client in clients for scenario in scenarios
    ]
    assert sorted(map(id, heard)) == sorted(map(id, outcomes))
    assert {each.verdict for each in outcomes if each.client == "lost"} == {Verdict.GIVES_UP}
    # Where Location is absolute, this client goes astray.
    astray = {
        each.scenario.profile for each in outcomes[: len(scenarios)] if each.verdict is not Verdict.SURVIVES
    }
    assert astray == {"distribution-2.8", "quay"}


def test_a_program_that_is_missing_ends_all() -> None:
    client = make("missing", {"pull": "no-such-program {image}"})
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run_all([client], [each for each in SCENARIOS if each.name.startswith("pull:")], jobs=2)


def test_what_ends_all_ends_the_clients_that_run() -> None:
    """Such as Ctrl-C; a client sleeps for ten minutes."""
    begun = time.monotonic()

    def end(_: Outcome) -> None:
        raise KeyboardInterrupt

    clients = [fake("lost"), fake("sleepy")]
    with pytest.raises(KeyboardInterrupt):
        run_all(clients, [BY_NAME["push, pull"]], jobs=2, heard=end)
    assert time.monotonic() - begun < 60


def test_every_profile_has_its_scenario() -> None:
    assert set(PROFILES) == set(names())


def test_names_are_no_ones_else() -> None:
    assert len(BY_NAME) == len(SCENARIOS)
    assert all(each.about for each in SCENARIOS)
