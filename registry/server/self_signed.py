"""`--tls-self-signed`: the registry's own authority, and the certificate that it signs, kept in the root.

An authority, and no certificate that vouches for itself: clients are told once in ten years whom to trust,
while the server's certificate is made anew every year, since some clients take none that lasts longer than
398 days. Who has the root has the authority's key. So it can sign for the names that this registry was given
and for nothing else (name constraints, critical), for no other authority, and for servers only: a machine
that trusts it for everything trusts it for these names.

Other names in the settings need another authority, which clients have to be given. The machine's own name, a
new one in each container, is left out where the authority does not have it.
"""

import datetime
import ipaddress
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.settings import ConfigError, Settings
from storage.layout import Layout
from storage.secrets import Secrets

if TYPE_CHECKING:
    from registry.server.issuing import Pair

DAYS, RENEW_DAYS, AUTHORITY_DAYS = 397, 30, 3650
# No clock that is right shows less: some machines begin in 1970, until the network tells them the time.
_CLOCKS = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_LOOK_SECONDS = 6 * 3600.0  # between two looks at how long it lasts

_ALWAYS = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 (compared, not bound)
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

logger = logging.getLogger("registry")

Clock = Callable[[], datetime.datetime]


@dataclass(frozen=True, slots=True)
class Kept:
    authority: str  # the file that clients have to trust
    fingerprint: str  # SHA-256, of that
    served: str  # the file with certificate and key: in one, for they change as one
    names: tuple[str, ...]


def require_library() -> None:
    """Raises ConfigError."""
    try:
        import registry.server.issuing  # noqa: F401 (it is large: only who asks for it pays)
    except ImportError:
        raise ConfigError(
            "tls_self_signed needs the package cryptography: pip install 'oci-registry[tls]'; "
            "or make a certificate yourself, and give --tls-cert and --tls-key"
        ) from None


def names_of(settings: Settings) -> tuple[str, ...]:
    """Those that the certificate must have. Raises ConfigError."""
    host = () if settings.host in _EVERYWHERE else (settings.host,)
    found = []
    for name in (*_ALWAYS, *host, *settings.tls_names):
        if not (read := _read_name(name)):
            raise ConfigError(
                f"{name!r} can be in no certificate: give tls_names as host names such as registry.lan, "
                "or as addresses such as 192.0.2.10"
            )
        found.append(read)
    return tuple(dict.fromkeys(found))


def machine_name() -> str:
    """Empty if it can be in no certificate."""
    return _read_name(socket.gethostname())


def _read_name(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        name = name.lower().removesuffix(".")
        return name if _NAME.fullmatch(name) and len(name) < 254 else ""


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class SelfSigned:
    """Makes what is missing, does not fit or ends soon.

    Other names count at the start only: of two servers with different names on one root, each would else take
    the other's authority away, again and again.
    """

    def __init__(
        self, secrets: Secrets, layout: Layout, names: tuple[str, ...], machine: str, clock: Clock = _now
    ) -> None:
        self._secrets, self._layout, self._names = secrets, layout, names
        self._machine, self._clock = machine, clock

    def keep(self) -> Kept:
        """At the start."""
        authority = self._keep_authority(self._names)
        return self._keep_certificate(authority, starting=True)

    def renew(self) -> None:
        """While it serves: what is lost, or ends soon."""
        from registry.server import issuing

        authority = self._keep_authority(())
        if issuing.allows(authority, self._names):
            self._keep_certificate(authority, starting=False)
        else:
            logger.error(
                "a server with other tls_names has put another authority into this root, so that clients of "
                "this one may be refused: give both the same tls_names, and start them again"
            )

    def keep_for_ever(self) -> None:
        """In a thread of one process; the others see that the file has changed (renewal.py)."""
        while True:
            time.sleep(_LOOK_SECONDS)
            try:
                self.renew()
            except Exception:
                logger.exception("the certificate could not be renewed")

    def follow(self) -> None:
        threading.Thread(target=self.keep_for_ever, name="tls-renewal", daemon=True).start()

    def _keep_authority(self, names: tuple[str, ...]) -> "Pair":
        from registry.server import issuing

        now, kept = self._clock(), []

        def change(before: bytes | None) -> bytes:
            found = issuing.read(before)
            good = found and issuing.lasts(found, now, DAYS) and issuing.allows(found, names)
            # One from the future was made by a clock that was wrong; unless it is this one that is.
            if found and good and (issuing.has_begun(found, now) or now < _CLOCKS):
                kept.append(found)
                return before or b""
            if found:
                logger.warning("the certificate's authority is a new one: clients have to trust it anew")
            found = issuing.make_authority(self._with_machine(), now, AUTHORITY_DAYS)
            kept.append(found)
            return found.private + found.public

        self._secrets.edit(self._layout.tls_authority, change)
        [authority] = kept
        self._secrets.edit(self._layout.tls_ca, lambda _: authority.public)
        return authority

    def _keep_certificate(self, authority: "Pair", *, starting: bool) -> Kept:
        from registry.server import issuing

        now = self._clock()
        names = self._with_machine()
        if not issuing.allows(authority, names):
            names = self._names

        def change(before: bytes | None) -> bytes:
            found = issuing.read(before)
            good = found and issuing.has_begun(found, now) and issuing.lasts(found, now, RENEW_DAYS)
            if found and good and issuing.has(found, authority, names if starting else ()):
                return before or b""
            found = issuing.issue(authority, names, now, DAYS)
            return found.private + found.public + authority.public

        self._secrets.edit(self._layout.tls_served, change)
        return Kept(self._layout.tls_ca, authority.fingerprint, self._layout.tls_served, names)

    def _with_machine(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(filter(None, (*self._names, self._machine))))


def trust_steps(kept: Kept, host: str, port: int) -> list[str]:
    """What to do on the machines of clients, for who reads the start."""
    if host in _EVERYWHERE:
        host = next((name for name in kept.names if name not in _ALWAYS), _ALWAYS[0])
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    folder = f"/etc/containerd/certs.d/{where}"
    return [
        f"  certificate for {', '.join(kept.names)}",
        f"  to trust    {kept.authority}",
        f"              SHA-256 {kept.fingerprint}",
        "              copy it, on each client's machine, to",
        f"    docker      /etc/docker/certs.d/{where}/ca.crt",
        f"    podman      /etc/containers/certs.d/{where}/ca.crt",
        f"    containerd  {folder}/ca.crt, and beside it, hosts.toml:",
        f'                server = "https://{where}"',
        f'                [host."https://{where}"]',
        f'                  ca = "{folder}/ca.crt"',
    ]
