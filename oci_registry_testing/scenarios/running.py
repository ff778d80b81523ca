"""Scenarios run: each with a registry, an image and a folder of its own, several at once."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oci_registry_testing.home import find_clash
from oci_registry_testing.registry import Registry
from oci_registry_testing.scenarios.client import Client, run
from oci_registry_testing.scenarios.notes import is_met, tell
from oci_registry_testing.scenarios.payload import make_payload
from oci_registry_testing.scenarios.place import PASSWORD, USER, Place
from oci_registry_testing.scenarios.scenario import Scenario
from oci_registry_testing.scenarios.verdict import Step, Verdict, judge

SECONDS = 180.0  # oras for Python takes 131 until it gives up a push
JOBS = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """`told` is what the client's last command printed, for who wants to know why; `requests`: how many."""

    client: str
    scenario: Scenario
    verdict: Verdict
    note: str = ""
    seconds: float = 0.0
    told: str = ""
    requests: int = 0


def run_all(
    clients: Sequence[Client],
    scenarios: Sequence[Scenario],
    *,
    seconds: float = SECONDS,
    jobs: int = JOBS,
    heard: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """In the order of the clients, then of the scenarios. `seconds` for each command; `heard` after each.

    Raises FileNotFoundError for a client's program that is not here, and CannotStart. Whatever ends it, such
    as Ctrl-C, ends the clients that run.
    """
    stopped = threading.Event()
    pairs = [(client, scenario) for client in clients for scenario in scenarios]

    def work(pair: tuple[Client, Scenario]) -> Outcome:
        outcome = run_one(*pair, seconds=seconds, stop=stopped.is_set)
        heard(outcome)
        return outcome

    pool = ThreadPoolExecutor(jobs)
    try:
        return list(pool.map(work, pairs))
    except BaseException:
        stopped.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def run_one(
    client: Client,
    scenario: Scenario,
    *,
    seconds: float = SECONDS,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    if not all(client.can(verb) for verb in scenario.verbs):
        return Outcome(client.name, scenario, Verdict.CANNOT)
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="client-") as folder,
        _registry(scenario, Path(folder)) as registry,
    ):
        place = Place(registry, Path(folder), make_payload(scenario.size))
        place.prepare(scenario)
        steps = list(_take(client, scenario, place, seconds, stop))
        requests, fired = registry.requests, registry.fired
    told = steps[-1].done.printed
    verdict = judge(scenario, steps, met=is_met(scenario, fired))
    note = tell(scenario, verdict, requests, fired, told)
    return Outcome(client.name, scenario, verdict, note, time.monotonic() - begun, told, len(requests))


def _registry(scenario: Scenario, folder: Path) -> Registry:
    profile = scenario.profile
    if scenario.switches:
        path = folder / "profile.toml"
        path.write_text(f"[switches]\n{''.join(map(_line, scenario.switches.items()))}")
        profile = str(path)
    return Registry(
        isolated=bool(find_clash()),
        users={USER: PASSWORD} if scenario.login else None,
        profile=profile,
        faults=scenario.faults,
        **dict[str, Any](scenario.settings),
    )


def _line(entry: tuple[str, object]) -> str:
    """Of TOML: strings, numbers, booleans."""
    key, value = entry
    return f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}\n"


def _take(
    client: Client, scenario: Scenario, place: Place, seconds: float, stop: Callable[[], bool]
) -> Iterator[Step]:
    """Up to the first one that fails."""
    if scenario.before:
        done = run(client, "push", place.places(scenario.before), place.work, seconds, stop)
        yield Step("push", done, done.status == 0)
        if done.status != 0:
            return
    places = place.places()
    for verb in scenario.verbs:
        done = run(client, verb, places, place.work, seconds, stop)
        right = done.status == 0 and place.is_right(verb, done)
        yield Step(verb, done, right)
        if done.status != 0:
            return
