"""`registry fsck`."""

import math
import sys
from dataclasses import asdict

import click

from registry.cli import fsck as work
from registry.cli.failures import explained
from registry.cli.options import json_option, settings_options
from registry.cli.output import say, show
from registry.settings import Settings


@click.command()
@click.option("--repair", is_flag=True, help="Take bad bytes out of the way, so that a push heals them.")
@click.option(
    "--rate",
    "megabytes",  # a setting has the name of the flag
    type=click.FloatRange(min=0, min_open=True),
    metavar="MB/S",
    default=math.inf,
    help="Read so many megabytes a second at most; a small file counts as 64 kB.",
)
@click.option("--resume", is_flag=True, help="Go on where a check was interrupted.")
@json_option()
@settings_options("root")
def fsck(repair: bool, megabytes: float, resume: bool, as_json: bool, settings: Settings) -> None:
    """Check every byte and every name of the root. Works beside a running server.

    The exit code is 0 only if nothing was found, repaired or not: check again after a repair. Ctrl-C and
    SIGTERM interrupt it (130, 143); --resume goes on there, or begins one if none was interrupted.

    \b
    Examples:
      registry fsck
      registry fsck --root /srv/images --json
      registry fsck --repair
      registry fsck --rate 50 --resume
    """
    try:
        with explained():
            report = work.fsck(
                settings, repair=repair, resume=resume, rate=megabytes * 10**6, say=say, terminal=sys.stderr
            )
    except work.Stopped as reason:
        say(str(reason))
        sys.exit(reason.code)
    show(lambda: {"sound": report.sound, **asdict(report)}, lambda: work.summary(report), as_json=as_json)
    sys.exit(0 if report.sound else 1)
