"""Starting: how fast, what is said when it cannot be, and what is left behind."""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.start import TIMES, measure
from storage.digest import Digest
from tests.builders import blob
from tests.live.measuring import slowdown
from tests.live.servers import PROJECT, Live, running, start
from tests.live.stories import append, begin, pull_blob, push_blob, push_image, require_whole
from tests.live.wire import once

COLD_START = 0.5  # seconds, from the start of the process to its first 200


@pytest.mark.parametrize("fresh", [True, False], ids=["new root", "existing root"])
def test_a_cold_start_takes_half_a_second_at_most(tmp_path: Path, fresh: bool) -> None:
    """The median of five; measured again where a neighbour took the machine, and by what that takes now."""
    for attempt in range(3):
        before = slowdown(0.5)
        times = measure(tmp_path / str(attempt), fresh=fresh)
        assert len(times) == TIMES
        limit = COLD_START * max(before, slowdown(0.5))
        if statistics.median(times) <= limit:
            return
    pytest.fail(f"the median of {times} is more than {limit:.2f} s")


def attempt(*flags: str, module: str = "registry") -> subprocess.CompletedProcess[str]:
    """A start that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", module, "serve", *flags],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def require_refusal(found: subprocess.CompletedProcess[str], *parts: str) -> None:
    """One line that says what is wrong and what to do, a code of its own, no traceback."""
    assert found.returncode == 2, found
    assert found.stdout == ""
    (line,) = found.stderr.splitlines()
    assert [part for part in parts if part not in line] == [], line


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken(tmp_path: Path, workers: str) -> None:
    with running(tmp_path / "root") as live:
        port = live.host.partition(":")[2]
        other = ["--root", str(tmp_path / "other"), "--port", port, "--workers", workers]
        require_refusal(attempt(*other), "127.0.0.1", port, "in use", "choose another")
        assert once(live.host, "GET", "/v2/").status == 200


@contextlib.contextmanager
def begun(folder: Path, name: str, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server on a root of its own, from the moment of its start; its standard error is in `name`.log."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "registry", "serve", "--root", str(folder / name), *flags],
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_two_that_start_together_one_at_most_has_the_port(tmp_path: Path, workers: str) -> None:
    for turn in range(3):
        flags = ["--port", str(free_port("127.0.0.1")), "--workers", workers]
        names = [f"{turn}a", f"{turn}b"]
        with begun(tmp_path, names[0], *flags) as first, begun(tmp_path, names[1], *flags) as second:
            both = dict(zip(names, (first, second), strict=True))
            await_end(*both.values())
            refused = [name for name, process in both.items() if process.poll() is not None]
            assert refused
            for name in refused:
                assert both[name].returncode == 2
                (line,) = (tmp_path / f"{name}.log").read_text().splitlines()
                assert "in use" in line
                assert flags[1] in line
            if len(refused) == 1:  # the kernel may refuse both that begin to listen at the very same moment
                for _ in range(10):  # who comes while it starts waits
                    assert once(f"127.0.0.1:{flags[1]}", "GET", "/v2/").status == 200


def await_end(*processes: subprocess.Popen[bytes]) -> None:
    """Until one has ended, and a moment for the others."""
    deadline = time.monotonic() + 30
    while all(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        return int(listener.getsockname()[1])


def test_two_workers_on_ipv6(tmp_path: Path) -> None:
    flags = ["--host", "::1", "--port", str(port := free_port("::1")), "--workers", "2"]
    with begun(tmp_path, "root", *flags) as process:
        answered = 0
        deadline = time.monotonic() + 30
        while answered < 20 and time.monotonic() < deadline:
            try:
                client = socket.create_connection(("::1", port), timeout=10)
            except ConnectionRefusedError:
                time.sleep(0.05)
                continue
            with client:
                client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
            answered += 1
        assert answered == 20
        other = ["--root", str(tmp_path / "other"), *flags]
        require_refusal(attempt(*other), "::1", str(port), "in use", "choose another")
        assert process.poll() is None


def test_a_port_is_free_again_at_once(tmp_path: Path) -> None:
    """Connections of the server before are still in TIME_WAIT."""
    with running(tmp_path / "root") as live:
        port = live.host.partition(":")[2]
        assert once(live.host, "GET", "/v2/", headers={"Connection": "close"}).status == 200
    with running(tmp_path / "root", "--port", port) as live:
        assert live.host.endswith(f":{port}")


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    flags = ["--root", str(tmp_path / "root"), "--host", "192.0.2.1", "--anonymous", "pull"]
    require_refusal(attempt(*flags), "192.0.2.1", "choose another")


def write_format(root: Path) -> None:
    root.mkdir()
    (root / "format").write_text("oci-registry 99\n")


def write_stranger(root: Path) -> None:
    root.mkdir()
    (root / "thesis.txt").write_text("chapter 1")


def write_distribution(root: Path) -> None:
    (root / "docker" / "registry" / "v2").mkdir(parents=True)


def write_file(root: Path) -> None:
    root.write_text("no folder")


# What stands where the root is to be, and what the refusal names.
ROOTS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "unknown format": (write_format, ("oci-registry 99", "oci-registry 1", "use the program that wrote it")),
    "someone's folder": (write_stranger, ("thesis.txt", "choose an empty folder")),
    "a distribution registry's": (write_distribution, ("distribution registry", "choose an empty folder")),
    "a file": (write_file, ("choose another --root",)),
}


@pytest.mark.parametrize(("prepare", "parts"), ROOTS.values(), ids=ROOTS)
def test_a_root_that_is_not_ours(
    tmp_path: Path, prepare: Callable[[Path], None], parts: tuple[str, ...]
) -> None:
    root = tmp_path / "root"
    prepare(root)
    before = sorted(tmp_path.rglob("*"))
    require_refusal(attempt("--root", str(root), "--port", "0"), str(root), *parts)
    left = set(tmp_path.rglob("*")) - set(before)
    assert {path.name for path in left} <= {"write.lock"}


def test_workers_that_cannot_start_end_the_server(tmp_path: Path) -> None:
    flags = ["--root", str(tmp_path / "root"), "--port", "0", "--workers", "2"]
    found = attempt(*flags, module="tests.live.failing_worker")
    assert found.returncode == 1
    assert "a worker cannot open the store: a test says so" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_ephemeral_leaves_nothing_behind(tmp_path: Path, workers: str, number: int) -> None:
    live, folder = start_ephemeral(tmp_path, workers)
    data = blob(100_000, 1)
    assert push_blob(live.host, "a", data).status == 201
    assert pull_blob(live.host, "a", data) == data
    (root,) = folder.iterdir()
    assert (root / "blobs" / "sha256" / str(Digest.of(data).encoded)[:2]).is_dir()
    live.signal(number)
    assert live.process.wait(30) == 0
    assert list(folder.iterdir()) == []
    assert "Traceback" not in live.said()


def test_ephemeral_under_kill_9_leaves_one_folder_that_is_recognised(tmp_path: Path) -> None:
    """Nothing can run then; the folder's name says whose it was, and the next one takes another."""
    live, folder = start_ephemeral(tmp_path, "1")
    live.kill()
    (root,) = folder.iterdir()
    assert root.name.startswith("registry-")
    again, _ = start_ephemeral(tmp_path, "1")
    assert again.stop() == 0
    assert list(folder.iterdir()) == [root]


def start_ephemeral(tmp_path: Path, workers: str) -> tuple[Live, Path]:
    folder = tmp_path / "temporary"
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(folder)}
    return start(tmp_path / "none", "--ephemeral", "--workers", workers, environment=environment), folder


def test_a_stop_while_it_starts(tmp_path: Path) -> None:
    """At whatever moment the signal comes, the process ends by it, and a temporary root goes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    for milliseconds in range(0, 400, 40):
        process = subprocess.Popen(
            [sys.executable, "-m", "registry", "serve", "--ephemeral", "--port", "0"],
            cwd=PROJECT,
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        time.sleep(milliseconds / 1000)
        process.terminate()
        _, said = process.communicate(timeout=30)
        assert process.returncode in (0, -signal.SIGTERM)
        assert b"Traceback" not in said, said.decode()
        assert list(folder.iterdir()) == []


def test_port_zero_prints_the_port(tmp_path: Path) -> None:
    with running(tmp_path / "root") as live:
        port = int(live.host.partition(":")[2])
        first, second, third = live.said().splitlines()[:3]
        assert first.endswith(f"listens on http://127.0.0.1:{port}")
        assert second.split() == ["stores", "in", str(tmp_path / "root")]
        assert f"docker push 127.0.0.1:{port}/" in third
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_read_only_server_serves_what_was_pushed(tmp_path: Path, workers: str) -> None:
    data = blob(1_000, 1)
    with running(tmp_path / "root") as live:
        raw = push_image(live.host, "a", "t", data)
        session = begin(live.host, "a")
    with running(tmp_path / "root", "--read-only", "--workers", workers, name="reader") as live:
        assert "pushes and deletes are refused" in live.said()
        assert require_whole(live.host, "a", "t") == raw
        assert push_blob(live.host, "a", data).status == 405
        assert append(live.host, session, data, 0).status == 405
        assert once(live.host, "DELETE", "/v2/a/manifests/t").status == 405
        assert once(live.host, "GET", "/readyz").status == 200
    with running(tmp_path / "root", name="again") as live:
        assert append(live.host, session, data, 0).status == 202
