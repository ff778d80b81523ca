"""A position is written down and read again; what is no position is none."""

import json
from dataclasses import asdict

import pytest

from registry.fsck import decode, encode
from storage.findings import Finding, Latch, Position, Report

FULL = Position(
    "blobs/sha256/00/\udcff",
    Report(
        1, 2, 3, 4, findings=[Finding("corrupt", "sha256:0", "é", repaired=True), Finding("stray", "x", "y")]
    ),
    Latch("fsync of x failed", 2**60),
    1_700_000_000,
)


@pytest.mark.parametrize("position", [FULL, Position()])
def test_what_was_written_reads_the_same(position: Position) -> None:
    text = encode(position)
    assert text.isascii()
    assert decode(text) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        "{}",
        encode(FULL)[:-9],
        json.dumps({**asdict(FULL), "report": {"colour": "red", "findings": []}}),
        json.dumps({**asdict(FULL), "report": None}),
        json.dumps({**asdict(FULL), "degraded": [1]}),
        json.dumps({**asdict(FULL), "begun": "then"}),
    ],
)
def test_what_is_no_position(text: str) -> None:
    assert decode(text) is None
