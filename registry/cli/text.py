"""How the command line writes: sizes, tables, addresses."""

import time
from collections.abc import Sequence
from typing import Self, TextIO

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(count: int) -> str:
    """Bytes in decimal units, as docker writes them."""
    amount, unit = float(count), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    digits = 0 if unit == 0 or amount >= 99.95 else 1
    return f"{amount:.{digits}f} {_UNITS[unit]}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def address(host: str, port: int) -> str:
    """HOST:PORT as it is written in URLs and image names."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)


class Counter:
    """Bytes done so far, with the rate, rewritten in place twice a second; silent unless on a terminal.

    Who knows how many there will be in all says so with `expect`: then the time that is left is shown too.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._done = self._total = 0
        self._start = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
        rate = int(self._done / (now - self._start))
        left = max(self._total - self._done, 0)
        of, ends = (f" of {size(self._total)}", f", {left // rate} s left") if left and rate else ("", "")
        self._stream.write(f"\r\033[K{size(self._done)}{of}, {size(rate)}/s{ends}")
        self._stream.flush()
