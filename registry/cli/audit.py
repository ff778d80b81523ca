"""What a command changes in a root, in the audit trail of its server."""

import os
import pwd
import time

from registry.changes import Change
from registry.cli.output import line
from registry.settings import Settings
from registry.trail import STDERR, Facts, Trail, describe, render


def user() -> str:
    """Who runs the command."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return f"user {os.getuid()}"


def note(settings: Settings, command: str, audit: str, facts: Facts) -> None:
    """A line, if there is a trail; what can't be written is a warning, for the change is made."""
    if not settings.audit_log:
        return
    text = render(audit, "done", f"cli:{user()}", {**facts, "rule": f"registry {command}"}, time.time())
    if settings.audit_log == STDERR:
        line(text)
        return
    Trail(settings.audit_log)(text)


def note_change(settings: Settings, command: str, change: Change) -> None:
    if found := describe(change):
        audit, _, facts = found
        note(settings, command, audit, facts)
