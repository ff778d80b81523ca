"""How much is kept of other registries: of each upstream, and of all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from storage.database import Connection
from storage.holdings import count_bytes
from storage.rows import FETCHED, is_fetched


@dataclass(frozen=True, slots=True)
class Stock:
    """`bytes` are those that a budget counts: what nothing that was pushed holds too, each content once."""

    repositories: int
    tags: int
    manifests: int
    bytes: int


def upstream_of(repository: str) -> str:
    """Whose content a repository holds; empty for one that is pushed to."""
    return repository.removeprefix(FETCHED).partition("/")[0] if is_fetched(repository) else ""


def is_of(upstream: str) -> Callable[[str], bool]:
    """Says of repositories whether they hold what this upstream has."""
    return lambda repository: upstream_of(repository) == upstream


def take_stock(connection: Connection) -> tuple[dict[str, Stock], Stock]:
    """Of each upstream, by name, and of all: less than the sum where two hold the same."""
    connection.execute("BEGIN")  # all of one moment
    try:
        rows = connection.execute(
            "SELECT name, (SELECT count(*) FROM tags WHERE repository = repositories.id),"
            " (SELECT count(*) FROM manifests WHERE repository = repositories.id)"
            " FROM repositories WHERE name >= ? AND name < ? ORDER BY name",
            (FETCHED, chr(ord(FETCHED) + 1)),
        ).fetchall()
        count = partial(count_bytes, connection, inside=is_fetched)
        names = dict.fromkeys(upstream_of(name) for name, _, _ in rows)
        found = {name: _sum(rows, is_of(name), count(is_of(name))) for name in names}
        return found, _sum(rows, is_fetched, count(is_fetched))
    finally:
        connection.execute("COMMIT")


def _sum(rows: list[tuple[str, int, int]], chosen: Callable[[str], bool], size: int) -> Stock:
    mine = [(tags, manifests) for name, tags, manifests in rows if chosen(name)]
    return Stock(len(mine), sum(tags for tags, _ in mine), sum(manifests for _, manifests in mine), size)
