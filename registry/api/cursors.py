"""Places in a listing that a reader may be given without being told what is there."""

import base64
import hashlib
import hmac
import os

from registry.api.errors import PageInvalid

_MARK = "~"  # begins no name
_NONCE, _SEAL = 16, 16  # bytes


class Cursors:
    """Names sealed and opened under a key, which all workers share."""

    def __init__(self, key: bytes) -> None:
        self._hiding = hashlib.blake2b(b"hiding", key=key).digest()
        self._sealing = hashlib.blake2b(b"sealing", key=key).digest()

    def seal(self, name: str) -> str:
        nonce = os.urandom(_NONCE)
        hidden = self._hide(nonce, name.encode())
        sealed = nonce + hidden + self._seal(nonce + hidden)
        return _MARK + base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, text: str) -> str:
        """The name that a listing goes on behind, sealed or plain. Raises PageInvalid."""
        if not text.startswith(_MARK):
            return text
        try:
            raw = base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))
        except ValueError:
            raw = b""
        content, seal = raw[:-_SEAL], raw[-_SEAL:]
        if len(raw) < _NONCE + _SEAL or not hmac.compare_digest(seal, self._seal(content)):
            raise PageInvalid("last is no position of a link of ours")
        return self._hide(content[:_NONCE], content[_NONCE:]).decode()

    def _hide(self, nonce: bytes, data: bytes) -> bytes:
        """Its own inverse: a stream that nobody has without the key, and no two names share."""
        stream = hashlib.shake_256(self._hiding + nonce).digest(len(data))
        return bytes(one ^ other for one, other in zip(data, stream, strict=True))

    def _seal(self, content: bytes) -> bytes:
        return hmac.digest(self._sealing, content, "sha256")[:_SEAL]
