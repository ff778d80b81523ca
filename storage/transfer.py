"""Blobs of one root brought into another: a second name for the same file, or bytes of their own."""

import errno
import os
import uuid
from collections.abc import Callable, Iterator
from threading import Lock

from storage.blobs import BlobStore
from storage.digest import Digest, new_hasher
from storage.errors import UNREADABLE, BlobMissing
from storage.files import Files
from storage.layout import INSTALLING, Layout
from storage.threads import Threads

# Another file system, one without hard links, a file with as many as it can have, another user's file.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}

Way = Callable[[Digest, int], bool]
"""Brings a blob of that many bytes; False if the source has none that is right."""

Progress = Callable[[int], None]
"""Told the bytes done since it was last called."""


class Transfer:
    """Any number of threads may take blobs, each another one."""

    def __init__(self, source: Layout, target: Layout, files: Files, progress: Progress) -> None:
        threads = Threads()
        self._from, self._to = source, target
        self._source, self._target = BlobStore(source, files, threads), BlobStore(target, files, threads)
        self._files, self._progress = files, progress
        self._touched: set[str] = set()
        self._lock, self._stopped = Lock(), False
        self.linked = self.copied = 0

    def has(self, digest: Digest, size: int, *, verify: bool) -> bool:
        """Whether the target has it; with `verify`, every byte of it. A file that is wrong is taken away."""
        if self._target.size(digest) == size and (not verify or self._target.intact(digest)):
            self._tell(size)
            self._touch(digest)  # who made the name may have been killed before it was durable
            return True
        if os.path.lexists(path := self._to.blob(digest)):
            self._files.unlink(path)
        return False

    def link(self, digest: Digest, size: int) -> bool:
        """The same file under the target's name too; a copy where the file systems can't do that."""
        if self._source.size(digest) != size:
            return False
        final = self._to.blob(digest)
        try:
            self._files.link(self._from.blob(digest), final)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return self.copy(digest, size)
        self._tell(size)
        self._touch(digest)
        with self._lock:
            self.linked += 1
        return True

    def copy(self, digest: Digest, size: int) -> bool:
        """Bytes of its own, read, hashed and written; durable before they have their name.

        The kernel's own copying may share the blocks of the disk, and looks at no byte.
        """
        if self._source.size(digest) != size:
            return False
        final = self._to.blob(digest)
        temporary = os.path.join(self._to.uploads, str(uuid.uuid4()) + INSTALLING)
        hasher = new_hasher(digest.algorithm)
        descriptor = self._files.create(temporary)
        try:
            for piece in self._read(digest):
                if self._stopped:
                    return False
                hasher.update(piece)
                self._files.append(descriptor, [piece])
                self._tell(len(piece))
            if hasher.hexdigest() != digest.encoded:
                self._files.unlink(temporary)
                return False
            self._files.fsync(descriptor, temporary)
            self._files.chmod(descriptor, 0o400)
        finally:
            os.close(descriptor)
        self._files.rename(temporary, final)
        self._touch(digest)
        with self._lock:
            self.copied += 1
        return True

    def _read(self, digest: Digest) -> Iterator[bytes]:
        """As far as the disk gives it: the digest tells whether that was all."""
        try:
            yield from self._source.pieces(digest)
        except BlobMissing:
            return
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise

    def stop(self) -> None:
        """End the copies that other threads are at: their names are not there yet."""
        self._stopped = True

    def _tell(self, count: int) -> None:
        with self._lock:
            self._progress(count)

    def _touch(self, digest: Digest) -> None:
        with self._lock:
            self._touched.add(os.path.dirname(self._to.blob(digest)))

    def settle(self) -> None:
        """Make all names durable."""
        for folder in sorted(self._touched):
            self._files.fsync_folder(folder)
        self._touched.clear()

    def prune(self, listed: Callable[[Digest], bool]) -> int:
        """Take away the target's blobs that are not listed; return how many."""
        gone = 0
        for digest, entry in self._target.walk():
            if digest is not None and not listed(digest):
                self._files.unlink(entry.path)
                gone += 1
        return gone
