"""`registry backup` and `registry restore`."""

import sys
from dataclasses import asdict

import click

from registry.cli import backup as work
from registry.cli.failures import explained
from registry.cli.options import json_option, settings_options
from registry.cli.output import show
from registry.cli.text import Counter
from registry.settings import Settings
from storage.filling import Report


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--copy", is_flag=True, help="Copy every blob: without it, DIR shares files with the root.")
@click.option("--verify", is_flag=True, help="Read what DIR holds, and take what is bad anew.")
@json_option()
@settings_options("root")
def backup(folder: str, copy: bool, verify: bool, as_json: bool, settings: Settings) -> None:
    """Make DIR a whole copy of the root, or bring it up to date. Works beside a running server.

    On the file system of the root, blobs get a second name in DIR: that takes no room and almost no time,
    but a bad sector hits both. --copy, or a DIR on another disk, makes bytes of its own, verified on the
    way. What DIR has already with the right size is left; only --verify reads it.

    The exit code is 1 if bytes were missing or bad; DIR has everything else then.

    \b
    Examples:
      registry backup /backup/images
      registry backup --root /srv/images --copy --verify /mnt/disk2/images
      registry serve --root /backup/images --port 5001
    """
    with explained(), Counter(sys.stderr) as counter:
        report = work.backup(settings, folder, copy=copy, verify=verify, counter=counter)
    _end(report, "backed up to", folder, as_json=as_json)


@click.command()
@click.argument("folder", metavar="DIR")
@json_option()
@settings_options("root")
def restore(folder: str, as_json: bool, settings: Settings) -> None:
    """Make a new root from DIR, a backup or another root; every byte is copied and verified.

    The root must be absent or empty. An interrupted restore goes on when it is repeated; until it has ended,
    no server starts there. The exit code is 1 if bytes were missing or bad; the root has everything else
    then.

    \b
    Examples:
      registry restore /backup/images
      registry restore /backup/images --root /srv/images
    """
    with explained(), Counter(sys.stderr) as counter:
        report = work.restore(settings, folder, counter=counter)
    _end(report, "restored to", settings.root, as_json=as_json)


def _end(report: Report, verb: str, folder: str, *, as_json: bool) -> None:
    show(lambda: asdict(report), lambda: work.summary(report, verb, folder), as_json=as_json)
    sys.exit(1 if report.lost else 0)
