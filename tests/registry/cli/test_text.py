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


def test_the_counter_writes_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.0, 0.1, 0.1, 0.6, 0.6, 2.0, 2.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    terminal, pipe = Terminal(), io.StringIO()
    with text.Counter(terminal) as seen, text.Counter(pipe) as unseen:
        for _ in range(3):
            seen.add(1_000_000)
            unseen.add(1_000_000)
    clear = "\r\033[K"
    assert terminal.getvalue() == f"{clear}2.0 MB, 3.3 MB/s{clear}3.0 MB, 1.5 MB/s{clear}"
    assert pipe.getvalue() == ""


def test_the_counter_tells_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    terminal = Terminal()
    with text.Counter(terminal) as counter:
        counter.expect(2_500_000)
        for _ in range(3):
            counter.add(1_000_000)
    shown = terminal.getvalue().split("\r\033[K")
    assert shown == [
        "",
        "1.0 MB of 2.5 MB, 1.0 MB/s, 1 s left",
        "2.0 MB of 2.5 MB, 1.0 MB/s, 0 s left",
        "3.0 MB, 1.0 MB/s",
        "",
    ]
