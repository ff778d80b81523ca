"""From the calls of processes to what they changed, and what of it was synced."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.crash.arena import ACKED, Contents
from tests.crash.syscalls import CHANGES, Call
from tests.crash.volatile import FOLDER, Bytes, Change, Disk, Effect, History, Length, Mode, Names

_PAGE = 4096  # bytes that a file system writes as a whole
_IGNORED = "-shm"  # SQLite makes it anew after a power cut


@dataclass(slots=True)
class _Open:
    number: int
    path: str
    appends: bool
    position: int = 0


class Recorder:
    """Follows processes, one after the other, that change the files below `base`."""

    def __init__(self, base: str, contents: Contents, folders: Iterable[str]) -> None:
        disk = Disk(dict.fromkeys(folders, FOLDER), {}, {}, {})
        for number, (path, (data, mode)) in enumerate(contents.items(), 1):
            if not path.endswith(_IGNORED):
                disk.names[path], disk.modes[number] = number, mode
                disk.data[number], disk.lengths[number] = bytearray(data), len(data)
        self.history = History(base, disk)
        self._base, self._names, self._sizes = base, dict(disk.names), dict(disk.lengths)
        self._open: dict[int, _Open] = {}

    def add(self, calls: Sequence[Call]) -> None:
        """All that one process did."""
        self._open.clear()
        history, start = self.history, self.history.now
        history.calls += len(calls)
        for call in calls:
            history.now = start + call.ended
            self._take(call, start + call.begun)
        history.now += 1

    def _take(self, call: Call, begun: int) -> None:
        paths = [os.fsdecode(text) for text in call.strings]
        match call.name:
            case "open" | "openat" | "creat":
                self._opened(call, self._below(call, paths[0]))
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
        return path.startswith(self._base + "/") and not path.endswith(_IGNORED)

    def _require_elsewhere(self, call: Call, paths: Sequence[str]) -> None:
        if call.name == "mmap" and not ("MAP_SHARED" in call.flags and "PROT_WRITE" in call.flags):
            return
        touched = any(self._ours(path) for path in paths) or any(each in self._open for each in call.numbers)
        assert not touched, f"the model knows nothing of {call.name}: {call}"

    def _below(self, call: Call, path: str) -> str:
        """The whole path of what is opened in an open folder, as storage/below.py does."""
        folder = call.flags.partition(",")[0].strip()
        known = self._open.get(int(folder)) if folder.isdecimal() else None
        return f"{known.path}/{path}" if known else path

    def _opened(self, call: Call, path: str) -> None:
        self._open.pop(call.result, None)
        if not self._ours(path) and path != self._base:
            return
        if path not in self._names:
            self._make(path, call.numbers[-1] & ~0o022)
        number = self._names[path]
        self._open[call.result] = _Open(number, path, "O_APPEND" in call.flags)
        if "O_TRUNC" in call.flags and self._sizes[number]:
            self._resize(number, 0)

    def _make(self, path: str, mode: int) -> None:
        number = max(self.history.disk.data, default=FOLDER) + 1
        self.history.disk.data[number], self.history.disk.lengths[number] = bytearray(), 0
        self.history.disk.modes[number], self._sizes[number] = mode, 0
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
        self.history.syncs.append(self.history.now)
        place = file.path if file.number == FOLDER else file.number
        for change in self.history.changes:
            if change.place != place or change.done >= begun:
                continue
            if call.name == "fdatasync" and isinstance(change.effect, Mode):
                continue
            change.safe = min(change.safe, self.history.now)
            if change.needs:
                change.needs.safe = min(change.needs.safe, self.history.now)

    def _written(self, call: Call) -> None:
        data = b"".join(call.strings)[: call.result]
        file = self._open.get(call.numbers[0])
        if file is None:
            if data == ACKED:
                self.history.answers.append(self.history.now)
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
                self._name("the folder", ((path, FOLDER),))
            case "unlink":
                self._name("the end of", ((path, None),))
            case "link":
                self._name("the link", ((path, self._names[paths[0]]),))
            case "rename":
                self._renamed(*paths)
            case "chmod" | "fchmod" if self._names[path] != FOLDER:
                number = self._names[path]
                self._add(f"mode of {path}", Mode(number, call.numbers[-1]), number)

    def _renamed(self, old: str, new: str) -> None:
        number = self._names[old]
        assert number != FOLDER, "the model renames no folders"
        if os.path.dirname(old) == os.path.dirname(new):
            self._name("the name", ((new, number), (old, None)))
        else:
            added = self._name("the name", ((new, number),))
            self._name("the end of", ((old, None),)).needs = added

    def _name(self, what: str, changed: tuple[tuple[str, int | None], ...]) -> Change:
        effect = Names(changed)
        for path, number in changed:
            if number is None:
                del self._names[path]
            else:
                self._names[path] = number
        path = changed[0][0]
        return self._add(f"{what} {path.removeprefix(self._base)}", effect, os.path.dirname(path))

    def _add(self, what: str, effect: Effect, place: int | str) -> Change:
        self.history.changes.append(Change(what, effect, place, self.history.now))
        return self.history.changes[-1]

    def _path(self, file: _Open) -> str:
        return file.path.removeprefix(self._base)
