"""The settings: one schema, from which flags, variables, TOML keys and their documentation follow."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.auth.access_settings import ACCESS, GROUPS
from registry.auth.issuer_settings import ISSUERS, Issuer
from registry.auth.rules import UNCLAIMED, Entry
from registry.build_caches import BUILD_CACHES, BuildCache
from registry.kinds import (
    FAULTS,
    FILE,
    HOST,
    HOSTS,
    LOG,
    NETWORKS,
    PATH,
    PATTERNS,
    PROFILE,
    REPOSITORIES,
    SIZE,
    SPAN,
    SWITCH,
    URL,
    Kind,
    one_of,
    seconds,
    whole,
)
from registry.quotas import QUOTA, Quota
from registry.rates import RATE, Rate
from registry.retention_rules import RETENTION, Rule
from registry.upstream.settings import MIRRORS, UPSTREAMS, Upstream, join_upstreams

PREFIX = "REGISTRY_"
AUTO = "auto"


class ConfigError(Exception):
    """The settings do not allow a start; the text says which key, why, and what to do."""


def _about(kind: Kind, help_line: str) -> dict[str, object]:
    return {"kind": kind, "help": help_line}


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings; picklable, since every worker gets them. Times in seconds."""

    root: str = field(
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
            one_of(AUTO, UNCLAIMED, "none", "pull", "push"),
            "What anyone may do without a login: none, pull, or push (pull, push and delete); "
            "unclaimed: everything until there is an account; auto: that on a loopback address only.",
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
    profile: str = field(
        default="",
        metadata=_about(
            PROFILE, "For tests: behave as another registry, by one of the profiles of docs/profiles.md."
        ),
    )
    faults: str = field(
        default="",
        metadata=_about(
            FAULTS,
            "For tests: fail as this file says (docs/faults.md), and let anyone change it at /_test/faults.",
        ),
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
    build_cache: tuple[BuildCache, ...] = field(
        default=(),
        metadata=_about(
            BUILD_CACHES, "Caches of builders, kept small: tables as docs/build-cache.md has them."
        ),
    )
    upstream: tuple[Upstream, ...] = field(
        default=(),
        metadata=_about(
            UPSTREAMS, "Registries whose images are fetched and kept here: tables as docs/cache.md has them."
        ),
    )
    mirror: tuple[Upstream, ...] = field(
        default=(),
        metadata=_about(
            MIRRORS, "The same in short, for registries that ask for no login: docker.io, or NAME=URL."
        ),
    )
    local: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            REPOSITORIES, "Repositories that no upstream is asked for, whatever it has under their names."
        ),
    )
    offline: bool = field(
        default=False, metadata=_about(SWITCH, "Ask no upstream: of its images, serve what is here.")
    )
    cache_size: int = field(
        default=0,
        metadata=_about(
            SIZE, "What images of all upstreams may hold here; 0: as much as the disk has room for."
        ),
    )

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """All of them. Raises Misfit where the two keys do not go together."""
        return join_upstreams(self.upstream, self.mirror)

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
        return PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


SCHEMA: Mapping[str, Key] = {
    item.name: Key(item.name, item.metadata["kind"], item.metadata["help"])
    for item in dataclasses.fields(Settings)
}
