"""`registry access explain`."""

import sys

import click

from registry.cli import access as work
from registry.cli.failures import explained
from registry.cli.options import json_option, settings_options
from registry.cli.output import show
from registry.settings import Settings


@click.group()
def access() -> None:
    """See who may do what, and which rule says so.

    \b
    Examples:
      registry access explain alice team/app push
      registry access explain anonymous team/app pull
    """


@access.command("explain")
@click.argument("user")
@click.argument("repository", metavar="REPO")
@click.argument("action", type=click.Choice(work.ACTIONS))
@click.option("--group", "brought", multiple=True, help="A group that the identity brings along. Repeatable.")
@json_option()
@settings_options("root", "host", "anonymous", "access", "groups", "htpasswd", "issuers")
def explain(
    user: str, repository: str, action: str, brought: tuple[str, ...], as_json: bool, settings: Settings
) -> None:
    """Say whether USER may do ACTION in REPO, and what allows it. Exits with 0 if so, with 1 if not.

    USER is a user's name, `anonymous`, or a name with its kind: token:NAME, cert:NAME, ISSUER:NAME. Whether
    there is such a user is not looked at.

    \b
    Examples:
      registry access explain alice team/app push --config registry.toml
      registry access explain token:ci ci/app pull
      registry access explain github:repo:acme/app acme/app push --group github:repository=acme/app
    """
    with explained():
        answer = work.explain(settings, user, repository, action, frozenset(brought))
    show(lambda: answer.as_object, lambda: str(answer), as_json=as_json)
    sys.exit(0 if answer.allowed else 1)
