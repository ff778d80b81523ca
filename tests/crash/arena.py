"""A root that is put back to the same state for every case, and what that state is."""

import asyncio
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from unittest.mock import patch

from storage.files import Probe
from storage.store import open_store
from tests.crash.children import End, Say, die, run_in_child
from tests.crash.evidence import Seen, files_below, look
from tests.crash.operations import Operation, World, prepare

ACKED = b"acked"

Run = Callable[[Callable[[Say], None]], End]

Contents = Mapping[str, tuple[bytes, int]]
"""Path → bytes and mode of every file of a root; the folders are the same in every state."""


def read_files(root: str) -> Contents:
    found: dict[str, tuple[bytes, int]] = {}
    for path in files_below(root):
        with open(path, "rb") as file:
            found[path] = file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    return found


def write_files(root: str, contents: Contents) -> None:
    """Make these the only files. A copy of all folders for each case would cost ten times as much."""
    for path in files_below(root):
        os.unlink(path)
    add_files(contents)


def add_files(contents: Contents) -> None:
    for path, (data, mode) in contents.items():
        with open(path, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)


@dataclass(frozen=True, slots=True)
class Arena:
    """`contents` is the root that every case begins with, `before` what can be seen in it."""

    root: str
    session: str
    contents: Contents
    before: Seen

    def restore(self) -> None:
        write_files(self.root, self.contents)


def make_arena(root: str, *, closed: bool) -> Arena:
    """A root filled by a process that then closed it, or else died and left the WAL as it was."""

    def fill(say: Say) -> None:
        store = open_store(root)
        say(asyncio.run(prepare(World(store))).encode())
        if not closed:
            die()
        store.close()

    end = run_in_child(fill)
    assert end.said, "the root could not be prepared"
    contents = read_files(root)
    before = look(root)
    assert not before.problems, before.problems
    arena = Arena(root, end.said.decode(), contents, before)
    arena.restore()
    return arena


def reboot() -> None:
    """For a child: what an earlier process has hashed is not to be trusted, as after a power cut."""
    patch("storage.clock.read_boot", lambda: "the next boot").start()


def perform(
    arena: Arena,
    operation: Operation,
    arrange: Callable[[], None],
    probe: Probe | None = None,
    *,
    durable: bool = True,
    run: Run = run_in_child,
) -> End:
    """The operation in a child that dies of what `arrange` prepares, else by itself once it has told."""

    def act(say: Say) -> None:
        store = open_store(arena.root, durable=durable, probe=probe)

        async def main() -> None:
            arrange()
            await operation.run(World(store, arena.session))
            say(ACKED)
            die()

        asyncio.run(main())

    return run(act)
