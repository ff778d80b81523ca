"""Which file systems are taken, which only with a warning, and which not at all."""

import os

import pytest

from storage import mounts
from storage.errors import StoreUnusable
from storage.mounts import check_mount, type_of

TEXT = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:20 / /proc rw,nosuid - proc proc rw
30 22 0:31 / /srv rw - xfs /dev/vdb rw
31 30 0:32 / /srv/nfs rw,relatime shared:9 master:1 - nfs4 host:/x rw,vers=4.2
32 31 0:33 / /srv/nfs/local rw - ext4 /dev/vdc rw
33 22 0:34 / /mnt/two\040words\134n rw - cifs //host/x rw
34 22 0:35 / /mnt/Größe\011日本 rw - 9p share rw
35 22 0:36 / /mnt/twice rw - ext4 /dev/vdd rw
36 35 0:37 / /mnt/twice rw - virtiofs share rw
37 22 0:38 / /mnt/no-options rw - tmpfs tmpfs rw
38 22 0:39 / /mnt/cut rw
39 22
40 22 0:40 / /mnt/nothing rw -
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/registry", "ext4"),
        ("/srv", "xfs"),
        ("/srv/registry", "xfs"),
        ("/srvx", "ext4"),
        ("/srv/nfs", "nfs4"),
        ("/srv/nfs/a/b", "nfs4"),
        ("/srv/nfs/local/r", "ext4"),
        ("/mnt/two words\\n/r", "cifs"),
        ("/mnt/two", "ext4"),
        ("/mnt/Größe\t日本/r", "9p"),
        ("/mnt/twice/r", "virtiofs"),
        ("/mnt/no-options", "tmpfs"),
        ("/mnt/cut/r", "ext4"),
        ("/mnt/nothing/r", "ext4"),
    ],
)
def test_types(path: str, kind: str) -> None:
    assert type_of(path, TEXT) == kind


def test_no_mounts_no_type() -> None:
    assert type_of("/srv", "") == ""


@pytest.fixture
def mounted(root: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder whose file system `on` names."""
    monkeypatch.setattr(mounts, "_MOUNTS", f"{root}.mountinfo")
    return root


def on(folder: str, kind: str) -> None:
    with open(f"{folder}.mountinfo", "w", encoding="utf-8") as file:
        file.write(f"22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:31 / {folder} rw - {kind} what rw\n")


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"])
def test_network_file_systems_are_refused(mounted: str, kind: str) -> None:
    on(mounted, kind)
    with pytest.raises(StoreUnusable, match=rf"network file system \({kind}\).* local disk, or set allow"):
        check_mount(mounted, allow_network=False)
    with pytest.raises(StoreUnusable):
        check_mount(os.path.join(mounted, "below"), allow_network=False)
    assert f"is on {kind}" in str(check_mount(mounted, allow_network=True))


@pytest.mark.parametrize("kind", ["virtiofs", "fuse", "fuseblk", "fuse.grpcfuse", "fuse.rclone"])
def test_foreign_file_systems_get_a_warning(mounted: str, kind: str) -> None:
    on(mounted, kind)
    assert f"is on {kind}: whether writes survive" in str(check_mount(mounted, allow_network=False))


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs"])
def test_local_file_systems_pass(mounted: str, kind: str) -> None:
    on(mounted, kind)
    assert check_mount(mounted, allow_network=False) is None


def test_a_link_is_followed_to_where_it_leads(mounted: str) -> None:
    on(mounted, "nfs")
    os.mkdir(mounted)
    os.symlink(mounted, f"{mounted}.link")
    with pytest.raises(StoreUnusable, match="nfs"):
        check_mount(f"{mounted}.link", allow_network=False)


def test_where_nothing_is_known_nothing_is_refused(mounted: str) -> None:
    assert check_mount(mounted, allow_network=False) is None
