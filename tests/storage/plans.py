"""How SQLite goes about the statements that the index runs."""

from collections.abc import Awaitable
from contextlib import closing

from storage.database import Database


async def plans_of(database: Database, act: Awaitable[object]) -> dict[str, str]:
    """Each SELECT, INSERT, UPDATE and DELETE that `act` runs, with its query plan."""
    statements: list[str] = []
    connections = (database._reader, database._writer)
    for connection in connections:
        connection.set_trace_callback(statements.append)
    try:
        await act
    finally:
        for connection in connections:
            connection.set_trace_callback(None)
    with closing(database.scan()) as connection:
        return {
            sql: "; ".join(
                detail for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
            )
            for sql in statements
            if sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))
        }


async def steps_of(database: Database, act: Awaitable[object]) -> int:
    """How many instructions of SQLite's virtual machine the reads in `act` take."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    database._reader.set_progress_handler(count, 1)
    try:
        await act
    finally:
        database._reader.set_progress_handler(None, 0)
    return steps
