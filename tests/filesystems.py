"""Small file systems of a test's own, to be filled."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

from tests.missing import absent

SIZES = {"tmpfs": 256 * 2**20, "ext4": 256 * 2**20, "xfs": 400 * 2**20}  # xfs is never smaller than 300 MB


@contextlib.contextmanager
def mounted(folder: Path, kind: str) -> Iterator[Path]:
    """A new file system of that kind, mounted below `folder`; skipped by name where that can't be."""
    require_mounts(kind)
    mount, image = folder / kind, folder / f"{kind}.image"
    mount.mkdir()
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZES[kind]}", "tmpfs", mount], check=True)
    else:
        with image.open("wb") as file:
            file.truncate(SIZES[kind])
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


def require_mounts(kind: str) -> None:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        absent("root on Linux, which mounts file systems,")
    if kind == "tmpfs":
        return
    if which(f"mkfs.{kind}") is None:
        absent(f"mkfs.{kind}")
    if subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode != 0:
        absent("a loop device")


@contextlib.contextmanager
def filled(mount: Path) -> Iterator[None]:
    """Not one more block is free until the block ends, as if another program had taken them all."""
    names = [mount / "others", mount / "their log"]
    try:
        _allocate(names[0])
        with contextlib.suppress(OSError), names[1].open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        yield
    finally:
        for name in names:
            name.unlink(missing_ok=True)


def _allocate(path: Path) -> None:
    """Without writing any of it: in ever smaller pieces, as a piece that is too large gets nothing."""
    with path.open("wb") as file:
        piece, size = 2**28, 0
        while piece:
            try:
                os.posix_fallocate(file.fileno(), size, piece)
                size += piece
            except OSError:
                piece //= 2
