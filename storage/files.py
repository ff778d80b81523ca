"""The only module that changes the file system.

Every change is one call of `Files`, and each call passes `probe` before and after it acts: the crash
tests record the calls there, make call k fail, or end the process at it.
"""

import errno
import os
import stat
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TypeVar

from storage.below import open_below, require_plain
from storage.digest import Bytes
from storage.errors import StoreDegraded, StoreFull

Result = TypeVar("Result")
Probe = Callable[[str, str, str], None]
"""Called with ("before" | "after", the call's name, what it acts on); raise OSError to make the call fail."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_LONGEST_VECTOR = 1024  # IOV_MAX on Linux and macOS
# Bytes of one write. ext4 takes folios as large as the write, and large ones come from memory that a virtual
# machine's host may have taken back: 512 MiB took 0.10 s in writes of up to 256 KiB, 0.75 s in 1 MiB.
_WRITE = 128 * 2**10


class Files:
    """Durable file-system calls below one root.

    `durable=False` leaves out every fsync: for a store that dies with its process. `lean` makes a folder when
    a file needs it. All calls raise StoreFull when there is no room; a failed fsync latches the whole store
    (`latch`), because the kernel reports such an error once and then forgets the lost pages.
    """

    def __init__(
        self, degraded: str, *, durable: bool = True, lean: bool = False, probe: Probe | None = None
    ) -> None:
        self._degraded = degraded
        self._root = os.path.dirname(degraded)
        self._durable, self.lean = durable, lean
        self._probe = probe
        self._latched = False

    def call(self, name: str, target: str, act: Callable[[], Result]) -> Result:
        """Do one change, seen by the probe. The index passes its COMMIT through here too."""
        with _room():
            if self._probe:
                self._probe("before", name, target)
            result = act()
            if self._probe:
                self._probe("after", name, target)
        return result

    @property
    def durable(self) -> bool:
        return self._durable

    # -- the latch -----------------------------------------------------------------------------------

    def require_sound(self) -> None:
        """Raises StoreDegraded once any process has seen an fsync fail."""
        if self._latched or os.path.exists(self._degraded):
            raise StoreDegraded("an earlier fsync failed: writes are refused until `registry fsck --repair`")

    def latch(self, why: str) -> StoreDegraded:
        """Mark the store degraded for every process and return the fact to raise."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._degraded, flags, 0o600)
        except OSError:
            self._latched = True  # a disk that takes no marker either: this process at least stops writing
        else:
            with suppress(OSError):  # a full disk: an empty marker says enough
                os.write(descriptor, f"{why}\n".encode())
            os.close(descriptor)
        return StoreDegraded(f"{why}: writes are refused until `registry fsck --repair`")

    def unlatch(self) -> None:
        """Trust the disk again: only for who has read all of it."""
        self.unlink(self._degraded)
        self._latched = False

    # -- single calls --------------------------------------------------------------------------------

    def mkdir(self, path: str) -> None:
        self.call("mkdir", path, lambda: os.makedirs(path, 0o700, exist_ok=True))

    def protect(self, path: str) -> None:
        """Leave a folder to its owner alone; a mounted one may be another's, who decides."""
        with suppress(PermissionError):
            self.call("chmod", path, lambda: os.chmod(path, 0o700))

    def create(self, path: str) -> int:
        """A new empty file, open for reading and appending. The caller closes the descriptor."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL
        return self.call("create", path, lambda: open_below(self._root, path, flags))

    def open_append(self, path: str) -> int:
        """Raises FileNotFoundError. Never follows a link. A file made 0400 by `install` is open to read."""
        try:
            return open_below(self._root, path, os.O_RDWR | os.O_APPEND)
        except PermissionError:  # only root may write a sealed session, and nobody needs to
            return open_below(self._root, path, os.O_RDONLY | os.O_APPEND)

    def append(self, descriptor: int, chunks: Sequence[Bytes]) -> None:
        """Write all of `chunks`, however short the kernel's writes are."""
        left = deque(memoryview(chunk) for chunk in chunks if chunk)
        while left:
            vector = _first(left, _WRITE)
            written = self.call("write", str(descriptor), partial(os.writev, descriptor, vector))
            while left and written >= len(left[0]):
                written -= len(left.popleft())
            if written:
                left[0] = left[0][written:]

    def overwrite(self, descriptor: int, data: bytes) -> None:
        """A few bytes that mean nothing after a crash: no probe sees it."""
        with _room():
            os.pwrite(descriptor, data, 0)

    def touch(self, descriptor: int) -> None:
        """A file's time is now: that, too, means nothing after a crash."""
        with _room():
            os.utime(descriptor)

    def allocate(self, path: str, size: int) -> None:
        """A file that takes up `size` bytes of the disk, however much of it was there already."""

        def act() -> None:
            if not hasattr(os, "posix_fallocate"):  # macOS
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), path)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)

        self.call("allocate", path, act)

    def truncate(self, descriptor: int, size: int) -> None:
        self.call("truncate", str(descriptor), lambda: os.ftruncate(descriptor, size))

    def fsync(self, descriptor: int, target: str) -> None:
        if not self._durable:
            return
        try:
            self.call("fsync", target, lambda: os.fsync(descriptor))
        except (OSError, StoreFull) as error:
            raise self.latch(f"fsync of {os.path.basename(target)} failed ({error})") from error

    def fsync_folder(self, path: str) -> None:
        if not self._durable:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(descriptor, path)
        finally:
            os.close(descriptor)

    def chmod(self, descriptor: int, mode: int) -> None:
        self.call("chmod", str(descriptor), lambda: os.fchmod(descriptor, mode))

    def link(self, source: str, target: str) -> None:
        self.call("link", target, lambda: os.link(source, target))

    def rename(self, source: str, target: str) -> None:
        self.call("rename", target, lambda: os.rename(source, target))

    def unlink(self, path: str) -> None:
        """No error if it is gone already."""
        try:
            self.call("unlink", path, lambda: os.unlink(path))
        except FileNotFoundError:
            return

    # -- durable installs ----------------------------------------------------------------------------

    def install(self, descriptor: int, source: str, temporary: str, final: str) -> None:
        """Give the bytes of `source` their `final` name too; complete and durable before the name exists.

        An existing file is replaced, whatever its state: the bytes are the same by definition, and a bad
        one is healed. `source` keeps its name, so that the caller can try again; but not after a failed
        fsync, since the next one of the same file would succeed without its bytes being there.
        """
        self._prepare(final)
        try:
            self.chmod(descriptor, 0o400)  # before the fsync, which makes the mode durable too
            self.fsync(descriptor, source)
            if not is_at(descriptor, final):  # rename between two names of one inode does nothing
                self.unlink(temporary)
                self.link(source, temporary)
                self.rename(temporary, final)
            self.fsync_folder(os.path.dirname(final))
        except StoreDegraded:
            self.unlink(source)
            raise

    def write_file(
        self,
        temporary: str,
        final: str,
        data: bytes,
        *,
        mode: int = 0o400,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """A small file, complete and durable before its `final` name exists."""
        self._prepare(final)
        descriptor = self.create(temporary)
        try:
            if owner:
                self.call("chown", str(descriptor), lambda: os.fchown(descriptor, *owner))
            self.append(descriptor, [data])
            self.chmod(descriptor, mode)
            self.fsync(descriptor, temporary)
            self.rename(temporary, final)
        except BaseException:
            self.unlink(temporary)
            raise
        finally:
            os.close(descriptor)
        self.fsync_folder(os.path.dirname(final))

    def _prepare(self, final: str) -> None:
        folder = os.path.dirname(final)
        if self.lean and not os.path.lexists(folder):
            self.mkdir(folder)
        require_plain(self._root, final)


def _first(chunks: Iterable[memoryview], count: int) -> list[memoryview]:
    """The first `count` bytes of the chunks, as far as one call takes them."""
    vector = []
    for chunk in islice(chunks, _LONGEST_VECTOR):
        vector.append(chunk[:count])
        count -= len(vector[-1])
        if not count:
            break
    return vector


def make_lock(path: str) -> int:
    """A lock file, open: as nothing was done under it yet, and of whose the folder is.

    Else a command that root runs would keep a server of another user out. No probe sees it: it means nothing
    after a crash. Raises FileExistsError: what somebody has put there is not given away.
    """
    lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.utime(lock, (0, 0))
    if os.geteuid() == 0:
        owner = os.stat(os.path.dirname(path))
        with suppress(OSError):  # root without that right, or a file system without owners
            os.fchown(lock, owner.st_uid, owner.st_gid)
    return lock


@contextmanager
def temporary_root() -> Iterator[str]:
    """A root for a store that nobody needs afterwards."""
    with tempfile.TemporaryDirectory(prefix="registry-", ignore_cleanup_errors=True) as folder:
        yield folder


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull("the disk is full: free some space and repeat") from error
        raise


def is_at(descriptor: int, path: str) -> bool:
    """Whether the path is a name of the open file."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return stat.S_ISREG(there.st_mode) and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
