"""A registry made from plain data: in this process, or for who asks line by line on standard input."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from registry.errors import RegistryError
from registry.settings import ConfigError
from registry.testing.fault_file import FaultsInvalid
from registry.testing.profiles import ProfileInvalid
from registry.testing.served import Served, Wish
from storage.errors import StorageError

CANNOT = (ConfigError, ProfileInvalid, FaultsInvalid, RegistryError, StorageError, OSError)
"""What it may raise, with a text for people."""

_VERBS = (
    *("stop", "restart", "reset", "fail", "plant"),
    *("fired", "requests", "forget", "manifests", "blob"),
)


def make(wish: Mapping[str, Any]) -> Served:
    return Served(Wish(**wish))


def listen() -> None:
    """Until the input ends: a line is a JSON list of number, verb and arguments; an object answers."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints must not come in between
    with answers:
        serve(sys.stdin, answers)


def serve(lines: TextIO, answers: TextIO) -> None:
    target: Served | None = None
    try:
        for line in lines:
            number, verb, *arguments = json.loads(line)
            answer: dict[str, Any] = {"to": number}
            try:
                if verb == "begin":
                    target = make(*arguments)
                    answer["value"] = target.start()
                else:
                    assert target is not None
                    assert verb in _VERBS
                    answer["value"] = getattr(target, verb)(*arguments)
            except CANNOT as error:
                answer["error"] = str(error)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        if target:
            target.stop()
