"""Where the command line writes: results to standard output, all else to standard error."""

import json
from collections.abc import Callable

import click


def show(found: Callable[[], object], words: Callable[[], str], *, as_json: bool) -> None:
    """The result, as JSON or for people; only what is shown is made."""
    click.echo(json.dumps(found(), indent=2) if as_json else words())


def line(text: str) -> None:
    """For a program that reads standard error."""
    click.echo(text, err=True)


def say(text: str) -> None:
    """A remark: standard output stays the result's."""
    click.echo(f"registry: {text}", err=True)
