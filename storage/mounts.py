"""Which file system a folder is on, and whether it keeps the promises that the store stands on."""

import os
import re

from storage.errors import StoreUnusable

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"}
_FOREIGN = {"virtiofs", "fuse", "fuseblk"}
_MOUNTS = "/proc/self/mountinfo"
_ESCAPE = re.compile(r"\\([0-7]{3})")  # a space comes as \040


def type_of(path: str, mounts: str) -> str:
    """The type of the file system that `path` is on, by the text of mountinfo; empty if it can't be told."""
    best, kind = "", ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = _ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind


def check_mount(root: str, *, allow_network: bool) -> str | None:
    """A warning to print, or None. Raises StoreUnusable on a network file system.

    Locks and fsync over a network are promises of another machine: two hosts could write one index.
    Without mountinfo (macOS) nothing is known and nothing refused.
    """
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            kind = type_of(os.path.realpath(root), file.read())
    except OSError:
        return None
    if kind in _NETWORK and not allow_network:
        raise StoreUnusable(
            f"{root} is on a network file system ({kind}), where locks and fsync are not to be relied on: "
            "choose a local disk, or set allow_network_fs if one host alone uses it and losses are acceptable"
        )
    if kind in _NETWORK or kind in _FOREIGN or kind.startswith("fuse."):
        return f"{root} is on {kind}: whether writes survive a power cut is up to it"
    return None
