"""Paths: every file has one place, and no outside text ever becomes part of one unchecked."""

import hashlib
import os
import re
import uuid

import pytest

from storage import layout
from storage.digest import ALGORITHMS, Digest
from storage.errors import InvalidDigest, UploadMissing
from storage.layout import SHARDS, Layout
from storage.store import Store

LAYOUT = Layout("/srv/r")
HEX = "ab" + "0" * 62
UPLOAD = "0b4f1d0e-6b0a-4b5c-8d3e-2f1a0b9c8d7e"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (LAYOUT.format, "/srv/r/format"),
        (LAYOUT.uploads, "/srv/r/uploads"),
        (LAYOUT.fetches, "/srv/r/fetches"),
        (LAYOUT.quarantine, "/srv/r/quarantine"),
        (LAYOUT.index, "/srv/r/index.db"),
        (LAYOUT.new_index, "/srv/r/index.db.new"),
        (LAYOUT.bad_index("7"), "/srv/r/index.db.bad-7"),
        (LAYOUT.write_lock, "/srv/r/write.lock"),
        (LAYOUT.gc_lock, "/srv/r/gc.lock"),
        (LAYOUT.evict_lock, "/srv/r/evict.lock"),
        (LAYOUT.origin, "/srv/r/origin"),
        (LAYOUT.degraded, "/srv/r/degraded"),
        (LAYOUT.fsck, "/srv/r/fsck"),
        (LAYOUT.scrub, "/srv/r/scrub"),
        (LAYOUT.htpasswd, "/srv/r/htpasswd"),
        (LAYOUT.secrets, "/srv/r/secrets"),
        (LAYOUT.robots, "/srv/r/secrets/robots.json"),
        (LAYOUT.key("tokens"), "/srv/r/secrets/tokens.key"),
        (LAYOUT.blob(Digest("sha256", HEX)), f"/srv/r/blobs/sha256/ab/{HEX}"),
        (LAYOUT.blob(Digest("sha512", HEX * 2)), f"/srv/r/blobs/sha512/ab/{HEX * 2}"),
        (LAYOUT.quarantined(Digest("sha256", HEX), "7"), f"/srv/r/quarantine/sha256-{HEX}.7"),
        (LAYOUT.upload(UPLOAD), f"/srv/r/uploads/{UPLOAD}"),
        (
            LAYOUT.fetch("@up/../a", Digest("sha256", HEX)),
            f"/srv/r/fetches/sha256-{HEX}-{hashlib.sha256(b'@up/../a').hexdigest()[:32]}",
        ),
    ],
)
def test_places(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize("text", ["blake3:abc", "sha384:" + "0" * 96])
def test_other_digests_have_no_place(text: str) -> None:
    with pytest.raises(InvalidDigest, match="no bytes are kept"):
        LAYOUT.blob(Digest.parse_any(text))


@pytest.mark.parametrize(
    "upload",
    [
        "",
        ".",
        "..",
        "../format",
        "/etc/passwd",
        UPLOAD.upper(),
        UPLOAD + "\n",
        UPLOAD + ".new",
        "x" + UPLOAD,
        UPLOAD.replace("-", ""),
        UPLOAD.replace("-4b5c-", "-1b5c-"),
        UPLOAD.replace("-8d3e-", "-7d3e-"),
        UPLOAD.replace("0", "٠"),
        "../" + UPLOAD,
    ],
)
def test_no_sessions(upload: str) -> None:
    with pytest.raises(UploadMissing):
        LAYOUT.upload(upload)


def test_what_the_library_makes_is_a_session() -> None:
    for _ in range(100):
        assert LAYOUT.upload(str(uuid.uuid4())).startswith("/srv/r/uploads/")


def test_folders_come_after_their_parents() -> None:
    seen = {LAYOUT.root}
    for folder in LAYOUT.folders():
        assert os.path.dirname(folder) in seen
        seen.add(folder)
    assert len(seen) == 1 + 1 + len(ALGORITHMS) * (1 + 256) + 3


def test_every_hex_name_has_a_shard() -> None:
    assert {f"{byte:02x}" for byte in range(256)} == set(SHARDS)
    assert list(SHARDS) == sorted(SHARDS)


def test_the_tree_is_the_one_that_is_drawn(store: Store) -> None:
    drawn = set(re.findall(r"^    ROOT/([\w.]+)", layout.__doc__ or "", re.MULTILINE))
    beside = {"index.db-wal", "index.db-shm"}
    sometimes = {"degraded", "gc.lock", "origin", "index.db.new", "index.db.bad", "ballast", "serving.lock"}
    sometimes |= {"evict.lock", "fsck", "scrub", "htpasswd", "secrets"}
    assert set(os.listdir(store.layout.root)) - beside == drawn - sometimes
