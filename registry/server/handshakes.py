"""Handshakes that fail, so that the other side learns why.

asyncio and uvloop let go of a connection as soon as OpenSSL refuses it: the alert, which would have told the
client, stays in the buffer; and a client that speaks plain HTTP is told nothing at all. Both loops do TLS in
memory, with an object of the context that they are given. Ours, when it refuses, writes so into the outgoing
buffer and asks for more bytes, whereupon the loop sends what is there. What ends the connection is the
client, or the time for a handshake (loop.py). Nothing here is called once a handshake is complete.

A connection is the protocol's only after that: those before it are counted here, and have their own bound.
"""

import json
import re
import ssl
import time
from typing import Any

from registry.server.loop import HANDSHAKE_SECONDS
from registry.server.seldom import Seldom

HANDSHAKE = 0x16  # the first byte of TLS: the type of the record
_SHOWN = 60  # characters of a request that are logged
_PASSES = 2**20  # bytes of a refused client that go by, so that it reads why

_TEXT = "this port speaks HTTPS, and the request came in plain HTTP: use https://"
_BODY = json.dumps({"errors": [{"code": "UNSUPPORTED", "message": _TEXT, "detail": {}}]}).encode()
_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"content-type: application/json\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"content-length: %d\r\n"
    b"connection: close\r\n\r\n%b" % (len(_BODY), _BODY)
)
# From the request's first line, without a query, which may hold a secret; from the fields, who sent it.
_TARGET = re.compile(rb"[A-Z]+ [^ ?\r\n]*")
_AGENT = re.compile(rb"\r\nuser-agent: *([^\r\n]*)", re.IGNORECASE)
# The client's alerts by which it refuses ours; OpenSSL's first, Go's second.
_DISTRUST = {
    "TLSV1_ALERT_UNKNOWN_CA",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
}


class Entrance:
    """Counts a process's handshakes that are not complete, over all the contexts that it has by and by.

    And knows which of them verifies clients as the newest does.
    """

    def __init__(self, most: int, seconds: float = HANDSHAKE_SECONDS + 1) -> None:
        self.most, self._seconds = most, seconds
        self.authorities = b""  # of clients, that are in force
        self._begun: dict[object, float] = {}  # the oldest first

    @property
    def inside(self) -> int:
        """Without those whose time is over: asyncio leaves some to the garbage collector."""
        now = time.monotonic()
        while self._begun and now - self._begun[oldest := next(iter(self._begun))] > self._seconds:
            del self._begun[oldest]
        return len(self._begun)

    def enter(self) -> object:
        mark = object()
        self._begun[mark] = time.monotonic()
        return mark

    def leave(self, mark: object) -> None:
        self._begun.pop(mark, None)


class Handshake(ssl.SSLObject):
    """One connection's TLS."""

    incoming: ssl.MemoryBIO
    seldom: Seldom
    _entrance: Entrance | None = None  # in which it is counted, by its mark
    _surplus = False  # one too many: the loop closes it as soon as it begins
    _begun = False  # the first byte was TLS's
    _refused: ssl.SSLError | None = None
    _passed = 0  # bytes since

    def bind(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, seldom: Seldom, entrance: Entrance
    ) -> None:
        self.incoming, self._outgoing, self.seldom = incoming, outgoing, seldom
        if (inside := entrance.inside) < entrance.most:
            self._entrance, self._mark = entrance, entrance.enter()
            return
        self._surplus = True
        seldom.say(
            "%s connections of this process have not ended their TLS handshake: new ones are closed",
            str(inside),
        )

    @property
    def is_outdated(self) -> bool:
        """Whether the client was verified by authorities that are not in force any more."""
        made_by = self.context
        return isinstance(made_by, Context) and made_by.authorities != made_by.entrance.authorities

    def _go_through(self) -> None:
        if self._entrance:
            self._entrance.leave(self._mark)
            self._entrance = None

    def __del__(self) -> None:
        # Of a connection that is lost in its handshake nothing else tells.
        self._go_through()

    def do_handshake(self) -> None:
        if self._surplus:
            raise ssl.SSLError("too many handshakes")
        if self._refused or (not self._begun and self._is_plain()):
            # A close with bytes unread would take the answer back.
            self._passed += len(self.incoming.read())
            if self._refused and self._passed > _PASSES:
                raise self._refused
            raise ssl.SSLWantReadError
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            self._refused = error
            self._tell(error)
            if not self._outgoing.pending:
                raise
            raise ssl.SSLWantReadError from None
        else:
            self._go_through()

    def _is_plain(self) -> bool:
        """Whether what has come is no TLS; then it is answered."""
        if not self.incoming.pending:
            return False
        begin = self.incoming.read()
        if begin[0] == HANDSHAKE or not chr(begin[0]).isalpha():
            self.incoming.write(begin)
            self._begun = True
            return False
        self._refused = ssl.SSLError("plain HTTP")
        self._outgoing.write(_ANSWER)
        agent = _AGENT.search(begin)
        self.seldom.say(
            "plain HTTP on the HTTPS port, answered with 400: %s by %s; let the client use https://",
            _shown(found[0] if (found := _TARGET.match(begin)) else b""),
            _shown(agent[1] if agent else b""),
        )
        return True

    def _tell(self, error: ssl.SSLError) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            self.seldom.say("a client's certificate was refused: %s", error.verify_message)
        elif error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            self.seldom.say("a client without a certificate was refused: tls_client_auth asks for one")
        elif error.reason in _DISTRUST:
            self.seldom.say(
                "a client refused this server's certificate (%s): let it trust the authority that signed it, "
                "and ask for a name that is in it",
                error.reason,
            )
        else:
            self.seldom.say("a TLS handshake failed: %s", error.reason or str(error))


class Context(ssl.SSLContext):
    """A context whose connections refuse as `Handshake` does."""

    sslobject_class = Handshake
    seldom: Seldom
    entrance: Entrance
    authorities = b""  # of clients, as the file has them

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *rest: Any, **named: Any
    ) -> Handshake:
        made = super().wrap_bio(incoming, outgoing, *rest, **named)
        assert isinstance(made, Handshake)
        made.bind(incoming, outgoing, self.seldom, self.entrance)
        return made


def _shown(text: bytes) -> str:
    return ascii(text[:_SHOWN].decode("latin-1")) if text else "?"
