"""`registry profile list` and `registry profile show`."""

import click

from registry.cli import profiles
from registry.cli.failures import explained
from registry.cli.options import json_option
from registry.cli.output import show
from registry.cli.text import table


@click.group()
def profile() -> None:
    """See which registries `registry serve --profile` can behave as, for tests of clients.

    \b
    Examples:
      registry profile list
      registry profile show ghcr
      registry serve --ephemeral --profile ghcr
    """


@profile.command("list")
@json_option()
def list_all(as_json: bool) -> None:
    """List the profiles that there are.

    \b
    Examples:
      registry profile list
      registry profile list --json
    """
    known = profiles.known()
    show(
        lambda: [profiles.as_object(each) for each in known],
        lambda: table(("PROFILE", "BEHAVES AS"), [(each.name, each.title) for each in known]),
        as_json=as_json,
    )


@profile.command("show")
@click.argument("name", metavar="PROFILE")
@json_option()
def show_one(name: str, as_json: bool) -> None:
    """Print what a profile does otherwise, and from where that is known.

    PROFILE is one of the list, or the path of a .toml file of yours.

    \b
    Examples:
      registry profile show docker-hub
      registry profile show ./mine.toml --json
    """
    with explained():
        found = profiles.find(name)
    show(
        lambda: profiles.as_object(found),
        lambda: "\n".join(
            [found.title, found.about, "", table(("SWITCH", "VALUE", "SOURCE"), profiles.rows(found))]
        ),
        as_json=as_json,
    )
