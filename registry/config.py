"""Settings: flags > environment > TOML file > defaults. The only module that reads the environment.

One schema, the fields of `Settings`, drives the TOML keys, the environment names `REGISTRY_<KEY>`,
`registry config` and the documentation. The names of the distribution image are in `registry/dropin.py`.
"""

import dataclasses
import difflib
import ipaddress
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from registry import dropin
from registry.auth.access_settings import ACCESS, GROUPS
from registry.auth.issuer_settings import ISSUERS, Issuer
from registry.auth.public_keys import is_installed
from registry.auth.rules import AUTO, Entry, Rules
from registry.kinds import (
    FILE,
    HOST,
    HOSTS,
    LOG,
    NETWORKS,
    PATH,
    PATTERNS,
    SPAN,
    SWITCH,
    URL,
    Kind,
    Misfit,
    one_of,
    seconds,
    whole,
)
from registry.quotas import QUOTA, Quota
from registry.rates import RATE, Rate
from registry.retention_rules import RETENTION, Rule
from storage.layout import Layout

_PREFIX = "REGISTRY_"


class ConfigError(Exception):
    """The settings do not allow a start; the text says which key, why, and what to do."""


def default_root(environ: Mapping[str, str]) -> str:
    """The data folder of this user's platform."""
    home = environ.get("HOME") or os.path.expanduser("~")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Application Support", "oci-registry")
    data = environ.get("XDG_DATA_HOME", "")
    # A relative XDG_DATA_HOME is invalid and to be ignored (XDG base directory specification).
    return os.path.join(
        data if os.path.isabs(data) else os.path.join(home, ".local", "share"), "oci-registry"
    )


def _about(kind: Kind, help_line: str) -> dict[str, object]:
    return {"kind": kind, "help": help_line}


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings; picklable, since every worker gets them. Times in seconds."""

    root: str = field(
        default_factory=lambda: default_root(os.environ),
        metadata=_about(PATH, "The folder that holds everything that was pushed."),
    )
    host: str = field(default="127.0.0.1", metadata=_about(HOST, "The address to listen on."))
    port: int = field(
        default=5000, metadata=_about(whole(0, 65535), "The port to listen on; 0 takes a free one.")
    )
    workers: int = field(
        default=1, metadata=_about(whole(1, 128), "The number of server processes that share the root.")
    )
    anonymous: str = field(
        default=AUTO,
        metadata=_about(
            one_of(AUTO, "none", "pull", "push"),
            "What anyone may do without a login: none, pull, or push (pull, push and delete); "
            "auto: everything until there is an account, then none.",
        ),
    )
    access: tuple[Entry, ...] = field(
        default=(),
        metadata=_about(
            ACCESS, "Who may do what: tables as docs/access.md has them; empty: users everything."
        ),
    )
    groups: tuple[tuple[str, tuple[str, ...]], ...] = field(
        default=(), metadata=_about(GROUPS, "Groups of users, for the tables of access.")
    )
    htpasswd: str = field(
        default="",
        metadata=_about(
            FILE, "The users' passwords: a bcrypt htpasswd file; empty: the file htpasswd in the root."
        ),
    )
    tls_cert: str = field(
        default="",
        metadata=_about(FILE, "Serve HTTPS: a PEM file with the certificate, then those that vouch for it."),
    )
    tls_key: str = field(
        default="", metadata=_about(FILE, "A PEM file with the certificate's key, without a passphrase.")
    )
    external_url: str = field(
        default="",
        metadata=_about(URL, "Where clients find the registry, if a proxy in front hides that from it."),
    )
    trusted_proxies: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            NETWORKS, "Proxies in front, whose word on the client's address, scheme and host counts."
        ),
    )
    tls_self_signed: bool = field(
        default=False,
        metadata=_about(
            SWITCH, "Serve HTTPS by a certificate made and renewed here; the start says how clients trust it."
        ),
    )
    tls_names: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            HOSTS, "Names and addresses for that certificate, beside host, localhost and this machine's name."
        ),
    )
    tls_client_ca: str = field(
        default="",
        metadata=_about(
            FILE, "Know clients by their certificates: a PEM file with the authorities that sign them."
        ),
    )
    tls_client_auth: str = field(
        default="",
        metadata=_about(
            one_of("", "optional", "required"),
            "Whether a client must show such a certificate. Empty: optional.",
        ),
    )
    delete: bool = field(
        default=True,
        metadata=_about(SWITCH, "Whether tags, manifests and blobs may be deleted; if not, DELETE is a 405."),
    )
    immutable_tags: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            PATTERNS,
            "Tags that clients can neither move nor delete once pushed: patterns REPO:TAG, * for anything.",
        ),
    )
    read_only: bool = field(
        default=False,
        metadata=_about(
            SWITCH, "Serve pulls only: every push and delete is a 405, and nothing is cleaned up."
        ),
    )
    sparse: bool = field(
        default=False, metadata=_about(SWITCH, "Accept manifests that name content the repository lacks.")
    )
    ephemeral: bool = field(
        default=False,
        metadata=_about(SWITCH, "For tests: a temporary root without fsync, removed when the server ends."),
    )
    access_log: bool = field(
        default=True, metadata=_about(SWITCH, "Write one line per request to standard error.")
    )
    audit_log: str = field(
        default="",
        metadata=_about(
            LOG,
            "Write a line per change, login and refusal to this file; -: to standard error; empty: nowhere.",
        ),
    )
    upload_expiry: int = field(
        default=3600, metadata=_about(seconds(1), "How long an upload session without new bytes is kept.")
    )
    gc: bool = field(
        default=True, metadata=_about(SWITCH, "Collect garbage while serving: what nothing names any more.")
    )
    gc_grace: int = field(
        default=3600,
        metadata=_about(
            seconds(1),
            "How long what nothing names is kept: a client was told that it is here, and may be pushing.",
        ),
    )
    scrub_rate: int = field(
        default=0,
        metadata=_about(
            whole(0, 100_000),
            "Read all blobs again and again, so many megabytes a second, to find bytes that rot; 0 does not.",
        ),
    )
    drain: int = field(
        default=30, metadata=_about(seconds(0), "How long a stop waits for the requests in flight.")
    )
    allow_network_fs: bool = field(
        default=False,
        metadata=_about(
            SWITCH, "Start on NFS, SMB, 9p or sshfs, where durability and locks are not assured."
        ),
    )
    untagged: int | str = field(
        default=30 * 86_400,
        metadata=_about(
            SPAN, "How long what lost its last tag can still be pulled by digest; never: until it is deleted."
        ),
    )
    retention: tuple[Rule, ...] = field(
        default=(),
        metadata=_about(RETENTION, "Which tags stay, by repository: tables as docs/retention.md has them."),
    )
    issuers: tuple[Issuer, ...] = field(
        default=(),
        metadata=_about(
            ISSUERS, "Whose tokens are believed beside our own: tables as docs/access.md has them."
        ),
    )
    quota: tuple[Quota, ...] = field(
        default=(),
        metadata=_about(
            QUOTA, "How much repositories may hold, each or together: tables as docs/limits.md has them."
        ),
    )
    rate: tuple[Rate, ...] = field(
        default=(),
        metadata=_about(RATE, "How many requests a client may make: tables as docs/limits.md has them."),
    )

    @property
    def serves_https(self) -> bool:
        return bool(self.tls_cert) or self.tls_self_signed


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of the schema, for whoever lists or documents the settings."""

    name: str
    kind: Kind
    help: str

    @property
    def variable(self) -> str:
        return _PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


SCHEMA: Mapping[str, Key] = {
    item.name: Key(item.name, item.metadata["kind"], item.metadata["help"])
    for item in dataclasses.fields(Settings)
}
_VARIABLES: Mapping[str, str] = {key.variable: key.name for key in SCHEMA.values()}


@dataclass(frozen=True, slots=True)
class Loaded:
    """`sources` says for every key which layer gave it: default, file …, environment … or flag …."""

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    config_file: str | None = None,
    *,
    serving: bool = True,
) -> Loaded:
    """Settings from the four layers; flags are text or typed, None was not given. Raises ConfigError.

    Without `serving`, the rules on what may be served to whom are left out: `registry ls` listens nowhere.
    """
    variables = {name: value for name, value in environ.items() if name.startswith(_PREFIX) and value}
    from_variable = variables.pop("REGISTRY_CONFIG", None)
    config_file = config_file or from_variable
    values: dict[str, Any] = {"root": default_root(environ)}
    sources = dict.fromkeys(SCHEMA, "default")
    warnings: list[str] = []
    for name, value, source in (
        *(_from_file(config_file) if config_file else ()),
        *_from_environment(variables, warnings),
        *_from_flags(flags),
    ):
        values[name] = _checked(name, value, source)
        sources[name] = source
    settings = Settings(**values)
    if serving:
        _check_together(settings, sources)
        if settings.read_only and settings.scrub_rate:
            warnings.append(f"scrub_rate ({sources['scrub_rate']}) has no effect while read_only is on")
    return Loaded(settings, sources, tuple(warnings))


def load_from_process(
    flags: Mapping[str, object], config_file: str | None = None, *, serving: bool = True
) -> Loaded:
    """`load` with this process's environment."""
    return load(flags, os.environ, config_file, serving=serving)


def _checked(name: str, value: object, source: str) -> object:
    kind = SCHEMA[name].kind
    try:
        return kind.check(value)
    except Misfit as error:
        raise ConfigError(
            f"{name}, {error.where} = {error.value!r} ({source}): expected {error.expected}"
        ) from None
    except ValueError:
        raise ConfigError(f"{name} = {value!r} ({source}): expected {kind.expected}") from None


def _from_flags(flags: Mapping[str, object]) -> Iterator[tuple[str, object, str]]:
    for name, value in flags.items():
        source = f"flag {SCHEMA[name].flag}"
        if isinstance(value, str):
            yield _from_text(name, value, source)
        elif value is not None:
            yield name, value, source


def _near(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _from_file(path: str) -> Iterator[tuple[str, object, str]]:
    if path.endswith((".yml", ".yaml")):
        raise ConfigError(
            f"{path}: YAML files of another registry cannot be read, and what this one asks for "
            "(perhaps a login) would be lost; write the settings as TOML and give them with --config FILE"
        )
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} is not TOML: {error}") from error
    for name, value in table.items():
        if name not in SCHEMA:
            hint = _near(name, SCHEMA) or f"; known keys: {', '.join(SCHEMA)}"
            raise ConfigError(f"unknown key {name!r} in {path}{hint}")
        yield name, value, f"file {path}"


def _from_environment(variables: Mapping[str, str], warnings: list[str]) -> Iterator[tuple[str, object, str]]:
    """Values of the known variables, our own after those of the distribution image, so that ours win."""
    own: list[tuple[str, object, str]] = []
    for variable, text in sorted(variables.items(), key=dropin.rank):
        if dropin.injected(variable, text) or dropin.harmless(variable, text):
            continue
        if why := dropin.refusal(variable, text, variables):
            raise ConfigError(f"{variable} is set, but {why}")
        if variable in _VARIABLES:
            name = _VARIABLES[variable]
            own.append(_from_text(name, text, f"environment {variable}"))
        elif variable in dropin.ALIASES:
            for name, part in _parts(variable, text).items():
                yield _from_text(name, part, f"environment {variable}")
        else:
            warnings.append(f"{variable} is not a setting and has no effect{_near(variable, _VARIABLES)}")
    yield from own


def _parts(variable: str, text: str) -> Mapping[str, str]:
    try:
        return dropin.ALIASES[variable](text)
    except ValueError as error:
        raise ConfigError(f"{variable} = {text!r} (environment): {error}") from None


def _from_text(name: str, text: str, source: str) -> tuple[str, object, str]:
    kind = SCHEMA[name].kind
    try:
        return name, kind.read(text), source
    except ValueError:
        raise ConfigError(f"{name} = {text!r} ({source}): expected {kind.expected}") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; names other than localhost are taken as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def has_accounts(settings: Settings) -> bool:
    """Whether anything says who may come in, as the files are now."""
    layout = Layout(settings.root)
    files = (settings.htpasswd or layout.htpasswd, layout.robots)
    # A file that was asked for by name may come later: nobody is to come in before it.
    said = settings.access or settings.issuers or settings.htpasswd or settings.tls_client_ca
    return bool(said) or any(map(os.path.exists, files))


def access_rules_of(settings: Settings) -> Rules:
    """Who may do what by these settings."""
    return Rules(settings.access, dict(settings.groups), settings.anonymous, partial(has_accounts, settings))


def _check_together(settings: Settings, sources: Mapping[str, str]) -> None:
    said = sources["anonymous"] != "default" or has_accounts(settings)
    if not said and not is_loopback(settings.host):
        raise ConfigError(
            f"host = {settings.host} ({sources['host']}) is reachable from other machines, and there is no "
            "account to log in to: make one with `registry user add NAME`, or say what anyone may do, "
            "--anonymous pull, --anonymous push (pull, push and delete) or none, or listen on 127.0.0.1"
        )
    _check_tls(settings, sources)
    if settings.anonymous == "push" and settings.htpasswd:
        raise ConfigError(
            f"htpasswd ({sources['htpasswd']}) asks for logins; anonymous = push ({sources['anonymous']}) "
            "makes them worth nothing: leave out one, or give --anonymous pull or none"
        )
    if settings.issuers and not is_installed():
        raise ConfigError(
            f"issuers ({sources['issuers']}) needs a library that verifies their tokens: "
            "run pip install 'oci-registry[oidc]'"
        )
    if settings.ephemeral and sources["root"].startswith("flag") and sources["ephemeral"].startswith("flag"):
        raise ConfigError("--ephemeral makes its own temporary root: give it or --root, not both")


def _check_tls(settings: Settings, sources: Mapping[str, str]) -> None:
    given = {name: getattr(settings, name) for name in ("tls_cert", "tls_key")}
    if any(given.values()) and not all(given.values()):
        have, lacking = sorted(given, key=given.__getitem__, reverse=True)
        raise ConfigError(
            f"{have} = {given[have]} ({sources[have]}) serves HTTPS only together with {lacking}: "
            f"give {SCHEMA[lacking].flag} FILE too, or neither for plain HTTP"
        )
    if settings.tls_self_signed and settings.tls_cert:
        raise ConfigError(
            f"tls_self_signed ({sources['tls_self_signed']}) makes a certificate, and "
            f"tls_cert = {settings.tls_cert} ({sources['tls_cert']}) names one: give one of the two"
        )
    if settings.tls_names and not settings.tls_self_signed:
        raise ConfigError(
            f"tls_names ({sources['tls_names']}) are for the certificate that --tls-self-signed makes: "
            "give that too, or leave them out"
        )
    if settings.tls_client_auth and not settings.tls_client_ca:
        raise ConfigError(
            f"tls_client_auth = {settings.tls_client_auth} ({sources['tls_client_auth']}) needs the "
            "authorities that sign the clients' certificates: give --tls-client-ca FILE too"
        )
    if settings.tls_client_ca and not settings.serves_https:
        raise ConfigError(
            f"tls_client_ca = {settings.tls_client_ca} ({sources['tls_client_ca']}) needs HTTPS: "
            "give --tls-cert and --tls-key, or --tls-self-signed"
        )
