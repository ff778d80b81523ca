"""`registry tag history` and `registry tag restore`."""

import click

from registry.cli import tags
from registry.cli.content import parse_target
from registry.cli.failures import explained
from registry.cli.options import json_option, settings_options
from registry.cli.output import show
from registry.cli.text import table
from registry.settings import Settings


@click.group()
def tag() -> None:
    """See how tags moved, and move one back. Works beside a running server.

    \b
    Examples:
      registry tag history team/app:latest
      registry tag restore team/app:latest
    """


@tag.command("history")
@click.argument("target", metavar="REPO[:TAG]")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The most to show.")
@json_option()
@settings_options("root")
def history(target: str, limit: int, as_json: bool, settings: Settings) -> None:
    """List how a tag moved, or all tags of REPO, the latest first: when, from what, to what, and who did it.

    The last hundred moves of each tag are kept, also when tag and repository are gone. Times are UTC.

    \b
    Examples:
      registry tag history team/app:latest
      registry tag history team/app --limit 100
      registry tag history team/app --json
    """
    with explained():
        moves = tags.history(settings, parse_target(target), limit)
    show(
        lambda: [tags.as_object(move) for move in moves],
        lambda: table(("WHEN", "TAG", "FROM", "TO", "WHO"), tags.rows(moves)),
        as_json=as_json,
    )


@tag.command("restore")
@click.argument("target", metavar="REPO:TAG")
@click.option("--to", metavar="DIGEST", help="To this digest, or to the one of the history that begins so.")
@settings_options("root")
def restore(target: str, to: str | None, settings: Settings) -> None:
    """Move a tag back to what it named before its last move, also after it was deleted.

    The manifest must still be in the repository. The move is noted in the history like any other, so that the
    same command takes it back. Immutable tags move, too: the rule is for clients.

    \b
    Examples:
      registry tag restore team/app:latest
      registry tag restore team/app:latest --to sha256:9f86d081884c
    """
    with explained():
        restored = tags.restore(settings, parse_target(target), to)
    click.echo(restored)
