"""Uploads that lie about where they are, what they are and how much they are."""

import gzip
import json
import os
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import OCI_IMAGE, blob, descriptor, image
from tests.hostile.attacking import MIB, Line, raw, refused, require_sound, resident, stored
from tests.hostile.conftest import LAYER
from tests.live.servers import Live, running
from tests.live.wire import Answer, once, wire

FOUR, REST = b"four", b"and the rest"
WHOLE = FOUR + REST


def begin(line: Line, data: bytes = b"", repository: str = "base") -> str:
    session = line.ask("POST", f"/v2/{repository}/blobs/uploads/").headers["location"]
    if data:
        assert line.ask("PATCH", session, data).status == 202
    return session


def require_offset(line: Line, session: str, size: int) -> None:
    answer = line.ask("GET", session)
    assert (answer.status, answer.headers["range"]) == (204, f"0-{size - 1}")


def finish(line: Line, session: str, data: bytes, last: bytes = b"", algorithm: str = "sha256") -> Answer:
    return line.ask("PUT", f"{session}?digest={Digest.of(data, algorithm)}", last)


# -- T16: one writer --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[1, 4], ids=["1 worker", "4 workers"])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("crowd") / "root"
    with running(root, "--workers", str(request.param)) as server:
        yield server
    require_sound(root)


def test_t16_the_second_writer_of_a_session_is_told_so_and_writes_nothing(crowd: Live) -> None:
    """While one has half of its chunk on the way, twenty more come, by every verb that writes."""
    with Line(crowd.host) as line, wire(crowd.host) as first:
        session = begin(line, FOUR)
        first.send(raw("PATCH", session, REST[:4], {"Content-Length": str(len(REST))}))
        while True:  # until it has the lock
            time.sleep(0.1)  # or this one could have it when the first comes, which would be refused for good
            answer = once(crowd.host, "PATCH", session, b"x", {"Content-Range": "999-999"})
            if answer.status == 409:
                break
            assert answer.status == 416

        def intrude(number: int) -> Answer:
            method, query = [("PATCH", ""), ("PUT", f"?digest={Digest.of(WHOLE)}"), ("DELETE", "")][
                number % 3
            ]
            return once(crowd.host, method, session + query, b"intruder" if method != "DELETE" else b"")

        with ThreadPoolExecutor(20) as pool:
            for answer in pool.map(intrude, range(20)):
                refused(answer, 409, "BLOB_UPLOAD_INVALID")
                assert answer.headers["retry-after"]
        first.send(REST[4:])
        assert first.answer().status == 202
        assert finish(line, session, WHOLE).status == 201
        assert line.ask("GET", f"/v2/base/blobs/{Digest.of(WHOLE)}").body == WHOLE


def test_t16_twenty_at_once_leave_whole_chunks(crowd: Live) -> None:
    """Whoever gets in writes all of its own; nobody writes between."""
    chunks = [bytes([number]) * 50_000 for number in range(20)]
    with Line(crowd.host) as line, ThreadPoolExecutor(20) as pool:
        session = begin(line)
        statuses = list(pool.map(lambda chunk: once(crowd.host, "PATCH", session, chunk).status, chunks))
        taken = statuses.count(202)
        assert taken >= 1
        assert set(statuses) <= {202, 409}
        require_offset(line, session, taken * 50_000)
        path = crowd.root / "uploads" / session.rpartition("/")[2]
        found = path.read_bytes()
        assert sorted(found[start : start + 50_000] for start in range(0, len(found), 50_000)) == [
            chunk for chunk, status in zip(chunks, statuses, strict=True) if status == 202
        ]
        assert line.ask("DELETE", session).status == 204


# -- T17: ranges --------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, int, str]] = {  # the session has four bytes, twelve more are sent
    "behind": ("5-16", 416, "BLOB_UPLOAD_INVALID"),
    "far behind": ("4000000000-4000000011", 416, "BLOB_UPLOAD_INVALID"),
    "before": ("0-11", 416, "BLOB_UPLOAD_INVALID"),
    "overlapping": ("3-14", 416, "BLOB_UPLOAD_INVALID"),
    "longer": ("4-16", 400, "SIZE_INVALID"),
    "shorter": ("4-14", 400, "SIZE_INVALID"),
    "inverted": ("15-4", 416, "BLOB_UPLOAD_INVALID"),
    "2^64": (f"4-{2**64}", 416, "BLOB_UPLOAD_INVALID"),
    "19 digits": (f"4-{'9' * 19}", 400, "SIZE_INVALID"),
    "20 digits": (f"4-{'9' * 20}", 416, "BLOB_UPLOAD_INVALID"),
    "negative": ("-4-15", 416, "BLOB_UPLOAD_INVALID"),
    "a suffix": ("-12", 416, "BLOB_UPLOAD_INVALID"),
    "open": ("4-", 416, "BLOB_UPLOAD_INVALID"),
    "with a unit": ("bytes=4-15", 416, "BLOB_UPLOAD_INVALID"),
    "with a unit and a size": ("bytes 4-15/16", 416, "BLOB_UPLOAD_INVALID"),
    "two": ("4-15,16-20", 416, "BLOB_UPLOAD_INVALID"),
    "underscores": ("4-1_5", 416, "BLOB_UPLOAD_INVALID"),
    "a sign": ("+4-15", 416, "BLOB_UPLOAD_INVALID"),
    "spaces": ("4 - 15", 416, "BLOB_UPLOAD_INVALID"),
    "hexadecimal": ("0x4-0xf", 416, "BLOB_UPLOAD_INVALID"),
    "nothing": ("", 416, "BLOB_UPLOAD_INVALID"),
}


@pytest.mark.parametrize(("span", "status", "code"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("framed", ["length", "chunks"])
def test_t17_a_range_that_lies_writes_nothing(
    line: Line, span: str, status: int, code: str, framed: str
) -> None:
    session = begin(line, FOUR)
    headers = {"Content-Range": span}
    body = REST
    if framed == "chunks":
        headers["Transfer-Encoding"] = "chunked"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(REST), REST)
    for method, query in (("PATCH", ""), ("PUT", f"?digest={Digest.of(WHOLE)}")):
        answer = line.ask(method, session + query, body, headers)
        refused(answer, status, code)
        if span in ("5-16", "0-11", "3-14"):  # where to go on
            assert answer.headers["range"] == "0-3"
    require_offset(line, session, 4)
    assert line.ask("PATCH", session, REST, {"Content-Range": "4-15"}).status == 202
    assert finish(line, session, WHOLE).status == 201


@pytest.mark.parametrize("digits", ["٤-١٥", "４-１５"])
def test_t17_digits_of_other_scripts_are_none(line: Line, digits: str) -> None:
    session = begin(line, FOUR)
    refused(line.ask("PATCH", session, REST, {"Content-Range": digits}), 416, "BLOB_UPLOAD_INVALID")
    require_offset(line, session, 4)


def test_t17_two_ranges_are_none(line: Line) -> None:
    session = begin(line, FOUR)
    for spans in (("4-15", "0-11"), ("0-11", "4-15"), ("4-15", "4-15")):
        answer = line.ask("PATCH", session, REST, [("Content-Range", span) for span in spans])
        refused(answer, 400, "UNSUPPORTED")
    require_offset(line, session, 4)


# -- T18: digests -------------------------------------------------------------------------------------------


def unseen(line: Line, data: bytes) -> None:
    for algorithm in ("sha256", "sha512"):
        answer = line.ask("GET", f"/v2/base/blobs/{Digest.of(data, algorithm)}")
        refused(answer, 404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("claimed", ["sha256", "sha512"])
@pytest.mark.parametrize("announced", ["", "?digest-algorithm=sha256", "?digest-algorithm=sha512"])
@pytest.mark.parametrize(
    "data", [b"bytes that claim to be others", blob(3 * MIB, 18)], ids=["small", "large"]
)
def test_t18_bytes_that_are_not_what_they_claim_are_never_seen(
    line: Line, live: Live, data: bytes, announced: str, claimed: str
) -> None:
    data += f"{announced}/{claimed}".encode()
    before = {path for path in stored(live.root) if "/blobs/" in path}
    session = line.ask("POST", f"/v2/base/blobs/uploads/{announced}").headers["location"]
    assert line.ask("PATCH", session, data[:9]).status == 202
    refused(finish(line, session, b"others", data[9:], claimed), 400, "DIGEST_INVALID")
    require_offset(line, session, 9)
    refused(line.ask("PUT", session, data[9:]), 400, "DIGEST_INVALID")
    other = line.ask("POST", f"/v2/base/blobs/uploads/?digest={Digest.of(b'others', claimed)}", data)
    refused(other, 400, "DIGEST_INVALID")
    unseen(line, data)
    assert {path for path in stored(live.root) if "/blobs/" in path} == before
    assert finish(line, session, data, data[9:], claimed).status == 201
    assert line.ask("GET", f"/v2/base/blobs/{Digest.of(data, claimed)}").body == data


def test_t18_the_empty_blob_is_nobody_elses(line: Line) -> None:
    session = begin(line)
    refused(finish(line, session, b"not empty"), 400, "DIGEST_INVALID")
    assert finish(line, session, b"").status == 201
    assert line.ask("GET", f"/v2/base/blobs/{Digest.of(b'')}").body == b""


# -- T34: encodings -----------------------------------------------------------------------------------------

ENCODINGS = (
    "gzip",
    "GZIP",
    "x-gzip",
    "deflate",
    "br",
    "zstd",
    "compress",
    "identity, gzip",
    "gzip, gzip",
    "aes128gcm",
)
BOMB = gzip.compress(bytes(64 * MIB), 9)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_t34_an_encoded_body_is_not_decoded(line: Line, live: Live, encoding: str) -> None:
    session = begin(line, FOUR)
    before = stored(live.root)
    headers = {"Content-Encoding": encoding}
    manifest = zlib.compress(image(layers=[descriptor(LAYER)]))
    for method, target, body in (
        ("PATCH", session, BOMB),
        ("PUT", f"{session}?digest={Digest.of(FOUR + BOMB)}", BOMB),
        ("POST", f"/v2/base/blobs/uploads/?digest={Digest.of(BOMB)}", BOMB),
        ("PUT", "/v2/base/manifests/bomb", manifest),
    ):
        refused(line.ask(method, target, body, headers), 415, "UNSUPPORTED")
    two = [("Content-Encoding", "identity"), ("Content-Encoding", encoding)]
    refused(line.ask("PATCH", session, BOMB, two), 415, "UNSUPPORTED")
    require_offset(line, session, 4)
    assert stored(live.root) == before


def test_t34_a_bomb_is_a_blob_like_any_other(line: Line, live: Live) -> None:
    """What it would become is its puller's to find out; here it is what it is, in every answer."""
    before = resident(live.workers()[0])
    assert line.ask("POST", f"/v2/base/blobs/uploads/?digest={Digest.of(BOMB)}", BOMB).status == 201
    layer = descriptor(BOMB, "application/vnd.oci.image.layer.v1.tar+gzip")
    assert line.ask("PUT", "/v2/base/manifests/bomb", image(layers=[layer])).status == 201
    for accept in ("gzip", "identity", "gzip;q=0", "*"):
        answer = line.ask("GET", f"/v2/base/blobs/{Digest.of(BOMB)}", headers={"Accept-Encoding": accept})
        assert (answer.body, "content-encoding" in answer.headers) == (BOMB, False)
        answer = line.ask("GET", "/v2/base/manifests/bomb", headers={"Accept-Encoding": accept})
        assert (json.loads(answer.body)["layers"], "content-encoding" in answer.headers) == ([layer], False)
    assert resident(live.workers()[0]) - before < 32 * MIB


# -- T15: whose session it is -------------------------------------------------------------------------------


def test_t15_a_session_answers_in_its_own_repository_only(line: Line) -> None:
    """Elsewhere it looks like one that never was, by every verb; and it is as it was."""
    session = begin(line, FOUR, "base")
    name = session.rpartition("/")[2]
    never = "00000000-0000-4000-8000-000000000000"
    for repository in ("other", "base/base", "bas", "base2"):
        for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
            answers = [
                line.ask(
                    method, f"/v2/{repository}/blobs/uploads/{each}?digest={Digest.of(FOUR)}",
                    b"x" if method in ("PATCH", "PUT") else b"",
                )
                for each in (name, never)
            ]  # fmt: skip
            refused(answers[0], 404, "BLOB_UPLOAD_UNKNOWN", method=method)
            assert answers[0].body.replace(name.encode(), never.encode()) == answers[1].body
    require_offset(line, session, 4)
    assert finish(line, session, FOUR).status == 201


def test_t15_many_open_sessions_are_each_others_strangers(line: Line) -> None:
    sessions = [begin(line, b"%d" % number) for number in range(5)]
    assert len({*sessions}) == 5
    for number, session in enumerate(sessions):
        assert finish(line, session, b"%d" % number).status == 201
        refused(line.ask("PATCH", session, b"x"), 404, "BLOB_UPLOAD_UNKNOWN")
    assert line.ask("PUT", "/v2/base/manifests/x", image(), {"Content-Type": OCI_IMAGE}).status == 201


# -- T35: abandoned uploads --------------------------------------------------------------------------------

MOST = 1000  # sessions of one repository, where no quota says otherwise


def test_t35_abandoned_sessions_are_counted_and_end(tmp_path: Path) -> None:
    """Past the limit nobody begins one there, also after a restart; idle ones go, and it works again."""
    root = tmp_path / "root"
    with running(root) as server, Line(server.host) as line:
        for _ in range(MOST):
            assert line.ask("POST", "/v2/many/blobs/uploads/").status == 202
        for _ in range(100):
            answer = line.ask("POST", "/v2/many/blobs/uploads/")
            refused(answer, 429, "TOOMANYREQUESTS")
            assert answer.headers["retry-after"]
        whole = line.ask("POST", f"/v2/many/blobs/uploads/?digest={Digest.of(LAYER)}", LAYER)
        refused(whole, 429, "TOOMANYREQUESTS")
        assert line.ask("POST", "/v2/other/blobs/uploads/").status == 202
        assert len(os.listdir(root / "uploads")) == MOST + 1
    with running(root, "--upload-expiry", "2", name="again") as server, Line(server.host) as line:
        assert line.ask("POST", "/v2/many/blobs/uploads/").status in (202, 429)
        deadline = time.monotonic() + 20
        while os.listdir(root / "uploads"):
            assert time.monotonic() < deadline, "idle sessions are still there"
            time.sleep(0.1)
        assert line.ask("POST", "/v2/many/blobs/uploads/").status == 202
    require_sound(root)


QUOTAS = {"bytes": (100, 403), "uploads": (1, 429), "tags": (0, 403)}


@pytest.mark.parametrize("what", QUOTAS)
def test_t35_a_quota_holds_before_the_disk_is_full(tmp_path: Path, what: str) -> None:
    """For every way to bring bytes, whatever length was announced."""
    limit, status = QUOTAS[what]
    settings = tmp_path / "registry.toml"
    settings.write_text(f"[[quota]]\neach = true\n{what} = {limit}\n")
    data, kept = bytes(200), b"{}"
    with running(tmp_path / "root", "--config", str(settings)) as server, Line(server.host) as line:
        assert line.ask("POST", f"/v2/q/blobs/uploads/?digest={Digest.of(kept)}", kept).status == 201
        session = line.ask("POST", "/v2/q/blobs/uploads/").headers["location"]
        if what == "bytes":
            whole = line.ask("POST", f"/v2/q/blobs/uploads/?digest={Digest.of(data)}", data)
            refused(whole, status, "DENIED")
            patched, closed = line.ask("PATCH", session, data), finish(line, session, data)
            assert status in (patched.status, closed.status), (patched, closed)
            refused(line.ask("GET", f"/v2/q/blobs/{Digest.of(data)}"), 404, "BLOB_UNKNOWN")
        elif what == "uploads":
            refused(line.ask("POST", "/v2/q/blobs/uploads/"), status, "TOOMANYREQUESTS")
        else:
            refused(line.ask("PUT", "/v2/q/manifests/one", image()), status, "DENIED")
            assert line.ask("PUT", f"/v2/q/manifests/{Digest.of(image())}", image()).status == 201
    require_sound(tmp_path / "root")
