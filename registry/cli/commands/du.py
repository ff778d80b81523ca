"""`registry du`."""

import click

from registry.cli import usage
from registry.cli.failures import explained
from registry.cli.options import cached_option, json_option, settings_options
from registry.cli.output import show
from registry.names import RepositoryName
from registry.settings import Settings


@click.command()
@click.argument("repository", required=False, metavar="[REPO]")
@json_option("Print JSON: sizes in bytes.")
@cached_option()
@settings_options("root", "untagged", "retention", "quota")
def du(repository: str | None, as_json: bool, cached: bool, settings: Settings) -> None:
    """Show the space that repositories take, or the tags of REPO. Works beside a running server.

    \b
    LOGICAL      every image by itself, as if nothing was shared
    STORED       each content once: ONLY HERE and SHARED with other repositories
    RECLAIMABLE  of it, what nothing needs: garbage collection deletes it within twice the grace
    ONLY         freed if this tag and its manifest go; the rest is SHARED with other tags or repositories
    QUOTA OF     what is set in the settings, the fullest first; without REPO

    \b
    Examples:
      registry du
      registry du team/app
      registry du --cached
      registry du --root /srv/images --json
    """
    if repository is None:
        with explained():
            found, quotas = usage.repositories(settings, cached=cached), usage.quotas(settings)
        show(lambda: usage.as_object(found, quotas), lambda: usage.table(found, quotas), as_json=as_json)
        return
    with explained():
        tags = usage.tags(settings, RepositoryName(repository), cached=cached)
    show(
        lambda: {"name": repository, "tags": usage.tags_as_objects(tags)},
        lambda: usage.tag_table(tags),
        as_json=as_json,
    )
