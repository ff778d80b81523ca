"""The store's own files swapped for something else, and errors that must not tell what is inside."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import blob, descriptor, image
from tests.hostile.attacking import Line, refused, stored
from tests.live.servers import Live

BREAKS = True

LARGE, SMALL = blob(300_000, 36), b"kept in memory when it has been read once"
MANIFEST = image(layers=[descriptor(LARGE)])


def path_of(live: Live, data: bytes) -> Path:
    digest = Digest.of(data)
    return live.root / "blobs/sha256" / digest.encoded[:2] / digest.encoded


@pytest.fixture
def pushed(line: Line) -> None:
    for data in (b"{}", LARGE, SMALL):
        assert line.ask("POST", f"/v2/base/blobs/uploads/?digest={Digest.of(data)}", data).status == 201
    assert line.ask("PUT", "/v2/base/manifests/swapped", MANIFEST).status == 201


@contextmanager
def swapped(path: Path, target: Path | None = None) -> Iterator[Path]:
    """A link in its place: to what was there, or to something else."""
    moved = path.with_name(f"{path.name}.moved")
    path.rename(moved)
    path.symlink_to(target or moved)
    try:
        yield moved
    finally:
        path.unlink()
        moved.rename(path)


def internal(line: Line, live: Live, method: str, target: str, body: bytes = b"") -> None:
    """A 500 with an id that the log has too, and with nothing of the inside."""
    answer = line.ask(method, target, body)
    refused(answer, 500, "UNKNOWN")
    error = json.loads(answer.body)["errors"][0]
    name = answer.headers["x-request-id"]
    assert error["detail"] == {"id": name}
    assert error["message"] == f"internal error; the log tells more under id {name}"
    assert name in live.said()
    for inside in (str(live.root), "Traceback", ".py", "Errno", "storage", "NotADirectory"):
        assert inside not in answer.body.decode() + str(answer.headers)


@pytest.mark.usefixtures("pushed")
@pytest.mark.parametrize("depth", [0, 1, 2], ids=["shard", "algorithm", "blobs"])
def test_t36_nothing_is_read_or_written_behind_a_folder_that_is_a_link(
    line: Line, live: Live, depth: int
) -> None:
    """Even where the link leads to what was there before."""
    large = f"/v2/base/blobs/{Digest.of(LARGE)}"
    other = MANIFEST + b"\n" * depth
    while Digest.of(other).encoded[:2] != Digest.of(LARGE).encoded[:2] and depth == 0:
        other += b" "  # of the same shard
    with swapped(path_of(live, LARGE).parents[depth]) as moved:
        before = {path for path in moved.rglob("*") if path.is_file()}
        internal(line, live, "GET", large)
        internal(line, live, "PUT", f"/v2/base/manifests/{Digest.of(other)}", other)
        session = line.ask("POST", "/v2/base/blobs/uploads/").headers["location"]
        line.ask("PATCH", session, LARGE)
        internal(line, live, "PUT", f"{session}?digest={Digest.of(LARGE)}")
        assert {path for path in moved.rglob("*") if path.is_file()} == before
    assert line.ask("GET", large).body == LARGE
    assert line.ask("PUT", f"{session}?digest={Digest.of(LARGE)}").status == 201
    assert line.ask("GET", "/v2/base/manifests/swapped").body == MANIFEST


@pytest.mark.usefixtures("pushed")
def test_t36_no_upload_goes_behind_a_folder_that_is_a_link(line: Line, live: Live, tmp_path: Path) -> None:
    session = line.ask("POST", "/v2/base/blobs/uploads/").headers["location"]
    with swapped(live.root / "uploads", tmp_path):
        (tmp_path / session.rpartition("/")[2]).write_bytes(b"planted")
        for method, target, body in (
            ("POST", "/v2/base/blobs/uploads/", b""),
            ("POST", f"/v2/base/blobs/uploads/?digest={Digest.of(b'new')}", b"new"),
            ("PATCH", session, b"more"),
            ("PUT", f"{session}?digest={Digest.of(b'planted')}", b""),
        ):
            internal(line, live, method, target, body)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"planted"]
    assert line.ask("DELETE", session).status == 204


PLANTED = ("link", "link to itself", "folder", "pipe", "nothing")


def plant(kind: str, path: Path, secret: Path) -> None:
    match kind:
        case "link":
            path.symlink_to(secret)
        case "link to itself":
            path.symlink_to(path)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)


@pytest.mark.usefixtures("pushed")
@pytest.mark.parametrize("kind", PLANTED)
def test_t36_what_is_no_file_is_no_blob(line: Line, live: Live, kind: str, tmp_path: Path) -> None:
    """It is missing, as any file that is not what the index says, until a push brings it; no one waits."""
    secret = tmp_path / "secret"
    secret.write_bytes(os.urandom(len(LARGE)))
    path = path_of(live, LARGE)
    moved = path.with_name(f"{path.name}.moved")
    path.rename(moved)
    plant(kind, path, secret)
    for method in ("GET", "HEAD"):
        refused(line.ask(method, f"/v2/base/blobs/{Digest.of(LARGE)}"), 404, "BLOB_UNKNOWN", method=method)
    if path.is_dir():  # a push cannot take its place
        path.rmdir()
    moved.unlink()
    assert line.ask("POST", f"/v2/base/blobs/uploads/?digest={Digest.of(LARGE)}", LARGE).status == 201
    assert line.ask("GET", f"/v2/base/blobs/{Digest.of(LARGE)}").body == LARGE
    assert len(secret.read_bytes()) == len(LARGE)
    assert stat.S_ISREG(path.lstat().st_mode)


@pytest.mark.usefixtures("pushed")
def test_t36_a_session_that_is_no_file_is_none(line: Line, live: Live, tmp_path: Path) -> None:
    session = line.ask("POST", "/v2/base/blobs/uploads/").headers["location"]
    path = live.root / "uploads" / session.rpartition("/")[2]
    target = tmp_path / "target"
    target.write_bytes(b"as it was")
    path.unlink()
    path.symlink_to(target)
    for method in ("PATCH", "PUT", "DELETE"):
        answer = line.ask(method, f"{session}?digest={Digest.of(b'as it wasx')}", b"x")
        refused(answer, {404, 500}, {"BLOB_UPLOAD_UNKNOWN", "UNKNOWN"})
    assert target.read_bytes() == b"as it was"
    path.unlink()


@pytest.mark.usefixtures("pushed")
def test_t36_the_store_is_its_owners_alone(line: Line, live: Live) -> None:
    line.ask("POST", "/v2/base/blobs/uploads/")
    assert stat.S_IMODE(live.root.stat().st_mode) == 0o700
    for path in live.root.rglob("*"):
        if path.parent.name == "quarantine":  # what the tests above have planted
            continue
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode in ((0o700,) if path.is_dir() else (0o600, 0o400)), (path, oct(mode))
    assert all(
        stat.S_IMODE(os.lstat(path).st_mode) == 0o400 for path in stored(live.root) if "/blobs/" in path
    )


# -- T40: methods, routes, what an error says ---------------------------------------------------------------

METHODS = (
    "TRACE",
    "TRACK",
    "OPTIONS",
    "PROPFIND",
    "PATCH",
    "POST",
    "DELETE",
    "PUT",
    "BREW",
    "get",
    "G-T",
    "M" * 100,
)
PLACES = {
    "/v2/": {"GET", "HEAD"},
    "/v2/_catalog": {"GET", "HEAD"},
    "/v2/base/tags/list": {"GET", "HEAD"},
    "/v2/base/blobs/uploads/": {"POST"},
    "/v2/base/manifests/latest": {"GET", "HEAD", "PUT", "DELETE"},
    f"/v2/base/blobs/{Digest.of(b'{}')}": {"GET", "HEAD", "DELETE"},
    f"/v2/base/referrers/{Digest.of(b'{}')}": {"GET", "HEAD"},
}


@pytest.mark.parametrize("method", METHODS)
def test_t40_other_methods_are_told_which_apply(line: Line, live: Live, method: str) -> None:
    before = stored(live.root)
    for place, allowed in PLACES.items():
        if method in allowed:
            continue
        answer = line.ask(method, place, b"TRACE me", {"X-Secret": "s3cret"})
        refused(answer, {400, 405}, "UNSUPPORTED")  # the parser knows no lower-case method: 400
        assert b"s3cret" not in answer.body
        if answer.status == 405:
            assert set(answer.headers["allow"].split(", ")) == allowed
    assert stored(live.root) == before


NOWHERE = (
    *("/", "/v1/", "/v2/base", "/v2/base/", "/v2/base/tags", "/v2/base/tags/list/", "/v2/base/manifests/"),
    *(
        "/v2/base/blobs/",
        "/v2/base/manifests",
        "/v2/base/referrers/",
        "/v3/",
        "/admin",
        "/.git/config",
        "/v2",
    ),
    *("/debug/pprof/", "/metrics/../v2/", "/v2/base/blobs/uploads/x/y", "//v2/", "/v2//", "/favicon.ico"),
    *("/docs", "/openapi.json", "/redoc", "/v2/base/_uploads", "/index.html", "/v2/?x=<script>"),
)


@pytest.mark.parametrize("place", NOWHERE)
def test_t40_every_place_has_an_answer_in_the_apis_words(line: Line, place: str) -> None:
    for method in ("GET", "HEAD", "POST", "DELETE", "TRACE"):
        answer = line.ask(method, place)
        if answer.status == 200:
            assert place.split("?")[0].rstrip("/") == "/v2"
            continue
        refused(answer, {400, 404, 405}, {"UNSUPPORTED", "NAME_INVALID", "DIGEST_INVALID"}, method=method)
        assert b"Traceback" not in answer.body
