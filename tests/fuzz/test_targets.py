"""The readers of what strangers send, without a server: by rows, by hypothesis, and guided by coverage."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import tiers
from tests.fuzz.mutations import mutate
from tests.fuzz.seeds import REGRESSIONS, SEEDS, WORDS
from tests.fuzz.targets import TARGETS
from tests.missing import absent

PROJECT = Path(__file__).parents[2]
EXECUTED = re.compile(r"^stat::number_of_executed_units: (\d+)$", re.MULTILINE)
EXAMPLES = 150  # of hypothesis, for each target
RUNS = 1_500  # of atheris, for each target
AT_ONCE = 2
SECONDS = tiers.SECONDS * tiers.TARGETS / len(TARGETS) * AT_ONCE
LEAST = 100  # runs a second, whatever else the machine does


@dataclass(frozen=True, slots=True)
class Guided:
    """What atheris has done; `failures` are inputs."""

    seed: int
    runs: int
    code: int
    failures: list[bytes]
    said: str


def test_every_target_has_seeds_and_words() -> None:
    assert set(SEEDS) == set(WORDS) == set(TARGETS)
    assert set(REGRESSIONS) <= set(TARGETS)
    assert all(SEEDS.values())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_has_failed_once(name: str) -> None:
    for data in (b"", *SEEDS[name], *REGRESSIONS.get(name, ())):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_bytes(name: str, data: st.DataObject) -> None:
    seeds, words = st.sampled_from(SEEDS[name]), WORDS[name]
    changed = st.builds(mutate, seeds, st.just(words), st.randoms(use_true_random=False))
    built = st.lists(st.sampled_from(words), max_size=12).map(b"".join)
    TARGETS[name](data.draw(st.one_of(changed, changed, built, st.binary(max_size=40))))


@pytest.fixture(scope="module")
def guided(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Mapping[str, Future[Guided]]]:
    """All that were chosen, two at a time."""
    if find_spec("atheris") is None:
        absent("atheris")
    folder, seed = tmp_path_factory.mktemp("guided"), tiers.seed()
    pool = ThreadPoolExecutor(AT_ONCE)
    # Taken now: pytest changes it for each test, while the array is what exec in a thread reads (EFAULT).
    environment = dict(os.environ)
    asked = {item.name for item in request.session.items}
    chosen = [name for name in TARGETS if f"test_guided_by_coverage[{name}]" in asked]
    yield {name: pool.submit(guide, name, folder / name, seed, environment) for name in chosen}
    pool.shutdown(cancel_futures=True)


def guide(name: str, folder: Path, seed: int, environment: Mapping[str, str]) -> Guided:
    folder.mkdir()
    much = f"-max_total_time={SECONDS:.0f}" if tiers.LONG else f"-runs={RUNS}"
    options = [f"-seed={seed}", "-print_final_stats=1", "-timeout=10", f"-artifact_prefix={folder}/"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", name, much, *options],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    found = EXECUTED.search(done.stderr)
    failures = [path.read_bytes() for path in folder.iterdir()]
    return Guided(seed, int(found[1]) if found else 0, done.returncode, failures, done.stderr[-4000:])


@pytest.mark.timeout(tiers.SECONDS + 120)
@pytest.mark.parametrize("name", TARGETS)
def test_guided_by_coverage(
    name: str, guided: Mapping[str, Future[Guided]], say: Callable[[str], None]
) -> None:
    done = guided[name].result()
    say(f"target {name}, FUZZ_SEED={done.seed}: {done.runs} runs, {len(done.failures)} failures")
    assert done.code == 0, f"add to REGRESSIONS[{name!r}]: {done.failures}\n{done.said}"
    assert not done.failures
    assert done.runs >= (SECONDS * LEAST if tiers.LONG else RUNS)


def test_a_lax_reader_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above could not fail: each of these readers takes what it must not."""
    monkeypatch.setattr("registry.descriptors.miscased", lambda keys, table: None)
    monkeypatch.setattr("registry.names._LONGEST_NAME", 300)
    chance = random.Random(tiers.seed())
    fallen = set()
    for name in ("manifest", "name"):
        for _ in range(20_000):
            try:
                TARGETS[name](mutate(chance.choice(SEEDS[name]), WORDS[name], chance))
            except AssertionError:
                fallen.add(name)
                break
    assert fallen == {"manifest", "name"}
