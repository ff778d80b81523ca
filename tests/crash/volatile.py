"""A disk whose last changes a power cut may take: which are safe, by what was synced, and which are not.

The promises are POSIX's, no file system's: fsync of a file makes its bytes, length and mode last, and fsync
of a folder the names in it. All else may be kept or lost, each change by itself and in any order: a name
without the bytes, a length without the bytes (they read as zeros), one page of a write without the other.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.crash.arena import ACKED, Contents
from tests.crash.syscalls import CHANGES, Call

NEVER = 2**62
_PAGE = 4096  # what a disk or a file system writes as a whole
_FOLDER = 0  # the number of everything that is a folder
_IGNORED = "-shm"  # SQLite makes it anew after a power cut


class Effect(Protocol):
    def on(self, disk: "Disk") -> None: ...


@dataclass(slots=True)
class Disk:
    """What a disk holds: names lead to numbers of files, or to 0 for a folder."""

    names: dict[str, int]
    data: dict[int, bytearray]
    lengths: dict[int, int]
    modes: dict[int, int]

    def contents(self, base: str) -> Contents:
        """What can be reached; folders have a path that ends in a slash."""
        found: dict[str, tuple[bytes, int]] = {}
        reached = {base}
        for path, number in sorted(self.names.items()):
            if os.path.dirname(path) not in reached:
                continue
            if number == _FOLDER:
                reached.add(path)
                found[path + "/"] = b"", 0o700
            else:
                length = self.lengths[number]
                found[path] = bytes(self.data[number][:length].ljust(length, b"\0")), self.modes[number]
        return found


@dataclass(frozen=True, slots=True)
class Bytes:
    number: int
    offset: int
    data: bytes

    def on(self, disk: Disk) -> None:
        held = disk.data[self.number]
        held.extend(bytes(max(0, self.offset - len(held))))
        held[self.offset : self.offset + len(self.data)] = self.data


@dataclass(frozen=True, slots=True)
class Length:
    number: int
    length: int
    cut: bool = False

    def on(self, disk: Disk) -> None:
        disk.lengths[self.number] = self.length
        if self.cut:
            del disk.data[self.number][self.length :]


@dataclass(frozen=True, slots=True)
class Mode:
    number: int
    mode: int

    def on(self, disk: Disk) -> None:
        disk.modes[self.number] = self.mode


@dataclass(frozen=True, slots=True)
class Names:
    """Several change at once where a file is renamed within its folder."""

    changed: tuple[tuple[str, int | None], ...]

    def on(self, disk: Disk) -> None:
        for path, number in self.changed:
            if number is None:
                disk.names.pop(path, None)
            else:
                disk.names[path] = number


@dataclass(slots=True)
class Change:
    """`place`: what has to be synced, a file's number or a folder's path; `safe`: when that was done.

    `needs`: the change without which this one can't be, as the two halves of a rename go in one direction.
    """

    what: str
    effect: Effect
    place: int | str
    done: int
    safe: int = NEVER
    needs: "Change | None" = None


@dataclass(slots=True)
class _Open:
    number: int
    path: str
    appends: bool
    position: int = 0


@dataclass(slots=True)
class History:
    """A disk, and all that processes did to it: every change, every sync, and when they said what."""

    base: str
    disk: Disk
    changes: list[Change] = field(default_factory=list)
    syncs: list[int] = field(default_factory=list)
    calls: int = 0
    answers: list[int] = field(default_factory=list)
    now: int = 0
    _live: dict[str, int] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    _open: dict[int, _Open] = field(default_factory=dict)

    @classmethod
    def of(cls, base: str, contents: Contents, folders: Iterable[str]) -> "History":
        """What is there at the beginning is safe."""
        disk = Disk(dict.fromkeys(folders, _FOLDER), {}, {}, {})
        for number, (path, (data, mode)) in enumerate(contents.items(), 1):
            if not path.endswith(_IGNORED):
                disk.names[path], disk.modes[number] = number, mode
                disk.data[number], disk.lengths[number] = bytearray(data), len(data)
        return cls(base, disk, _live=dict(disk.names), _sizes=dict(disk.lengths))

    def add(self, calls: Sequence[Call]) -> None:
        """All that one process did."""
        self._open.clear()
        self.calls += len(calls)
        start = self.now
        for call in calls:
            self.now = start + call.ended
            self._take(call, start + call.begun)
        self.now += 1

    def ends(self) -> list[int]:
        """The moments at which most is at stake: just before each sync has ended, and at the end."""
        return [*sorted(set(self.syncs)), self.now]

    def answered(self, moment: int) -> int:
        """How many answers had been given."""
        return bisect_left(self.answers, moment)

    def at_stake(self, moment: int) -> list[Change]:
        return [change for change in self.changes if change.done < moment <= change.safe]

    def after(self, moment: int, lost: Sequence[Change]) -> Contents:
        """What is found if the power goes just before `moment` and takes these changes away."""
        gone = {id(change) for change in lost}
        data = {number: bytearray(held) for number, held in self.disk.data.items()}
        left = Disk(dict(self.disk.names), data, dict(self.disk.lengths), dict(self.disk.modes))
        for change in self.changes[: bisect_left(self.changes, moment, key=lambda each: each.done)]:
            if id(change) in gone or (change.needs and id(change.needs) in gone):
                continue
            change.effect.on(left)
        return left.contents(self.base)

    # -- what a call does ----------------------------------------------------------------------------

    def _take(self, call: Call, begun: int) -> None:
        paths = [os.fsdecode(text) for text in call.strings]
        match call.name:
            case "open" | "openat" | "creat":
                self._opened(call, paths[0])
            case "close" | "dup" | "dup2" | "dup3" | "fcntl":
                self._renumbered(call)
            case "fsync" | "fdatasync":
                self._synced(call, begun)
            case "write" | "writev" | "pwrite64":
                self._written(call)
            case "ftruncate" | "fchmod":
                self._set(call)
            case _ if call.name not in CHANGES:
                self._require_elsewhere(call, paths)
            case _ if self._ours(paths[-1]):
                self._named(call, paths)

    def _ours(self, path: str) -> bool:
        return path.startswith(self.base + "/") and not path.endswith(_IGNORED)

    def _require_elsewhere(self, call: Call, paths: Sequence[str]) -> None:
        if call.name == "mmap" and not ("MAP_SHARED" in call.flags and "PROT_WRITE" in call.flags):
            return
        touched = any(self._ours(path) for path in paths) or any(each in self._open for each in call.numbers)
        assert not touched, f"the model knows nothing of {call.name}: {call}"

    def _opened(self, call: Call, path: str) -> None:
        self._open.pop(call.result, None)
        if not self._ours(path) and path != self.base:
            return
        if path not in self._live:
            self._make(path, call.numbers[-1] & ~0o022)
        number = self._live[path]
        self._open[call.result] = _Open(number, path, "O_APPEND" in call.flags)
        if "O_TRUNC" in call.flags and self._sizes[number]:
            self._resize(number, 0)

    def _make(self, path: str, mode: int) -> None:
        number = max(self.disk.data, default=_FOLDER) + 1
        self.disk.data[number], self.disk.lengths[number] = bytearray(), 0
        self.disk.modes[number], self._sizes[number] = mode, 0
        self._name("the new", ((path, number),))

    def _renumbered(self, call: Call) -> None:
        number = call.numbers[0]
        if call.name == "close":
            self._open.pop(number, None)
        elif number in self._open and (call.name != "fcntl" or "F_DUPFD" in call.flags):
            self._open[call.result] = self._open[number]

    def _synced(self, call: Call, begun: int) -> None:
        file = self._open.get(call.numbers[0])
        if file is None:
            return
        self.syncs.append(self.now)
        place = file.path if file.number == _FOLDER else file.number
        for change in self.changes:
            if change.place != place or change.done >= begun:
                continue
            if call.name == "fdatasync" and isinstance(change.effect, Mode):
                continue
            change.safe = min(change.safe, self.now)
            if change.needs:
                change.needs.safe = min(change.needs.safe, self.now)

    def _written(self, call: Call) -> None:
        data = b"".join(call.strings)[: call.result]
        file = self._open.get(call.numbers[0])
        if file is None:
            if data == ACKED:
                self.answers.append(self.now)
            return
        size = self._sizes[file.number]
        offset = call.numbers[-1] if call.name == "pwrite64" else size if file.appends else file.position
        end = offset + len(data)
        if call.name != "pwrite64":
            file.position = end
        if end > size:
            self._resize(file.number, end)
        start = offset
        while start < end:
            stop = min(end, start - start % _PAGE + _PAGE)
            what = f"{stop - start} bytes at {start} of {self._path(file)}"
            self._add(what, Bytes(file.number, start, data[start - offset : stop - offset]), file.number)
            start = stop

    def _set(self, call: Call) -> None:
        file = self._open.get(call.numbers[0])
        if file is None:
            return
        if call.name == "ftruncate":
            self._resize(file.number, call.numbers[1])
        else:
            mode = call.numbers[1]
            self._add(f"mode {mode:o} of {self._path(file)}", Mode(file.number, mode), file.number)

    def _resize(self, number: int, length: int) -> None:
        shorter = length < self._sizes[number]
        self._sizes[number] = length
        self._add(f"length {length} of file {number}", Length(number, length, shorter), number)

    def _named(self, call: Call, paths: Sequence[str]) -> None:
        path = paths[-1]
        match call.name.removesuffix("2").removesuffix("at"):
            case "mkdir":
                self._name("the folder", ((path, _FOLDER),))
            case "unlink":
                self._name("the end of", ((path, None),))
            case "link":
                self._name("the link", ((path, self._live[paths[0]]),))
            case "rename":
                self._renamed(*paths)
            case "chmod" | "fchmod" if self._live[path] != _FOLDER:
                number = self._live[path]
                self._add(f"mode of {path}", Mode(number, call.numbers[-1]), number)

    def _renamed(self, old: str, new: str) -> None:
        number = self._live[old]
        assert number != _FOLDER, "the model renames no folders"
        if os.path.dirname(old) == os.path.dirname(new):
            self._name("the name", ((new, number), (old, None)))
        else:
            added = self._name("the name", ((new, number),))
            self._name("the end of", ((old, None),)).needs = added

    def _name(self, what: str, changed: tuple[tuple[str, int | None], ...]) -> Change:
        effect = Names(changed)
        for path, number in changed:
            if number is None:
                del self._live[path]
            else:
                self._live[path] = number
        path = changed[0][0]
        return self._add(f"{what} {path.removeprefix(self.base)}", effect, os.path.dirname(path))

    def _add(self, what: str, effect: Effect, place: int | str) -> Change:
        self.changes.append(Change(what, effect, place, self.now))
        return self.changes[-1]

    def _path(self, file: _Open) -> str:
        return file.path.removeprefix(self.base)
