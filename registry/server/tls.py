"""TLS: the certificate and its key, and whose certificates clients show; checked before anything listens."""

import ssl

from registry.server.crowd import most_connections
from registry.server.handshakes import Context, Entrance
from registry.server.limits import Limits
from registry.server.seldom import Seldom
from registry.settings import ConfigError, Settings

_MODES = {"": ssl.CERT_OPTIONAL, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def files_of(settings: Settings) -> tuple[str, ...]:
    """What a context is made from."""
    return tuple(filter(None, (settings.tls_cert, settings.tls_key, settings.tls_client_ca)))


def entrance() -> Entrance:
    """For a process: a handshake takes the descriptor that a connection under TLS needs no duplicate for."""
    return Entrance(most_connections(Limits().handshakes))


def context(
    settings: Settings, seldom: Seldom | None = None, counted: Entrance | None = None
) -> Context | None:
    """What connections are wrapped in; None serves plain HTTP. Raises ConfigError."""
    certificate, key = settings.tls_cert, settings.tls_key
    if not certificate:
        return None
    _require("tls_cert", certificate, b"-----BEGIN CERTIFICATE-----")
    _require("tls_key", key, b"PRIVATE KEY-----")
    made = Context(ssl.PROTOCOL_TLS_SERVER)
    made.seldom, made.entrance = seldom or Seldom(), counted or entrance()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # The client chooses among the ciphers, since it knows whether its processor has AES. Clients written in
    # Go put AES-128 first if so; our own order would hold them to AES-256, which costs more.
    made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        made.load_cert_chain(certificate, key, _no_passphrase)
    except _Encrypted:
        raise ConfigError(
            f"tls_key = {key} has a passphrase, for which nobody can be asked; "
            f"write it without one: openssl pkey -in {key} -out NEW"
        ) from None
    except ssl.SSLError as error:
        raise ConfigError(_why(certificate, key, error)) from error
    if settings.tls_client_ca:
        made.authorities = _ask_for_certificates(made, settings)
    made.entrance.authorities = made.authorities
    return made


def require_authorities(settings: Settings) -> None:
    """Those of clients, where the server's own certificate is yet to be made. Raises ConfigError."""
    if settings.tls_client_ca:
        _ask_for_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings)


def _ask_for_certificates(made: ssl.SSLContext, settings: Settings) -> bytes:
    authorities = settings.tls_client_ca
    content = _require("tls_client_ca", authorities, b"-----BEGIN CERTIFICATE-----")
    try:
        made.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise ConfigError(
            f"tls_client_ca = {authorities} cannot be used: {error.reason or error}; "
            "give the certificates of the authorities that sign your clients', in PEM form"
        ) from error
    made.verify_mode = _MODES[settings.tls_client_auth]
    return content


class _Encrypted(Exception):
    """Raised where OpenSSL would wait at the terminal for a passphrase."""


def _no_passphrase() -> str:
    raise _Encrypted


def _require(name: str, path: str, mark: bytes) -> bytes:
    """OpenSSL does not say which of the two files it could not read, nor why."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(
            f"{name} = {path} cannot be read: {error.strerror}; name a PEM file that the server may read"
        ) from error
    if mark not in content:
        what = "private key" if name == "tls_key" else "certificate"
        raise ConfigError(f"{name} = {path} holds no {what} in PEM form; name a file that does")
    return content


def _why(certificate: str, key: str, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return (
            f"tls_key = {key} is not the key of the first certificate in tls_cert = {certificate}; "
            "give the two that were made together, the server's own certificate before those of authorities"
        )
    why = error.reason or str(error)
    return f"tls_cert = {certificate} and tls_key = {key} cannot be used: {why}; make them anew"
