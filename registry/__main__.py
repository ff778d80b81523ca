"""The command line: which commands there are, and where each is; what they do is in registry/cli.

Exit codes: 0 fine, 1 not found, not sound or not ready, 2 a mistake in the call or the settings, 128 and
more: a signal.
"""

import signal
import sys
from collections import UserDict
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from registry import __version__
from registry.cli.output import say

COMMANDS = {
    "access": "registry.cli.commands.access:access",
    "backup": "registry.cli.commands.backup:backup",
    "cache": "registry.cli.commands.cache:cache",
    "config": "registry.cli.commands.config:config",
    "du": "registry.cli.commands.du:du",
    "fsck": "registry.cli.commands.fsck:fsck",
    "gc": "registry.cli.commands.gc:gc",
    "health": "registry.cli.commands.health:health",
    "ls": "registry.cli.commands.ls:ls",
    "profile": "registry.cli.commands.profile:profile",
    "pull": "registry.cli.commands.pull:pull",
    "reindex": "registry.cli.commands.reindex:reindex",
    "restore": "registry.cli.commands.backup:restore",
    "retention": "registry.cli.commands.retention:retention",
    "rm": "registry.cli.commands.rm:rm",
    "serve": "registry.cli.commands.serve:serve",
    "snippet": "registry.cli.commands.snippet:snippet",
    "tag": "registry.cli.commands.tag:tag",
    "token": "registry.cli.commands.token:token",
    "user": "registry.cli.commands.user:user",
}

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Lazy(UserDict[str, Any]):
    """Commands by name; one is imported when it is asked for, so that each loads only what it needs.

    Not by the group's own methods: click looks into the mapping also where it has no method to override.
    """

    def __getitem__(self, name: str) -> click.Command:
        module, _, attribute = self.data[name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


class Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """What it does, until a Ctrl-C: click would make 1 of that."""
        with suppress(KeyboardInterrupt):
            return super().invoke(ctx)
        say("interrupted")
        sys.exit(128 + signal.SIGINT)


@click.group(cls=Group, context_settings=_CONTEXT, commands=Lazy(COMMANDS))
@click.version_option(__version__, prog_name="registry", message="%(prog)s %(version)s")
def cli() -> None:
    """A minimal, durable container registry.

    \b
    Examples:
      registry serve
      registry ls
      registry rm team/app:old
    """


def main() -> None:
    """The console script."""
    cli(prog_name="registry")


if __name__ == "__main__":
    main()
