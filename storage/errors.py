"""What can go wrong in the store, stated as facts. Nothing here knows of a status code."""

import errno
from collections.abc import Sequence

UNREADABLE = {errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)}
"""What a bad disk answers. Any other error, such as too many open files, says nothing about the bytes."""


class StorageError(Exception):
    """The base of all facts below."""


class InvalidDigest(StorageError):
    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{text[:160]!r} is not a digest: {why}")


class BlobMissing(StorageError):
    """The repository (or, in BlobStore, the store) has no such blob."""

    def __init__(self, digest: object) -> None:
        super().__init__(f"blob {digest} is not here")
        self.digest = str(digest)


class BlobReferenced(StorageError):
    """A manifest of the repository still needs what was to be deleted."""

    def __init__(self, digest: object, parents: Sequence[object]) -> None:
        named = ", ".join(str(parent) for parent in parents)
        super().__init__(f"{digest} is still referenced by {named}: delete that first")
        self.digest, self.parents = str(digest), [str(parent) for parent in parents]


class ReferencesMissing(StorageError):
    """A manifest names content that its repository lacks, or holds with another size."""

    def __init__(self, missing: Sequence[tuple[object, str]]) -> None:
        super().__init__("; ".join(f"{digest}: {why}" for digest, why in missing))
        self.missing = [(str(digest), why) for digest, why in missing]


class ManifestMissing(StorageError):
    def __init__(self, reference: object) -> None:
        super().__init__(f"manifest {reference} is not here")
        self.reference = str(reference)


class RepositoryMissing(StorageError):
    def __init__(self, name: object) -> None:
        super().__init__(f"repository {name} is not here")
        self.name = str(name)


class UploadMissing(StorageError):
    def __init__(self, upload: str) -> None:
        super().__init__(
            f"upload session {upload[:80]!r} is not here: it ended, expired or never was; begin a new one"
        )


class UploadBusy(StorageError):
    def __init__(self, upload: str) -> None:
        super().__init__(f"upload session {upload} is being written by another request: retry later")


class UploadSealed(StorageError):
    def __init__(self, upload: str) -> None:
        super().__init__(f"upload session {upload} is complete: only its closing PUT may be repeated")


class WrongOffset(StorageError):
    """A chunk that does not begin where the session ends."""

    def __init__(self, upload: str, *, expected: int, actual: int) -> None:
        super().__init__(f"the chunk begins at byte {actual}, the session goes on at byte {expected}")
        self.upload, self.expected, self.actual = upload, expected, actual


class WrongLength(StorageError):
    """A body shorter or longer than was announced."""

    def __init__(self, *, expected: int, actual: int) -> None:
        more = " or more" if actual > expected else ""
        super().__init__(f"the body has {actual} bytes{more}, {expected} were announced")
        self.expected, self.actual = expected, actual


class DigestMismatch(StorageError):
    def __init__(self, *, expected: object, actual: object) -> None:
        super().__init__(f"the bytes received have digest {actual}, the request says {expected}")
        self.expected, self.actual = str(expected), str(actual)


class PreconditionFailed(StorageError):
    """A conditional write found another state than it asked for."""

    def __init__(self, name: object, *, wanted: str, found: object) -> None:
        super().__init__(f"{name} is {found or 'absent'}, the request allows {wanted}")


class QuotaExceeded(StorageError):
    """It does not fit into what may be held. `quota` names the one that is full, `kind` what of it."""

    remedy = "delete tags and images that nobody needs; garbage collection then frees their bytes"

    def __init__(self, quota: str, kind: str, *, most: int, held: int, wanted: int) -> None:
        super().__init__(
            f"the quota of {quota} is {most:,} {kind}, {held:,} are in use, and this needs {wanted:,} more: "
            f"{self.remedy}"
        )
        self.quota, self.kind, self.most, self.held, self.wanted = quota, kind, most, held, wanted


class TooManyUploads(QuotaExceeded):
    """This passes: sessions end, or expire."""

    remedy = "try again when some have ended"


class StoreFull(StorageError):
    """No room: nothing of the request is visible, and it works again as soon as there is room."""


class StoreDegraded(StorageError):
    """An fsync failed: what the disk holds is unknown, so writes stop until `registry fsck` has looked."""


class DiskUnreadable(StorageError):
    """So many files in a row cannot be read that the disk is away, rather than their bytes."""

    def __init__(self, count: int, first: str) -> None:
        super().__init__(f"{count} files in a row cannot be read, from {first} on: look at the disk")


class StoreBusy(StorageError):
    """Another process does what only one may do at a time."""


class IndexFailed(StorageError):
    """The index could not be read or written, for a reason that is neither a full nor a failing disk."""


class StoreUnusable(StorageError):
    """The root cannot be served: unknown format, network file system, no rights. Stops the start."""
