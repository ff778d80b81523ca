"""How sizes, tables and addresses read."""

import io

import pytest

from registry.cli import text


@pytest.mark.parametrize(
    ("count", "reads"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1049, "1.0 kB"),
        (13_300, "13.3 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (5_000_000_000, "5.0 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_size(count: int, reads: str) -> None:
    assert text.size(count) == reads


def test_table() -> None:
    assert text.table(("A", "BB"), [("one", "1"), ("x", "22")]) == "A    BB\none  1\nx    22"
    assert text.table(("A", "BB"), []) == "A  BB"


@pytest.mark.parametrize(
    ("count", "ends"), [(0, []), (10, ["9"]), (11, ["9", "and 1 more, which --json names"])]
)
def test_the_first_lines(count: int, ends: list[str]) -> None:
    lines = [str(number) for number in range(count)]
    assert text.first(lines) == [*lines[:9], *ends]


@pytest.mark.parametrize(
    ("host", "written", "reached"),
    [
        ("127.0.0.1", "127.0.0.1:5000", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0:5000", "127.0.0.1"),
        ("::", "[::]:5000", "::1"),
        ("::1", "[::1]:5000", "::1"),
        ("registry.example", "registry.example:5000", "registry.example"),
    ],
)
def test_addresses(host: str, written: str, reached: str) -> None:
    assert text.address(host, 5000) == written
    assert text.reachable(host) == reached


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "reads"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.6, "1m 0s"),
        (61, "1m 1s"),
        (3599, "59m 59s"),
        (3600, "1h 0m"),
        (86_399, "23h 59m"),
        (90_000, "1d 1h"),
        (10**8, "1157d 9h"),
    ],
)
def test_duration(seconds: float, reads: str) -> None:
    assert text.duration(seconds) == reads


CLEAR = "\r\033[K"


def test_the_counter_writes_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.0, 0.1, 0.1, 0.6, 0.6, 2.0, 2.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    terminal, pipe = Terminal(), io.StringIO()
    with text.Counter(terminal) as seen, text.Counter(pipe) as unseen:
        for _ in range(3):
            seen.add(1_000_000)
            unseen.add(1_000_000)
    assert terminal.getvalue() == f"{CLEAR}2.0 MB, 3.3 MB/s{CLEAR}3.0 MB, 1.5 MB/s{CLEAR}"
    assert pipe.getvalue() == ""


def test_the_counter_tells_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done before tells nothing of the rate, and what is more than expected ends in no time."""
    times = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    terminal = Terminal()
    with text.Counter(terminal, total=100_000_000, done=50_000_000) as counter:
        counter.add(1_000_000)
        counter.add(39_000_000)
        counter.add(20_000_000)
    assert terminal.getvalue().split(CLEAR)[1:-1] == [
        "51.0 MB of 100 MB, 1.0 MB/s, 49s left",
        "90.0 MB of 100 MB, 20.0 MB/s, 0s left",
        "110 MB of 110 MB, 20.0 MB/s, 0s left",
    ]


def test_the_counter_counts_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 2.4])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    terminal = Terminal()
    with text.Counter(terminal, total=1_000_000, write=text.number, noun=" rows") as counter:
        counter.add(120_000)
    assert terminal.getvalue().split(CLEAR)[1:-1] == ["120,000 rows of 1,000,000, 50,000/s, 18s left"]


def test_the_counter_before_anything_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    terminal = Terminal()
    with text.Counter(terminal, total=1000) as counter:
        counter.add(0)
    assert terminal.getvalue().split(CLEAR)[1:-1] == ["0 B of 1.0 kB, 0 B/s"]
