"""What a registry leaves when it has stopped: nothing."""

import asyncio
import gc
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from oci_registry_testing import Registry
from oci_registry_testing.sides import Failed, Process
from registry.testing.served import Served, Wish
from tests.live.servers import descriptors
from tests.oci_registry_testing.asking import ask

STARTS = 8


@dataclass(frozen=True, slots=True)
class Traces:
    open_here: frozenset[tuple[str, str]]
    threads: frozenset[str]
    files: frozenset[str]

    def since(self, before: "Traces") -> "Traces":
        """What has come. What was there from tests before these may go meanwhile."""
        return Traces(
            self.open_here - before.open_here, self.threads - before.threads, self.files - before.files
        )


NOTHING = Traces(frozenset(), frozenset(), frozenset())


def traces() -> Traces:
    gc.collect()
    files = frozenset(name for name in os.listdir(tempfile.gettempdir()) if name.startswith("registry-"))
    open_here = frozenset(each for each in descriptors(os.getpid()).items() if "/proc/" not in each[1])
    return Traces(open_here, frozenset(thread.name for thread in threading.enumerate()), files)


@pytest.fixture(autouse=True)
def others() -> Iterator[None]:
    """Descriptors that are no registry's: it must leave them open."""
    ends = [end for _ in range(4) for end in os.pipe()]
    yield
    for end in ends:
        os.close(end)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of temporary files: those of other tests that run are not ours to count."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def use(registry: Registry) -> None:
    registry.push_image("app:v1")
    assert ask("GET", f"{registry.url}/v2/app/manifests/v1").status_code == 200


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_nothing_is_left_of_many_in_this_process(folder: Path, tls: bool) -> None:
    kept = httpx.Client(verify=False)  # whose connections stay open when the registry is gone
    with Registry(tls=tls) as registry:
        registry.push_image("app:v1")
    before = traces()
    for _ in range(STARTS):
        with Registry(tls=tls, users={"ann": "secret"}) as registry:
            registry.push_image("app:v1")
            if not tls:
                assert kept.get(f"{registry.url}/v2/", auth=registry.login).status_code == 200
            registry.restart()
            registry.reset()
    kept.close()
    assert traces().since(before) == NOTHING
    assert os.listdir(folder) == []


def test_nothing_is_left_of_one_beside_us(folder: Path) -> None:
    before = traces()
    with Registry(isolated=True) as registry:
        use(registry)
    assert traces().since(before) == NOTHING
    assert os.listdir(folder) == []


@pytest.mark.parametrize("isolated", [False, True], ids=["inside", "isolated"])
def test_nothing_is_left_of_a_start_that_failed(folder: Path, isolated: bool) -> None:
    before = traces()
    with pytest.raises(Exception, match="expected"):
        Registry(isolated=isolated, tls=True, untagged="yesterday").start()
    assert traces().since(before) == NOTHING
    assert os.listdir(folder) == []


@pytest.mark.anyio
async def test_nothing_is_left_of_a_start_that_was_cancelled(folder: Path) -> None:
    before = traces()
    registry = Registry(isolated=True)
    entering = asyncio.ensure_future(registry.__aenter__())
    await asyncio.sleep(0)  # it has begun
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    with pytest.raises(RuntimeError, match="not running"):
        registry.restart()
    left = traces().since(before)
    assert replace(left, threads=frozenset()) == NOTHING  # the loop's threads stay until it ends
    assert os.listdir(folder) == []


def test_nothing_is_left_of_an_end_that_failed(folder: Path) -> None:
    def fail() -> None:
        raise OSError("the server has not ended well")

    served = Served(Wish())
    served.start()
    served._life.callback(fail)
    with pytest.raises(OSError, match="not ended well"):
        served.stop()
    assert os.listdir(folder) == []


def test_a_stop_waits_for_no_idle_client() -> None:
    took = []
    with httpx.Client(verify=False) as client:
        for _ in range(5):
            with Registry() as registry:
                client.get(f"{registry.url}/v2/")
                begun = time.monotonic()
                registry.stop()
                took.append(time.monotonic() - begun)
    assert statistics.median(took) < 0.5


def test_a_stop_ends_a_request_that_hangs() -> None:
    """After a second: it is answered that the server stops, or its connection ends."""
    with Registry(faults=[{"do": "delay", "seconds": 600}]) as registry:
        ended: list[float] = []

        def wait() -> None:
            with pytest.raises(httpx.HTTPError):
                ask("GET", f"{registry.url}/v2/", timeout=60).raise_for_status()
            ended.append(time.monotonic())

        client = threading.Thread(target=wait)
        client.start()
        while not registry.requests and client.is_alive():
            time.sleep(0.01)
        begun = time.monotonic()
        registry.stop()
        client.join()
        assert ended[0] - begun < 5


def test_it_ends_when_whoever_started_it_is_killed(folder: Path) -> None:
    """Not even then is anything left: its input ends, and it cleans up."""
    program = (
        "import sys, time\n"
        "from oci_registry_testing import Registry\n"
        "registry = Registry(isolated=True)\n"
        "registry.start()\n"
        "print(registry.url, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert ask("GET", f"{url}/v2/").status_code == 200
        assert os.listdir(folder) != []
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (os.listdir(folder) or listens(url)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert os.listdir(folder) == []
    assert not listens(url)


def listens(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_question_that_was_broken_off_leaves_its_answer_to_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Registry(isolated=True) as registry:
        image = registry.push_image("app:v1")
        side = registry._side
        assert isinstance(side, Process)
        with monkeypatch.context() as patched:
            patched.setattr(side._process, "stdout", Interrupted())
            with pytest.raises(KeyboardInterrupt):
                registry.blob(image.digest)
        assert registry.requests == ()
        assert registry.blob(image.digest) == image.content.manifest


class Interrupted:
    def readline(self) -> str:
        raise KeyboardInterrupt


def test_a_process_that_has_died_is_noticed() -> None:
    registry = Registry(isolated=True)
    registry.start()
    side = registry._side
    assert isinstance(side, Process)
    side._process.kill()
    side._process.wait()
    with pytest.raises(Failed, match="has ended"):
        _ = registry.requests
    with pytest.raises(Failed, match="has ended"):
        registry.stop()
