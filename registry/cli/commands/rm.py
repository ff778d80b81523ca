"""`registry rm`."""

import click

from registry.cli import content
from registry.cli.failures import explained
from registry.cli.options import settings_options
from registry.settings import Settings


@click.command()
@click.argument("target", metavar="REPO[:TAG|@DIGEST]")
@click.option("--yes", is_flag=True, help="Remove a whole repository without asking.")
@settings_options("root", "sparse")
def rm(target: str, yes: bool, settings: Settings) -> None:
    """Remove a tag, a manifest with its tags, or a whole repository. Works beside a running server.

    A manifest that another one names is kept, unless --sparse.

    \b
    Examples:
      registry rm team/app:old
      registry rm team/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      registry rm --yes team/app
    """
    with explained():
        wanted = content.parse_target(target)
        if wanted.reference is None and not yes:
            click.confirm(f"Remove everything in {wanted.repository}?", abort=True, err=True)
        removed = content.remove(settings, wanted)
    click.echo(removed)
