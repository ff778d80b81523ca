"""File systems in a file, and the cut of their power: what was not synced is gone."""

import fcntl
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from shutil import which

_SIZES = {"ext4": 128 * 2**20, "xfs": 400 * 2**20}  # mkfs.xfs makes nothing smaller than 300 MB
_FORCE = {"ext4": "-F", "xfs": "-f"}
_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): EXT4_IOC_SHUTDOWN, and XFS_IOC_GOINGDOWN before it
_LOSE_THE_LOG = 2  # NOLOGFLUSH: what the journal has only in memory is lost too


@dataclass(frozen=True, slots=True)
class Disk:
    """`image` is what a disk would hold, `mount` where its file system is to be seen."""

    image: str
    mount: str

    def attach(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.mount], check=True)

    def detach(self) -> None:
        """Writes out what is not, if the power is on."""
        subprocess.run(["umount", self.mount], check=True)

    def restart(self) -> None:
        """As a machine that begins anew: nothing of this file system stays in memory."""
        self.detach()
        self.attach()

    def cut(self) -> None:
        """Cut the power. Never that of another file system: it must be this image that is mounted there."""
        assert _image_below(self.mount) == self.image, f"{self.mount} is no loop device of {self.image}"
        descriptor = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _LOSE_THE_LOG))
        finally:
            os.close(descriptor)


def _image_below(mount: str) -> str:
    device = os.stat(mount).st_dev
    path = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/loop/backing_file"
    try:
        with open(path) as file:
            return file.read().rstrip("\n")
    except FileNotFoundError:
        return ""


@contextmanager
def disk(folder: str, kind: str, size: int = 0) -> Iterator[Disk]:
    """A new file system of `size` bytes, or the least that its kind needs, mounted below `folder`."""
    place = os.path.realpath(tempfile.mkdtemp(prefix=f"{kind}-", dir=folder))
    made = Disk(f"{place}/image", f"{place}/mount")
    with open(made.image, "wb") as file:
        file.truncate(max(size, _SIZES[kind]))
    subprocess.run([f"mkfs.{kind}", "-q", _FORCE[kind], made.image], check=True)
    os.mkdir(made.mount)
    made.attach()
    try:
        yield made
    finally:
        made.detach()
        os.unlink(made.image)


def lacking() -> str:
    """What keeps this machine from mounting images, by name; empty if nothing does."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "root on Linux, which mounts file systems,"
    for tool in ("mount", "umount", "losetup", *(f"mkfs.{kind}" for kind in _SIZES)):
        if which(tool) is None:
            return tool
    if subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode != 0:
        return "a loop device"
    return ""
