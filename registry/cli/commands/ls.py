"""`registry ls`."""

from dataclasses import asdict

import click

from registry.cli import content, text
from registry.cli.failures import explained
from registry.cli.options import cached_option, json_option, settings_options
from registry.cli.output import show
from registry.names import RepositoryName
from registry.settings import Settings
from storage.repositories import RepositorySummary, TagSummary


@click.command()
@click.argument("repository", required=False, metavar="[REPO]")
@cached_option()
@json_option()
@settings_options("root")
def ls(repository: str | None, cached: bool, as_json: bool, settings: Settings) -> None:
    """List the repositories, or the tags of REPO. Works beside a running server.

    Sizes are those stored: compressed, all platforms, shared layers once.

    \b
    Examples:
      registry ls
      registry ls team/app
      registry ls --cached docker.io/library/alpine
      registry ls --root /srv/images --json
    """
    if repository is None:
        with explained():
            found = content.repositories(settings, cached=cached)
        show(lambda: [asdict(each) for each in found], lambda: _table(found), as_json=as_json)
        return
    with explained():
        tags = content.tags(settings, RepositoryName(repository), cached=cached)
    show(lambda: {"name": repository, "tags": _objects(tags)}, lambda: _tag_table(tags), as_json=as_json)


def _table(found: list[RepositorySummary]) -> str:
    rows = [(each.name, str(each.tags), str(each.manifests), text.size(each.size)) for each in found]
    return text.table(("REPOSITORY", "TAGS", "MANIFESTS", "SIZE"), rows)


def _tag_table(found: list[TagSummary]) -> str:
    rows = [(each.name, str(each.digest), text.size(each.size), each.media_type) for each in found]
    return text.table(("TAG", "DIGEST", "SIZE", "MEDIA TYPE"), rows)


def _objects(found: list[TagSummary]) -> list[dict[str, object]]:
    return [{**asdict(each), "digest": str(each.digest)} for each in found]
