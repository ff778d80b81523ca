"""What was put into an image is found wherever a client leaves it."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from oci_registry_testing.layouts import read_images
from oci_registry_testing.scenarios.payload import is_held, is_in, make_payload, write_archive, write_layout

PAYLOAD = make_payload(50_000)


def test_no_two_are_the_same() -> None:
    assert make_payload(100).data != make_payload(100).data


def test_a_layout_and_an_archive_hold_it(tmp_path: Path) -> None:
    write_layout(PAYLOAD, tmp_path / "layout")
    ((named, content),) = read_images(tmp_path / "layout")
    assert (named.tag, content.digest) == ("payload", PAYLOAD.content.digest)
    write_archive(PAYLOAD, "127.0.0.1:5000/team/app:v1", tmp_path / "image.tar")
    ((named, content),) = read_images(tmp_path / "image.tar")
    assert (named.repository, named.tag) == ("team/app", "v1")
    for where in ("layout", "image.tar"):
        (alone := tmp_path / f"alone-{where}").mkdir()
        (tmp_path / where).rename(alone / where)
        assert is_in(PAYLOAD.data, alone)


def packed(*files: bytes, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for number, data in enumerate(files):
            entry = tarfile.TarInfo(str(number))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


DATA = PAYLOAD.data


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (DATA, True),
        (packed(b"other", DATA), True),
        (packed(DATA, mode="w:gz"), True),
        (packed(packed(DATA, mode="w:xz")), True),
        (DATA[:-1], False),
        (b"", False),
        (packed(DATA[:-1]), False),
        (packed(DATA)[:20_000], False),
        (gzip.compress(packed(DATA))[:20_000], False),
        (packed(packed(packed(packed(packed(packed(DATA)))))), False),
    ],
    ids=[
        "file",
        "tar",
        "gzip",
        "tar in tar",
        "short",
        "empty",
        "short in tar",
        "cut",
        "cut gzip",
        "too deep",
    ],
)
def test_it_is_found_in_archives_and_only_whole(raw: bytes, found: bool, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(raw)
    assert is_in(DATA, tmp_path) is found
    assert is_held(DATA, iter([b"other", raw])) is found
