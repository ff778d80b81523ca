"""One row of an API table: a request and all that must come back."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

CODES = frozenset(
    {
        *("BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID"),
        *("MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN"),
        *("SIZE_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS"),
    }
)
"""The fourteen of the specification."""

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Row:
    """`target` may hold names in braces. `expect` maps a header to its value, None to its absence.

    `says` are words that an error's message must have; `holds` is the exact body.
    """

    method: str
    target: str
    status: int
    code: str = ""
    send: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    expect: Mapping[str, str | None] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    holds: bytes | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.target[:60]} {self.status} {self.code}".rstrip()


async def check(client: httpx.AsyncClient, row: Row, **names: str) -> httpx.Response:
    """Send the row's request and hold the answer to it."""
    response = await client.request(
        row.method, row.target.format(**names), headers=dict(row.send), content=row.body
    )
    assert response.status_code == row.status, f"{row}: {response.status_code} {response.text[:500]}"
    assert_closed(response.headers)
    if row.status >= 400 and row.method != "HEAD":
        assert_error(response, row.status, row.code, *(words.format(**names) for words in row.says))
    for name, value in row.expect.items():
        wanted = value.format(**names) if value is not None else None
        assert response.headers.get(name) == wanted, f"{row}: {name}"
    if row.holds is not None:
        assert response.content == row.holds
    return response


def assert_closed(headers: Mapping[str, str]) -> None:
    """What every answer carries."""
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert _ID.fullmatch(headers["X-Request-Id"])


def assert_error(response: httpx.Response, status: int, code: str, *says: str) -> None:
    """An OCI error with that code, whose message holds all of `says`."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["Content-Type"] == "application/json"
    assert_error_body(response.content, code, *says)
    if status == 405:
        assert "Allow" in response.headers  # empty where the refused method is the only one


def assert_error_body(content: bytes, code: str, *says: str) -> None:
    body = json.loads(content)
    assert set(body) == {"errors"}
    assert body["errors"]
    for error in body["errors"]:
        assert set(error) == {"code", "message", "detail"}
        assert error["code"] == code
        assert code in CODES | {"UNKNOWN"}
        assert len(error["message"]) > 10
    messages = " ".join(error["message"] for error in body["errors"])
    for words in says:
        assert words in messages
