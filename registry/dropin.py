"""The environment names of the distribution image (`registry:2`, `registry:3`): its recipes work here."""

import re
from collections.abc import Callable, Collection, Mapping

# Docker links and Kubernetes describe a Service named `registry` or `registry-…` in every container.
_INJECTED_NAME = re.compile(
    r"REGISTRY_(?:\w+_)?SERVICE_HOST|REGISTRY_(?:\w+_)?SERVICE_PORT(?:_\w+)?"
    r"|REGISTRY_(?:\w+_)?PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?|REGISTRY_ENV_\w+|REGISTRY_NAME",
    re.ASCII,
)
_INJECTED_VALUE = re.compile(r"(?:tcp|udp|sctp)://\S+", re.ASCII)

# Locations are relative, sessions live on disk, the index is the cache: passing these over loses nothing.
_HARMLESS = re.compile(
    r"REGISTRY_AUTH_HTPASSWD_REALM|REGISTRY_HTTP_(?:SECRET|RELATIVEURLS|HTTP2_\w+)|REGISTRY_LOG_(?:LEVEL|FORMATTER|FIELDS_\w+)"
    r"|REGISTRY_STORAGE_(?:CACHE\w*|REDIRECT_\w+|FILESYSTEM_MAXTHREADS|MAINTENANCE_UPLOADPURGING_\w+)"
    r"|REGISTRY_HEALTH_STORAGEDRIVER_\w+|REGISTRY_VALIDATION_DISABLED",
    re.ASCII,
)
_ENABLED = re.compile(r"""\s*\{\s*["']?enabled["']?\s*:\s*(\w+)\s*\}\s*""", re.ASCII)
_OFF = ("false", "False", "FALSE", "0", "f", "F")

_ELSEWHERE = (
    "images are kept in a folder of this machine only; unset it, and name the folder in REGISTRY_ROOT"
)
_USERS = {"REGISTRY_AUTH_HTPASSWD_PATH", "REGISTRY_HTPASSWD"}
_NO_USERS = "REGISTRY_AUTH_HTPASSWD_PATH is not: name the file of the users in it"
# Going on without these would open the registry to anyone, or keep its content elsewhere than was asked for.
_REFUSED: Mapping[str, str] = {
    "REGISTRY_AUTH_TOKEN": "another registry's token server is an entry of issuers here, with access = true; "
    "unset it, and see docs/access.md",
    "REGISTRY_AUTH": "this kind of logins is not supported, and without them the registry would be open; "
    "unset it, and make users with `registry user add`, or name a file of them in REGISTRY_HTPASSWD",
    "REGISTRY_HTTP_TLS_CLIENT": "the authorities of client certificates are read from one file; unset it, "
    "and put them all into that of REGISTRY_HTTP_TLS_CLIENTCAS_0",
    "REGISTRY_HTTP_TLS_LETSENCRYPT_": "certificates are not fetched; unset it, "
    "and name the files that a program such as certbot keeps, in REGISTRY_TLS_CERT and REGISTRY_TLS_KEY",
    "REGISTRY_HTTP_TLS_MINIMUMTLS": "TLS 1.2 is always the least that is spoken; unset it",
    "REGISTRY_HTTP_TLS_CIPHERSUITES": "the ciphers cannot be chosen; unset it",
    "REGISTRY_PROXY_": "mirroring another registry is not supported yet; unset it",
    "REGISTRY_CONFIGURATION_PATH": "YAML files of another registry cannot be read; unset it, "
    "write the settings as TOML, and name that file in REGISTRY_CONFIG",
    **{
        f"REGISTRY_STORAGE_{driver}": _ELSEWHERE
        for driver in ("S3", "GCS", "AZURE", "SWIFT", "OSS", "INMEMORY")
    },
}


def injected(variable: str, text: str) -> bool:
    """Whether a container platform, not a person, set this variable."""
    by_value = variable.endswith("_PORT") and _INJECTED_VALUE.fullmatch(text)
    return bool(by_value or _INJECTED_NAME.fullmatch(variable))


def harmless(variable: str, text: str) -> bool:
    """Whether the registry does what this asks for anyway, or nothing depends on it."""
    if variable == "REGISTRY_HTTP_TLS_MINIMUMTLS":
        return text == "tls1.2"
    return (variable == "REGISTRY_STORAGE" and text == "filesystem") or bool(_HARMLESS.fullmatch(variable))


def refusal(variable: str, text: str, others: Collection[str]) -> str:
    """Why the start must stop at this variable, beside the others; empty if it need not."""
    if (variable, text) == ("REGISTRY_AUTH", "htpasswd"):
        return "" if _USERS & set(others) else _NO_USERS
    if variable in ALIASES and variable != "REGISTRY_AUTH":
        return ""
    if variable == "REGISTRY_STORAGE":
        return f"it asks for the storage driver {text!r}: {_ELSEWHERE}"
    return next((why for prefix, why in _REFUSED.items() if variable.startswith(prefix)), "")


def rank(given: tuple[str, str]) -> bool:
    """In which order variables are read, the last wins: CLIENTCAS decides what CLIENTAUTH does, too."""
    return given[0] == "REGISTRY_HTTP_TLS_CLIENTAUTH"


def _address(text: str) -> dict[str, str]:
    """`:5000`, `0.0.0.0:5000` or `[::]:5000`; without a host, every address. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("expected HOST:PORT, such as 0.0.0.0:5000 or :5000")
    return {"host": host or "0.0.0.0", "port": port}  # noqa: S104 (what the name means in that image)


def _client_authorities(text: str) -> dict[str, str]:
    """Whoever names them there lets nobody in without a certificate, unless CLIENTAUTH says otherwise.

    Raises ValueError.
    """
    one = text.strip().removeprefix("[").removesuffix("]").strip("\"' ")
    if "," in one:
        raise ValueError("the authorities are read from one file: put all certificates into that")
    return {"tls_client_ca": one, "tls_client_auth": "required"}


def _client_auth(text: str) -> dict[str, str]:
    """Raises ValueError for the two that would take a certificate which nobody has verified."""
    modes = {"require-and-verify-client-cert": "required", "verify-client-cert-if-given": "optional"}
    if text not in modes:
        raise ValueError(f"expected {' or '.join(modes)}; certificates are always verified")
    return {"tls_client_auth": modes[text]}


def _logging(text: str) -> dict[str, str]:
    return {"access_log": "true" if text in _OFF else "false"}


def _read_only(text: str) -> dict[str, str]:
    """YAML's `{enabled: true}`, as many recipes write it. Raises ValueError."""
    if text in _OFF:
        return {"read_only": "false"}
    found = _ENABLED.fullmatch(text)
    if not found:
        raise ValueError("expected {enabled: true} or {enabled: false}")
    return {"read_only": found[1]}


# The texts are read by the kind of our own key.
ALIASES: Mapping[str, Callable[[str], Mapping[str, str]]] = {
    "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": lambda text: {"root": text},
    "REGISTRY_STORAGE_DELETE_ENABLED": lambda text: {"delete": text},
    "REGISTRY_STORAGE_MAINTENANCE_READONLY": _read_only,
    "REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": lambda text: {"read_only": text},
    "REGISTRY_HTTP_ADDR": _address,
    "REGISTRY_HTTP_HOST": lambda text: {"external_url": text},
    "REGISTRY_HTTP_TLS_CERTIFICATE": lambda text: {"tls_cert": text},
    "REGISTRY_HTTP_TLS_KEY": lambda text: {"tls_key": text},
    "REGISTRY_AUTH": lambda text: {},
    "REGISTRY_AUTH_HTPASSWD_PATH": lambda text: {"htpasswd": text},
    "REGISTRY_HTTP_TLS_CLIENTCAS": _client_authorities,
    "REGISTRY_HTTP_TLS_CLIENTCAS_0": _client_authorities,
    "REGISTRY_HTTP_TLS_CLIENTAUTH": _client_auth,
    "REGISTRY_HTTP_DRAINTIMEOUT": lambda text: {"drain": text},
    "REGISTRY_LOG_ACCESSLOG_DISABLED": _logging,
}
