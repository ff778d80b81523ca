"""The audit trail's lines, and the file that they are appended to."""

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from typing import Final

from registry.access import Action
from registry.changes import BlobAdded, BlobRemoved, Change, ManifestAdded, ManifestRemoved, TagMoved

STDERR: Final = "-"
"""As the path of a trail: among the lines of the access log."""

_PRIVATE = 0o600  # who did what is not for everyone

logger = logging.getLogger("registry")

Sink = Callable[[str], None]
"""Takes a line without its end."""


Facts = dict[str, str | int]


def render(audit: str, outcome: str, who: str, facts: Facts, now: float) -> str:
    """One line; facts that are empty are left out. Control characters are escaped, delete (7f) too."""
    said = {
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "audit": audit,
        "outcome": outcome,
        "who": who,
        **{name: value for name, value in facts.items() if value != ""},
    }
    return json.dumps(said).replace("\x7f", "\\u007f")


def describe(change: Change) -> tuple[str, Action, Facts] | None:
    """What a change is called, which action it takes, and what it is about; None if nothing is different."""
    facts: Facts = {"repository": change.repository}
    match change:
        case BlobAdded():
            audit = "mount" if change.mounted else "push"
            facts |= {"what": "blob", "digest": str(change.digest), "bytes": change.size}
            return audit, Action.PUSH, facts
        case ManifestAdded():
            facts |= {"what": "manifest", "digest": str(change.digest), "bytes": change.size}
            return "push", Action.PUSH, {**facts, "type": change.media_type}
        case BlobRemoved():
            return "delete", Action.DELETE, {**facts, "what": "blob", "digest": str(change.digest)}
        case ManifestRemoved():
            return "delete", Action.DELETE, {**facts, "what": "manifest", "digest": str(change.digest)}
        case TagMoved(old=old, new=new) if old == new:
            return None
        case TagMoved(tag=tag, old=old, new=new):
            action = Action.DELETE if new is None else Action.PUSH if old is None else Action.MOVE
            return "tag", action, {**facts, "reference": tag, "digest": str(new or ""), "old": str(old or "")}


class Trail:
    """A file that processes share, each line in one write; opened for each, so that it may be moved away.

    Not of the store: nothing is synced. What can't be written fails no request: a warning says so once, and
    another how many lines were lost, when it can be written again.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lost, self._torn = 0, False

    def require(self) -> None:
        """Raises OSError where lines cannot be written."""
        self._open().close()

    def __call__(self, line: str) -> None:
        try:
            self._append(line)
        except OSError as error:
            if not self._lost:
                logger.warning("the audit log %s cannot be written: %s", self._path, error.strerror)
            self._lost += 1
            return
        if self._lost:
            logger.warning("the audit log %s is written again; %d lines are lost", self._path, self._lost)
            self._lost = 0

    def _append(self, line: str) -> None:
        with self._open() as file:
            # A disk that fills up takes a part of a line: the next must not go on where that ends.
            mended = b"\n" if self._torn and file.tell() else b""
            data = b"%b%b\n" % (mended, line.encode())
            self._torn = file.write(data) != len(data)
        if self._torn:
            raise OSError(None, "there is no room for a whole line")

    def _open(self) -> FileIO:
        return open(self._path, "ab", buffering=0, opener=partial(os.open, mode=_PRIVATE))
