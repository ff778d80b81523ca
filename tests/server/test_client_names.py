"""Which name a verified certificate gives its bearer, and which gives none."""

import ssl
import time
from typing import Any

import pytest

from registry.server.client_names import name_in

Names = tuple[tuple[str, str], ...]


def certificate(*common: str, san: Names = (), ends: float = 86400) -> dict[str, Any]:
    """As ssl.SSLObject.getpeercert gives it."""
    subject = ((("organizationName", "Acme"),), *((("commonName", name),) for name in common))
    end = time.strftime("%b %d %H:%M:%S %Y GMT", time.gmtime(time.time() + ends))
    return {"subject": subject, "subjectAltName": san, "notAfter": end}


DNS: Names = (("email", "a@b"), ("IP Address", "10.0.0.1"), ("DNS", "ci.lan"), ("URI", "spiffe://x/ci"))
NAMES: dict[str, tuple[dict[str, Any] | None, str]] = {
    "no certificate": (None, ""),
    "not asked for": ({}, ""),
    "CN": (certificate("build"), "build"),
    "CN before SAN": (certificate("build", san=DNS), "build"),
    "DNS": (certificate(san=DNS), "ci.lan"),
    "URI": (certificate(san=DNS[3:]), "spiffe://x/ci"),
    "nothing of use": (certificate(san=DNS[:2]), ""),
    "spaces within": (certificate("build host 1"), "build host 1"),
    "space around": (certificate(" build"), ""),
    "200": (certificate("a" * 200), "a" * 200),
    "201": (certificate("a" * 201), ""),
    "empty": (certificate(""), ""),
    "two": (certificate("build", "admin"), ""),
    "NUL": (certificate("admin\0.evil.example"), ""),
    "line feed": (certificate("admin\n"), ""),
    "not ASCII": (certificate("аdmin"), ""),
    "a bad CN is no leave for the SAN": (certificate("a\tb", san=DNS), ""),
    "expired since its session began": (certificate("build", ends=-5), ""),
}


@pytest.mark.parametrize(("shown", "name"), NAMES.values(), ids=NAMES)
def test_names(shown: dict[str, Any] | None, name: str) -> None:
    assert name_in(shown) == name


def test_the_time_is_as_the_library_writes_it() -> None:
    assert ssl.cert_time_to_seconds(certificate()["notAfter"]) == pytest.approx(time.time() + 86400, abs=5)
