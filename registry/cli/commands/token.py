"""`registry token create`, `list` and `revoke`."""

import click

from registry.cli import accounts
from registry.cli.accounts import told
from registry.cli.options import json_option, settings_options
from registry.cli.output import say, show
from registry.cli.text import table
from registry.kinds import NEVER, SPAN
from registry.settings import Settings


@click.group()
def token() -> None:
    """Let machines in by tokens with rights of their own, and an end. Works beside a running server.

    \b
    Examples:
      registry token create ci --scope 'repository:ci/*:pull,push' --expires 90d
      registry token list
      registry token revoke ci
    """


def _span(_context: click.Context, _option: click.Parameter, text: str) -> int | None:
    """Seconds; None for never."""
    try:
        found = SPAN.check(text)
    except ValueError:
        found = 0
    if not found:
        raise click.BadParameter(f"{text!r}: expected a duration such as 12h or 90d, or {NEVER}")
    return found if isinstance(found, int) else None


@token.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="A right, as repository:PATTERN:ACTIONS; * stands for anything. May be given several times.",
)
@click.option(
    "--expires",
    "lasts",
    default="90d",
    show_default=True,
    metavar="TIME",
    callback=_span,
    help="How long it is good for, such as 12h or 90d; never: until it is revoked.",
)
@json_option()
@settings_options("root")
def create(name: str, scopes: tuple[str, ...], lasts: int | None, as_json: bool, settings: Settings) -> None:
    """Make a token and print its secret, this once: only a digest of it is kept.

    Clients show the secret as a password, with any user name. Actions are pull, push (tags created and
    moved), create, move, delete and *, separated by commas.

    \b
    Examples:
      registry token create ci --scope 'repository:ci/*:pull,push' --expires 90d
      registry token create mirror --scope 'repository:*:pull' --scope 'repository:mirror/*:push'
      registry token create ci --scope 'repository:ci/*:pull,push' --json
    """
    with told():
        robot, secret = accounts.create_robot(settings, name, scopes, lasts)
    end = "does not expire" if robot.expires is None else f"expires {accounts.when(robot.expires)}"
    say(
        f"{name} {end}. Its secret is shown this once: "
        f"{accounts.login(settings, name)} --password-stdin, or the password of any other client"
    )
    show(lambda: {**accounts.as_object(robot), "secret": secret}, lambda: secret, as_json=as_json)


@token.command("list")
@json_option()
@settings_options("root")
def list_tokens(as_json: bool, settings: Settings) -> None:
    """List the tokens with their rights and their ends, expired ones too. Times are UTC.

    \b
    Examples:
      registry token list
      registry token list --json
    """
    with told():
        robots = accounts.robots_of(settings)
    if not robots:
        say("there are no tokens: registry token create NAME --scope SCOPE")
    show(
        lambda: [accounts.as_object(robot) for robot in robots],
        lambda: table(("NAME", "SCOPES", "CREATED", "EXPIRES"), [accounts.row(robot) for robot in robots]),
        as_json=as_json,
    )


@token.command("revoke")
@click.argument("name")
@settings_options("root")
def revoke(name: str, settings: Settings) -> None:
    """End a token, and forget it.

    \b
    Examples:
      registry token revoke ci
    """
    with told():
        revoked = accounts.revoke_robot(settings, name)
    click.echo(revoked)
