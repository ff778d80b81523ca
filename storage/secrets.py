"""What only the owner may read: keys that all processes share, and small files changed one at a time."""

import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.errors import StoreUnusable
from storage.files import Files
from storage.layout import INSTALLING, Layout
from storage.store import absent, fsync_name

_KEY = 32  # bytes
_MODE = 0o600
_KEPT = 0o640  # what an administrator may have given a file of ours, and it keeps


class Secrets:
    """Nothing is made before it is needed, the root included: users may come before the first start."""

    def __init__(self, files: Files, layout: Layout) -> None:
        self._files, self._layout = files, layout

    def key(self, name: str) -> bytes:
        """32 random bytes, the same for all processes and after a restart; made when first asked for.

        Raises StoreUnusable for a file that holds no key.
        """
        path = self._layout.key(name)
        if (found := content(path)) is None:
            with self._changing(path):
                if (found := content(path)) is None:  # another may have been faster
                    found = secrets.token_bytes(_KEY)
                    self._files.unlink(path + INSTALLING)
                    self._files.write_file(path + INSTALLING, path, found)
        if len(found) != _KEY:
            raise StoreUnusable(
                f"{path} is no key of this program: it has {len(found)} bytes, not {_KEY}; remove it, and "
                "another is made: what was signed with it is void then"
            )
        return found

    def replace(self, path: str, data: bytes) -> None:
        """Give the file this content, whole or not at all; 0600, or with the owner and group it has.

        A link stays, and what it leads to is replaced.
        """
        self.edit(path, lambda _: data)

    def edit(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace the file by what `change` makes of it, None if there is none; one at a time."""
        path = os.path.realpath(path)
        with self._changing(path):
            before = content(path)
            after = change(before)
            if after != before:
                self._replace(path, after)

    def _replace(self, path: str, data: bytes) -> None:
        self._files.unlink(path + INSTALLING)  # of one that was killed
        mode, owner = _standing(path)
        self._files.write_file(path + INSTALLING, path, data, mode=mode, owner=owner)

    @contextmanager
    def _changing(self, path: str) -> Iterator[None]:
        """Hold the folder's lock: held by the file's own, two would hold one each after a rename."""
        folder = os.path.dirname(path)
        self._make(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make(self, folder: str) -> None:
        """The root and the folder of secrets; another one has to be there."""
        if os.path.isdir(folder) or folder not in map(
            os.path.realpath, (self._layout.root, self._layout.secrets)
        ):
            return
        made = absent(folder)
        self._files.mkdir(self._layout.root)  # makedirs gives its mode to the last folder alone
        self._files.mkdir(folder)
        for each in made:
            fsync_name(self._files, each)


def content(path: str) -> bytes | None:
    """None if there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _standing(path: str) -> tuple[int, tuple[int, int] | None]:
    """The mode for a file that is to stand there, and the owner if another than we has it now.

    `sudo registry user add` must not take the file from the server that reads it.
    """
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return _MODE, None
    owner = (there.st_uid, there.st_gid)
    ours = owner == (os.geteuid(), os.getegid())
    return _MODE | (stat.S_IMODE(there.st_mode) & _KEPT), None if ours else owner
