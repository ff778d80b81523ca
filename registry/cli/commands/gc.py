"""`registry gc`."""

import sys
from dataclasses import asdict, replace

import click

from registry.build_caches import superseded_of
from registry.cli import gc as work
from registry.cli.failures import explained
from registry.cli.options import json_option, settings_options
from registry.cli.output import show
from registry.cli.text import Counter, number
from registry.gc import rules_of
from registry.retention_rules import untagged_of
from registry.settings import Settings
from storage.garbage import Item, Rules


@click.command()
@click.option(
    "--grace", "gc_grace", metavar="TIME", help="Take this grace instead of gc_grace: seconds, or 30m, 2h."
)
@click.option("--now", is_flag=True, help="Without any grace, and only where no server runs.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--verbose", "-v", is_flag=True, help="Print every manifest and blob that goes, and why.")
@json_option()
@settings_options("root", "untagged", "retention", "build_cache")
def gc(now: bool, dry_run: bool, verbose: bool, as_json: bool, settings: Settings) -> None:
    """Delete what nothing names any more. Works beside a running server, which does the same by itself.

    One pass marks what has become garbage, and deletes what an earlier pass has marked a grace ago; --now
    does both at once. Give the same --config as the server has, or what it keeps may go here. With a shorter
    grace than the server's, what it has just told a client of may go, and the client's push fails.

    \b
    Examples:
      registry gc
      registry gc --dry-run --json
      registry gc --config registry.toml --verbose
      registry gc --grace 2h
      registry gc --now
    """
    untagged = untagged_of(settings.retention, settings.untagged)
    superseded = superseded_of(settings.build_cache)
    rules = rules_of(grace=settings.gc_grace, untagged=untagged, superseded=superseded)
    rules = replace(rules, at_once=now)
    (_look_ahead if dry_run else _collect)(settings, rules, verbose=verbose and not as_json, as_json=as_json)


def _collect(settings: Settings, rules: Rules, *, verbose: bool, as_json: bool) -> None:
    items: list[Item] = []

    def tell(item: Item) -> None:
        if as_json:
            items.append(item)
        if verbose:
            click.echo(work.line(item))

    with explained(), Counter(sys.stderr, write=number, noun=" rows") as counter:
        report = work.run(settings, rules, tell=tell, counter=counter)
    show(
        lambda: {**asdict(report), "items": [asdict(each) for each in items]},
        lambda: work.summary(report, settings),
        as_json=as_json,
    )


def _look_ahead(settings: Settings, rules: Rules, *, verbose: bool, as_json: bool) -> None:
    with explained():
        now, later, report = work.look_ahead(settings, rules)
    for item in (*now, *later) if verbose else ():
        click.echo(work.line(item))
    show(
        lambda: {
            **asdict(report),
            "now": [asdict(each) for each in now],
            "later": [asdict(each) for each in later],
        },
        lambda: f"{work.listing(now, later)}\n{work.summary(report, settings, would=True)}",
        as_json=as_json,
    )
