"""The registry behind a test's: in this process or in another, asked the same things."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from oci_registry_testing import child
from oci_registry_testing.home import find_clash

_STOP_SECONDS = 10.0


class CannotStart(Exception):
    """The text says why, and what to do."""


class Failed(Exception):
    """The registry could not do what the test asked of it."""


class Side(Protocol):
    """`registry.testing.served.Served`, or what passes everything on to one."""

    def start(self) -> dict[str, Any]: ...
    def stop(self) -> None: ...
    def restart(self) -> None: ...
    def reset(self) -> None: ...
    def fail(self, faults: Sequence[Mapping[str, Any]]) -> None: ...
    def fired(self) -> list[dict[str, Any]]: ...
    def requests(self) -> list[dict[str, Any]]: ...
    def forget(self) -> None: ...
    def manifests(self) -> list[dict[str, Any]]: ...
    def blob(self, digest: str) -> str | None: ...
    def plant(self, repository: str, tag: str, digest: str, data: str, media_type: str) -> None: ...


def start_inside(wish: Mapping[str, Any]) -> tuple[Side, dict[str, Any]]:
    """In this process. Raises CannotStart."""
    if clash := find_clash():
        raise CannotStart(
            f"the registry cannot run in this process: {clash}, and oci-registry needs its own package of "
            "that name. Use Registry(isolated=True): it starts in a process of its own, where nothing can "
            "clash; the fixtures do so by themselves."
        )
    from registry.testing.starting import CANNOT, make  # only now: it is the whole server

    try:
        target = make(wish)
        return target, target.start()
    except CANNOT as error:
        raise CannotStart(str(error)) from error


def start_beside(wish: Mapping[str, Any]) -> tuple[Side, dict[str, Any]]:
    """In a process of its own. Raises CannotStart."""
    process = Process()
    try:
        return process, process.begin(wish)
    except Failed as error:
        process.end()
        raise CannotStart(str(error)) from None
    except BaseException:
        process.end()
        raise


class Process:
    """Ends with this one, however that ends: its input is closed then."""

    def __init__(self) -> None:
        # Isolated: neither the environment nor the folder that we are in says what it imports.
        self._process = subprocess.Popen(
            [sys.executable, "-I", child.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for us to hear, and to stop it in order
        )
        self._turn = threading.Lock()
        self._asked = 0

    def begin(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("begin", wish)
        return found

    def start(self) -> dict[str, Any]:
        raise Failed("it has been started")

    def stop(self) -> None:
        try:
            self._ask("stop")
        finally:
            self.end()

    def end(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def restart(self) -> None:
        self._ask("restart")

    def reset(self) -> None:
        self._ask("reset")

    def fail(self, faults: Sequence[Mapping[str, Any]]) -> None:
        self._ask("fail", faults)

    def fired(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("fired")
        return found

    def requests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("requests")
        return found

    def forget(self) -> None:
        self._ask("forget")

    def manifests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("manifests")
        return found

    def blob(self, digest: str) -> str | None:
        found: str | None = self._ask("blob", digest)
        return found

    def plant(self, repository: str, tag: str, digest: str, data: str, media_type: str) -> None:
        self._ask("plant", repository, tag, digest, data, media_type)

    def _ask(self, verb: str, *arguments: object) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        with self._turn, suppress(BrokenPipeError):
            self._asked += 1
            self._process.stdin.write(json.dumps([self._asked, verb, *arguments]) + "\n")
            self._process.stdin.flush()
            # Ctrl-C, or a test's time limit, may have ended an earlier question before its answer was read.
            while line := self._process.stdout.readline():
                answer = json.loads(line)
                if answer["to"] != self._asked:
                    continue
                if "error" in answer:
                    raise Failed(answer["error"])
                return answer["value"]
        raise Failed(
            f"the registry's process has ended (exit code {self._process.poll()}); what it said is in "
            "the standard error"
        )
