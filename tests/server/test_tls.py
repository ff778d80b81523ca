"""What is said of certificates and keys that cannot serve, and what is agreed on with those that can."""

import re
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry.server.tls import context
from registry.settings import ConfigError, Settings
from tests.certificates import Certificate, make_certificate, openssl


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def settings(files: Certificate) -> Settings:
    return Settings(root="/", tls_cert=str(files.cert), tls_key=str(files.key))


def test_without_files_it_is_plain_http() -> None:
    assert context(Settings(root="/")) is None


def another_key(good: Certificate, folder: Path) -> Certificate:
    return replace(good, key=make_certificate(folder).key)


def no_certificate(good: Certificate, folder: Path) -> Certificate:
    return replace(good, cert=folder / "none.pem")


def no_key(good: Certificate, folder: Path) -> Certificate:
    return replace(good, key=folder / "none.key")


def folder_as_key(good: Certificate, folder: Path) -> Certificate:
    return replace(good, key=folder)


def swapped(good: Certificate, _: Path) -> Certificate:
    return Certificate(cert=good.key, key=good.cert)


def certificate_as_key(good: Certificate, _: Path) -> Certificate:
    return replace(good, key=good.cert)


def binary_certificate(good: Certificate, folder: Path) -> Certificate:
    openssl("x509", "-in", str(good.cert), "-outform", "DER", "-out", str(folder / "cert.der"))
    return replace(good, cert=folder / "cert.der")


def broken_certificate(good: Certificate, folder: Path) -> Certificate:
    text = good.cert.read_text().splitlines()
    (folder / "broken.pem").write_text("\n".join([*text[:3], *text[4:], ""]))
    return replace(good, cert=folder / "broken.pem")


def passphrase(good: Certificate, folder: Path) -> Certificate:
    locked = folder / "locked.key"
    openssl("pkey", "-in", str(good.key), "-aes128", "-passout", "pass:secret", "-out", str(locked))
    return replace(good, key=locked)


BAD: dict[str, tuple[Callable[[Certificate, Path], Certificate], str]] = {
    "another key": (another_key, "tls_key = {key} is not the key of the first certificate in .*{cert}"),
    "no certificate": (no_certificate, "tls_cert = {cert} cannot be read: No such file"),
    "no key": (no_key, "tls_key = {key} cannot be read: No such file"),
    "a folder": (folder_as_key, "tls_key = {key} cannot be read: Is a directory"),
    "swapped": (swapped, "tls_cert = {cert} holds no certificate in PEM form"),
    "a certificate as key": (certificate_as_key, "tls_key = {key} holds no private key in PEM form"),
    "binary": (binary_certificate, "tls_cert = {cert} holds no certificate in PEM form"),
    "broken": (broken_certificate, "tls_cert = {cert} and tls_key = {key} cannot be used"),
    "passphrase": (passphrase, "tls_key = {key} has a passphrase.*openssl pkey"),
}


@pytest.mark.parametrize(("spoil", "says"), BAD.values(), ids=BAD)
def test_files_that_cannot_serve(
    certificate: Certificate, tmp_path: Path, spoil: Callable[[Certificate, Path], Certificate], says: str
) -> None:
    files = spoil(certificate, tmp_path)
    expected = says.format(cert=re.escape(str(files.cert)), key=re.escape(str(files.key)))
    with pytest.raises(ConfigError, match=expected):
        context(settings(files))


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> ssl.SSLObject:
    """In memory, to its end; the client's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    open_sides = [ours, theirs]
    for side in [ours, theirs] * 4:
        if side in open_sides:
            try:
                side.do_handshake()
                open_sides.remove(side)
            except ssl.SSLWantReadError:
                continue
    assert not open_sides
    return ours


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(certificate: Certificate, most: ssl.TLSVersion) -> None:
    server = context(settings(certificate))
    assert server
    assert server.minimum_version == ssl.TLSVersion.TLSv1_2
    client = ssl.create_default_context(cafile=str(certificate.cert))
    client.maximum_version = most
    assert handshake(server, client).version() == most.name.replace("_", ".")


@pytest.mark.parametrize("first", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"])
def test_the_client_chooses_the_cipher(certificate: Certificate, first: str) -> None:
    server = context(settings(certificate))
    assert server
    client = ssl.create_default_context(cafile=str(certificate.cert))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(f"{first}:ECDHE+AESGCM")
    cipher = handshake(server, client).cipher()
    assert cipher
    assert cipher[0] == first
