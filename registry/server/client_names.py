"""The name in a client's certificate, which becomes `cert:NAME`."""

import asyncio
import math
import re
import ssl
import time
from collections.abc import Mapping
from typing import Any

from registry.server.handshakes import Handshake
from registry.server.seldom import Seldom

_NAME = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")
_ALTERNATIVE = {"DNS", "URI"}


def name_in(certificate: Mapping[str, Any] | None) -> str:
    """The subject's CN, else the first DNS name or URI; empty if there is none that may be one.

    `certificate` is a verified one, as ssl.SSLObject.getpeercert gives it. It was verified when its session
    began, and a session may be resumed for hours: so the end of its time is looked at here too. What has two
    CNs, or one that could be read or logged as another, has no name rather than its next best.
    """
    if not certificate:
        return ""
    if ssl.cert_time_to_seconds(certificate["notAfter"]) < time.time():
        return ""
    common = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    alternative = [value for key, value in certificate.get("subjectAltName", ()) if key in _ALTERNATIVE]
    found: str = (common or alternative or [""])[0]
    return found if len(common) < 2 and _NAME.fullmatch(found) else ""


def end_of(transport: asyncio.BaseTransport) -> float:
    """When the certificate of the client at the other end ends, as time.time counts."""
    certificate = transport.get_extra_info("peercert")
    return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else math.inf


def is_outdated(transport: asyncio.BaseTransport) -> bool:
    """Whether the client was verified by authorities that have been replaced since."""
    handshake = transport.get_extra_info("ssl_object")
    return isinstance(handshake, Handshake) and handshake.is_outdated


def name_of(transport: asyncio.BaseTransport, seldom: Seldom) -> str:
    """Of the client at the other end."""
    certificate = transport.get_extra_info("peercert")
    name = name_in(certificate)
    if certificate and not name:
        seldom.say(
            "a client's certificate names nobody: it has expired, or lacks one CN of at most 200 printable "
            "ASCII characters; it is taken as anonymous: %s",
            ascii(certificate.get("subject"))[:200],
        )
    return name
