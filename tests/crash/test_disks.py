"""What power cuts stand on: file systems keep what was synced before the cut began (docs/decisions/014)."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.crash import tiers
from tests.crash.disks import Disk, disk

pytestmark = [pytest.mark.crash, pytest.mark.timeout(tiers.pick(ci=120, soak=1200))]

CUTS = tiers.pick(ci=8, soak=400)
WRITERS = 4
WRITING = 0.06  # seconds before each cut
LEAST = 10  # syncs before each cut
PIECE = b"synced" * 1000

Say = Callable[[str], None]


@dataclass(slots=True)
class Writer:
    """Appends to a file and syncs it, until there is no power; notes the size and the time of each sync."""

    path: str
    synced: list[tuple[int, float]] = field(default_factory=list)

    def write(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            with suppress(OSError):
                while True:
                    os.write(descriptor, PIECE)
                    os.fdatasync(descriptor)
                    self.synced.append((os.fstat(descriptor).st_size, time.perf_counter()))
        finally:
            os.close(descriptor)

    def lost(self) -> list[float]:
        """When what is not there was said to be synced."""
        size = os.stat(self.path).st_size if os.path.exists(self.path) else 0
        return [when for end, when in self.synced if end > size]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_was_synced_before_the_cut_is_there(tmp_path: os.PathLike[str], say: Say, kind: str) -> None:
    synced = before = late = 0
    with disk(str(tmp_path), kind) as device:
        for _ in range(CUTS):
            writers = [Writer(f"{device.mount}/{number}") for number in range(WRITERS)]
            begun = write_and_cut(device, writers)
            device.restart()
            lost = [when for writer in writers for when in writer.lost()]
            synced += sum(when < begun for writer in writers for _, when in writer.synced)
            before += sum(when < begun for when in lost)
            late += sum(when >= begun for when in lost)
            for writer in writers:
                os.unlink(writer.path)
    say(
        f"syncs on {kind} with a cut: {CUTS} cuts, {synced} that returned before the cut began, {before} of"
        f" them lost; {late} returned while it went on and were lies"
    )
    assert before == 0
    assert synced >= LEAST * CUTS


def write_and_cut(device: Disk, writers: list[Writer]) -> float:
    """When the cut began."""
    threads = [threading.Thread(target=writer.write) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(WRITING)
    deadline = time.monotonic() + 10
    while sum(len(writer.synced) for writer in writers) < LEAST and time.monotonic() < deadline:
        time.sleep(0.01)
    begun = time.perf_counter()
    device.cut()
    for thread in threads:
        thread.join()
    return begun
