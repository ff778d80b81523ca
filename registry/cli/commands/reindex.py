"""`registry reindex`."""

import sys
from dataclasses import asdict

import click

from registry.cli import reindex as work
from registry.cli.failures import explained
from registry.cli.options import json_option, settings_options
from registry.cli.output import show
from registry.cli.text import Counter
from registry.settings import Settings


@click.command()
@click.option("--into", default="recovered", metavar="REPO", show_default=True, help="Where images are put.")
@click.option("--dry-run", is_flag=True, help="Say what would be found, and change nothing.")
@json_option()
@settings_options("root")
def reindex(into: str, dry_run: bool, as_json: bool, settings: Settings) -> None:
    """Find the images among the blobs and list them again, as far as bytes can tell.

    For a root whose index is lost or damaged, once no server has it open: a new one is made, and the old
    one put aside. In a sound index, also beside a running server, it adds the manifests that no repository
    lists, and mends what disagrees with their bytes. Names are not in the bytes: all goes into one
    repository, by digest. An image that lacks content is listed too; a push of the rest completes it.

    \b
    Examples:
      registry reindex --dry-run
      registry reindex --root /srv/images --into lost/found --json
    """
    with explained(), Counter(sys.stderr) as counter:
        report = work.reindex(settings, into, dry_run=dry_run, progress=counter.add)
    show(
        lambda: {**asdict(report), "unknown": work.UNKNOWN},
        lambda: work.summary(report, into, dry_run=dry_run),
        as_json=as_json,
    )
