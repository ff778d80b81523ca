"""`registry cache status` and `registry cache clear`."""

import click

from registry.cli import cache as work
from registry.cli.failures import Refused, explained
from registry.cli.options import json_option, settings_options
from registry.cli.output import show
from registry.settings import Settings


@click.group()
def cache() -> None:
    """See what is kept of other registries, and remove it. Works beside a running server.

    \b
    Examples:
      registry cache status
      registry cache clear docker.io
    """


@cache.command("status")
@json_option("Print JSON: sizes in bytes, times in seconds of the epoch.")
@settings_options("root", "upstream", "mirror", "cache_size", "offline")
def status(as_json: bool, settings: Settings) -> None:
    """Show of each upstream what is kept, how often that was of use, and how the upstream is.

    \b
    kept      of what may be, if that is set; what was pushed as well does not count
    answers   hit: from here; miss: from the upstream; stale: from here, older than it should be;
              negative: known to be missing; error: not at all, since the upstream failed
    saved     requests that clients made and the upstream did not see, and bytes likewise
    upstream  how it was when a server last asked it, and until when it is left alone

    Servers note their figures every few seconds, so that the last ones may be missing.

    \b
    Examples:
      registry cache status
      registry cache status --config registry.toml --json
    """
    with explained():
        found = work.status(settings)
    show(lambda: work.as_object(found), lambda: work.report(found), as_json=as_json)


@cache.command("clear")
@click.argument("name", required=False, metavar="[UPSTREAM]")
@click.option("--all", "everything", is_flag=True, help="Of all upstreams.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@settings_options("root")
def clear(name: str | None, everything: bool, dry_run: bool, settings: Settings) -> None:
    """Remove what is kept of UPSTREAM: tags, manifests and layers. Nothing that was pushed goes.

    It is fetched again when somebody asks for it. Clients that pull it now are served to the end.

    \b
    Examples:
      registry cache clear docker.io
      registry cache clear --all --dry-run
    """
    if (name is None) is not everything:
        raise Refused("name an upstream, or give --all for all of them")
    with explained():
        said = work.would_clear(settings, name) if dry_run else work.clear(settings, name)
    click.echo(said)
