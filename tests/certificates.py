"""Certificates for tests, made by openssl: one that signs itself, for localhost and 127.0.0.1; clients'."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.missing import absent


@dataclass(frozen=True, slots=True)
class Certificate:
    cert: Path  # also what a client has to trust
    key: Path

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))


_NEW = ("req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2")


def make_certificate(folder: Path, name: str = "registry") -> Certificate:
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    openssl(
        *(*_NEW, "-subj", "/CN=localhost", "-addext", names),
        *("-out", str(made.cert), "-keyout", str(made.key)),
    )
    return made


def make_authority(folder: Path, name: str = "authority") -> Certificate:
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    openssl(*_NEW, "-subj", f"/CN={name}", "-out", str(made.cert), "-keyout", str(made.key))
    return made


def sign(
    authority: Certificate, name: str, *, subject: str = "", extensions: tuple[str, ...] = ()
) -> Certificate:
    """A client's certificate, for the subject `/CN=name` unless told otherwise."""
    made = Certificate(authority.cert.parent / f"{name}.pem", authority.cert.parent / f"{name}.key")
    added = [
        part
        for extension in (*extensions, "basicConstraints=critical,CA:FALSE")
        for part in ("-addext", extension)
    ]
    openssl(
        *(*_NEW, "-subj", subject or f"/CN={name}", *added),
        *("-CA", str(authority.cert), "-CAkey", str(authority.key)),
        *("-out", str(made.cert), "-keyout", str(made.key)),
    )
    return made


def openssl(*arguments: str) -> None:
    if not shutil.which("openssl"):
        absent("openssl")
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
