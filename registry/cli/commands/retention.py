"""`registry retention plan` and `registry retention apply`."""

import click

from registry.cli import retention as work
from registry.cli.failures import explained
from registry.cli.options import json_option, settings_options
from registry.cli.output import show
from registry.names import RepositoryName
from registry.settings import Settings


@click.group()
def retention() -> None:
    """See which tags the rules of [[retention]] would remove, and remove them. Works beside a running server.

    The server does the same by itself before each garbage collection. Give the same --config as to it.

    \b
    Examples:
      registry retention plan --config registry.toml
      registry retention apply --config registry.toml --dry-run
    """


@retention.command("plan")
@click.argument("repository", required=False, metavar="[REPO]")
@json_option("Print JSON: times in seconds.")
@settings_options("root", "immutable_tags", "retention")
def plan(repository: str | None, as_json: bool, settings: Settings) -> None:
    """Say of each tag whether it would be removed or kept, and why. Changes nothing.

    Without REPO, of all repositories that a rule may take tags of.

    \b
    Examples:
      registry retention plan --config registry.toml
      registry retention plan ci/app --config registry.toml --json
      registry retention plan ci/app --retention '[{repositories = ["ci/*"], keep_last = 10}]'
    """
    _show_plan(settings, repository, as_json=as_json)


@retention.command("apply")
@click.option("--dry-run", is_flag=True, help="Only say what would go, as plan does.")
@json_option()
@settings_options("root", "immutable_tags", "retention")
def apply(dry_run: bool, as_json: bool, settings: Settings) -> None:
    """Remove the tags that no rule keeps, now.

    What they name can still be pulled by digest, as long as `untagged` says.

    \b
    Examples:
      registry retention apply --config registry.toml --dry-run
      registry retention apply --config registry.toml
    """
    if dry_run:
        _show_plan(settings, None, as_json=as_json)
        return
    with explained():
        applied = work.apply(settings)
    show(lambda: work.applied_as_object(applied), lambda: work.applied_text(applied), as_json=as_json)


def _show_plan(settings: Settings, repository: str | None, *, as_json: bool) -> None:
    with explained():
        plans = work.plan(settings, RepositoryName(repository) if repository else None)
    show(lambda: work.plans_as_object(plans), lambda: work.plans_text(plans), as_json=as_json)
