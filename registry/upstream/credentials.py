"""What this registry shows an upstream: a password, or a token as it is; from files read again."""

import base64
from collections.abc import Callable

from registry.auth.watched import Watched
from registry.strict_json import JsonInvalid, loads
from registry.upstream.settings import Upstream

_LARGEST = 16_384  # characters: what fits a head


class Credentials:
    """A file that is gone, or holds nothing, is no login: anonymous."""

    def __init__(self, upstream: Upstream) -> None:
        self._username, self._password = upstream.username, upstream.password
        self._password_file = _watch(upstream.password_file, _read_line)
        self._token_file = _watch(upstream.token_file, _read_token)

    @property
    def basic(self) -> str | None:
        """The value of Authorization (RFC 7617)."""
        password = self._password_file.look() if self._password_file else self._password
        if not self._username or not password:
            return None
        return "Basic " + base64.b64encode(f"{self._username}:{password}".encode()).decode()

    @property
    def bearer(self) -> str | None:
        """The value of Authorization (RFC 6750) that shows a token of the settings."""
        token = self._token_file.look() if self._token_file else ""
        return f"Bearer {token}" if token else None


def is_token(text: str) -> bool:
    """Whether a head can carry it: one word of ASCII."""
    return 0 < len(text) <= _LARGEST and text.isascii() and text.isprintable() and " " not in text


def read_grant(raw: bytes) -> tuple[str, object] | None:
    """The token in a token server's answer, and what that says of its life in seconds; None: it has none."""
    try:
        found = loads(raw)
    except JsonInvalid:
        return None
    fields = found if isinstance(found, dict) else {}
    token = fields.get("token") or fields.get("access_token")
    return (token, fields.get("expires_in")) if isinstance(token, str) and is_token(token) else None


def _watch(path: str, read: Callable[[bytes], str]) -> Watched[str] | None:
    return Watched(path, read, "") if path else None


def _read_line(data: bytes) -> str:
    # Not the decoder's own words: they show bytes of what is a secret.
    try:
        text = data.decode().strip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if text and (len(text) > _LARGEST or not text.isprintable()):
        raise ValueError("it is not one line of printable characters")
    return text


def _read_token(data: bytes) -> str:
    text = _read_line(data)
    if text and not is_token(text):
        raise ValueError("it is not one word of ASCII")
    return text
