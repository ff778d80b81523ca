"""How the command line writes: sizes, tables, addresses."""

import time
from collections.abc import Callable, Sequence
from typing import Self, TextIO

_UNITS = ("B", "kB", "MB", "GB", "TB")
_NAMED = 10  # lines of a kind that are printed; --json has all


def size(count: int) -> str:
    """Bytes in decimal units, as docker writes them."""
    amount, unit = float(count), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    digits = 0 if unit == 0 or amount >= 99.95 else 1
    return f"{amount:.{digits}f} {_UNITS[unit]}"


def number(count: int) -> str:
    return f"{count:,}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def first(lines: Sequence[str]) -> list[str]:
    """So many that they can be read, and how many more there are."""
    more = [f"and {len(lines) - _NAMED} more, which --json names"] if len(lines) > _NAMED else []
    return [*lines[:_NAMED], *more]


def address(host: str, port: int) -> str:
    """HOST:PORT as it is written in URLs and image names."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)


def duration(seconds: float) -> str:
    """The two largest units that say something."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (left, "s")]
    first = next((number for number, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2])


class Counter:
    """How much is done, of how much, how fast, and the time that is left; rewritten in place twice a second.

    Silent unless on a terminal. `total` 0 is unknown; `done` was done before, and tells nothing of the rate.
    `write` and `noun` say what is counted: bytes, unless told otherwise.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        total: int = 0,
        done: int = 0,
        write: Callable[[int], str] = size,
        noun: str = "",
    ) -> None:
        self._stream, self._total = stream, total
        self._write, self._noun = write, noun
        self._before = self._done = done
        self._start = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Before anything else is written to the terminal; the next count is shown below it."""
        if self._stream.isatty():
            self._stream.write("\r\033[K")

    def expect(self, total: int) -> None:
        self._total = total

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._shown < 0.5 or not self._stream.isatty():
            return
        self._shown = now
        self._stream.write(f"\r\033[K{self._line((self._done - self._before) / (now - self._start))}")
        self._stream.flush()

    def _line(self, rate: float) -> str:
        parts = [f"{self._write(self._done)}{self._noun}", f"{self._write(int(rate))}/s"]
        if self._total:
            parts[0] += f" of {self._write(max(self._total, self._done))}"
        if self._total and rate:
            parts.append(f"{duration(max(0, self._total - self._done) / rate)} left")
        return ", ".join(parts)
