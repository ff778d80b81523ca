"""An authority, and what it signs. Only this module uses the package cryptography."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_EARLY = datetime.timedelta(days=1)  # a client's clock may be behind ours
# What certificates raise that were made elsewhere: without our extensions, or with such as cannot be read.
_OTHERS = (x509.ExtensionNotFound, x509.DuplicateExtension, UnsupportedAlgorithm, ValueError)
_SIGNS = {"key_cert_sign": True, "crl_sign": True, "digital_signature": False}
_SERVES = {"key_cert_sign": False, "crl_sign": False, "digital_signature": True}


@dataclass(frozen=True, slots=True)
class Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(compare=False)  # the certificate has its public half

    @property
    def public(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def private(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def read(pem: bytes | None) -> Pair | None:
    """A key and the first certificate of a file; None for what is none, or no pair."""
    try:
        key = load_pem_private_key(pem or b"", None)
        certificate = x509.load_pem_x509_certificate(pem or b"")
        public = certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or public != key.public_key():
        return None
    return Pair(certificate, key)


def make_authority(names: Sequence[str], now: datetime.datetime, days: int) -> Pair:
    """For these names and what is below them, and for nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(f"registry authority {now:%Y-%m-%d}")
    builder = (
        _builder(subject, subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(list(map(_subtree, names)), None), critical=True)
        .add_extension(_usage(_SIGNS), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Pair, names: Sequence[str], now: datetime.datetime, days: int) -> Pair:
    """A server's certificate. The first name is also that of its subject."""
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(_named(names[0]), authority.certificate.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
        .add_extension(_usage(_SERVES), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def allows(authority: Pair, names: Sequence[str]) -> bool:
    """Whether it may sign for all of them; one that somebody else made may not."""
    try:
        extensions = authority.certificate.extensions
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        constraints = extensions.get_extension_for_class(x509.NameConstraints).value
    except _OTHERS:
        return False
    permitted = {str(each.value) for each in constraints.permitted_subtrees or ()}
    return all(_is_below(name, permitted) for name in names)


def has(pair: Pair, authority: Pair, names: Sequence[str]) -> bool:
    """Whether a server's certificate is this authority's, and for all these names."""
    try:
        pair.certificate.verify_directly_issued_by(authority.certificate)
        found = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (*_OTHERS, TypeError, InvalidSignature):
        return False
    return {str(each.value) for each in found} >= set(names)


def lasts(pair: Pair, now: datetime.datetime, days: int) -> bool:
    """Whether it is good for so many days more."""
    return pair.certificate.not_valid_after_utc - now >= datetime.timedelta(days=days)


def has_begun(pair: Pair, now: datetime.datetime) -> bool:
    return pair.certificate.not_valid_before_utc <= now


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    return (
        builder.public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now - _EARLY + datetime.timedelta(days=days))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "oci-registry"),
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
        ]
    )


def _usage(usage: dict[str, bool]) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return x509.KeyUsage(**usage, **dict.fromkeys(others, False), encipher_only=False, decipher_only=False)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _subtree(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_network(name))
    except ValueError:
        return x509.DNSName(name)


def _is_below(name: str, permitted: set[str]) -> bool:
    try:
        return str(ipaddress.ip_network(name)) in permitted
    except ValueError:
        return any(name == each or name.endswith(f".{each}") for each in permitted)
