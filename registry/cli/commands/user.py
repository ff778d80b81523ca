"""`registry user add`, `passwd`, `rm` and `list`."""

from collections.abc import Callable

import click

from registry.cli import accounts
from registry.cli.accounts import told
from registry.cli.options import Command, json_option, settings_options
from registry.cli.output import say, show
from registry.settings import Settings


@click.group()
def user() -> None:
    """Say who may log in, in a bcrypt htpasswd file. Works beside a running server.

    \b
    Examples:
      registry user add alice
      registry user list
    """


def _new_password() -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        command = click.option(
            "--generate", is_flag=True, help="Make a random password, and print it this once."
        )(command)
        return click.option(
            "--password-stdin", "from_stdin", is_flag=True, help="Read the password from standard input."
        )(command)

    return decorate


@user.command("add")
@click.argument("name")
@_new_password()
@settings_options("root", "htpasswd")
def add(name: str, from_stdin: bool, generate: bool, settings: Settings) -> None:
    """Add a user; the password is asked for twice, and not shown.

    A name has 1 to 255 bytes, printable, without a colon, no # first. A password has 1 to 72 bytes.

    \b
    Examples:
      registry user add alice
      registry user add alice --generate
      registry user add alice --password-stdin < password.txt
    """
    with told():
        accounts.require_new(settings, name)
        password = accounts.password(name, from_stdin=from_stdin, generate=generate)
        said = accounts.add_user(settings, name, accounts.hash_of(password))
    _end(said, password if generate else "")


@user.command("passwd")
@click.argument("name")
@_new_password()
@settings_options("root", "htpasswd")
def passwd(name: str, from_stdin: bool, generate: bool, settings: Settings) -> None:
    """Give a user another password. What the old one was shown for ends with it.

    \b
    Examples:
      registry user passwd alice
      registry user passwd alice --generate
    """
    with told():
        accounts.require_known(settings, name)
        password = accounts.password(name, from_stdin=from_stdin, generate=generate)
        said = accounts.set_password(settings, name, accounts.hash_of(password))
    _end(said, password if generate else "")


def _end(said: str, password: str) -> None:
    """A password that was made goes to standard output alone, so that a script can take it from there."""
    if not password:
        click.echo(said)
        return
    say(said)
    click.echo(password)


@user.command("rm")
@click.argument("name")
@settings_options("root", "htpasswd")
def rm(name: str, settings: Settings) -> None:
    """Remove a user. The file stays if it was the last one: its being there turns the checks on.

    \b
    Examples:
      registry user rm alice
    """
    with told():
        removed = accounts.remove_user(settings, name)
    click.echo(removed)


@user.command("list")
@json_option()
@settings_options("root", "htpasswd")
def list_users(as_json: bool, settings: Settings) -> None:
    """List the users, one a line.

    \b
    Examples:
      registry user list
      registry user list --json
    """
    with told():
        users, problems = accounts.users_of(settings)
    for problem in problems:
        say(f"warning: {problem}")
    names = sorted(users)
    if not names:
        say("there are no users: registry user add NAME")
    show(
        lambda: [{"name": name, "cost": users[name].cost} for name in names],
        lambda: "\n".join(names),
        as_json=as_json,
    )
