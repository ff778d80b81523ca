"""The part of the index that counts: what was asked of other registries, and how they were when last asked.

Bookkeeping: a power cut may take back what was counted last.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from storage.database import Connection, Database

Counts = Mapping[tuple[str, str], int]
"""By upstream and by what was counted."""


@dataclass(frozen=True, slots=True)
class State:
    """Of an upstream, in seconds of the epoch; None: never. It is left alone until `resting`."""

    answered: int | None = None
    failed: int | None = None
    why: str = ""
    resting: int | None = None

    def join(self, other: "State") -> "State":
        """What two processes have seen, as one: the later of each."""
        last = max(self, other, key=lambda state: state.failed or 0)
        return replace(
            last,
            answered=_later(self.answered, other.answered),
            resting=_later(self.resting, other.resting),
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """All that is known of one upstream; `since` is when counting began."""

    counts: Mapping[str, int]
    since: int
    state: State


async def add(database: Database, counts: Counts, states: Mapping[str, State], begun: int) -> None:
    """What one process counted and saw since it last did this, at `begun`."""
    await database.write(lambda connection: _add(connection, counts, states, begun), durable=False)


def _add(connection: Connection, counts: Counts, states: Mapping[str, State], begun: int) -> None:
    known = _read_states(connection)
    for name in sorted({*states, *(upstream for upstream, _ in counts)}):
        _, before = known.get(name, (begun, State()))
        state = before.join(states.get(name, State()))
        connection.execute(
            "INSERT INTO upstreams (name, since, answered, failed, why, resting) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET answered = excluded.answered, failed = excluded.failed,"
            " why = excluded.why, resting = excluded.resting",
            (name, begun, state.answered, state.failed, state.why, state.resting),
        )
    connection.executemany(
        "INSERT INTO figures (upstream, what, count) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count",
        [(upstream, what, count) for (upstream, what), count in counts.items()],
    )


def read(connection: Connection) -> dict[str, Tally]:
    """By upstream, in the order of their names: also those that no setting names any more."""
    counts: dict[str, dict[str, int]] = {}
    for upstream, what, count in connection.execute("SELECT upstream, what, count FROM figures"):
        counts.setdefault(upstream, {})[what] = count
    return {
        name: Tally(counts.get(name, {}), since, state)
        for name, (since, state) in _read_states(connection).items()
    }


def _read_states(connection: Connection) -> dict[str, tuple[int, State]]:
    rows = connection.execute(
        "SELECT name, since, answered, failed, why, resting FROM upstreams ORDER BY name"
    ).fetchall()
    return {name: (since, State(*state)) for name, since, *state in rows}


def _later(one: int | None, other: int | None) -> int | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)
