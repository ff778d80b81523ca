"""A registry that a test starts, looks into and stops: in this process, in a thread of its own.

The other half is the package `oci_registry_testing`: what a test has in hands, which calls this one directly
or from another process. So all that goes in and out here could be JSON.
"""

import os
import secrets
import socket
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import bcrypt
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.app import build, open_settings
from registry.auth import htpasswd
from registry.auth.passwords import LONGEST
from registry.config import load, require_known
from registry.names import RepositoryName, Tag
from registry.server.embedded import Embedded
from registry.server.self_signed import SelfSigned, machine_name, names_of, require_library
from registry.settings import ConfigError, Settings
from registry.testing import fault_file, profiles
from registry.testing.faults import Faults
from registry.testing.recorder import Naming, Record, Recorder
from registry.testing.wrapping import wrap
from storage.digest import Digest
from storage.errors import InvalidDigest
from storage.files import Files, temporary_root
from storage.layout import Layout
from storage.manifest_rows import ManifestRow
from storage.repositories import list_manifests
from storage.secrets import Secrets
from storage.store import Store

BACK_DOOR = "x-oci-registry-testing"
"""A request with this header and the target's secret comes in past the rules, and is in no record."""

_BACKLOG = 2048
_COST = 4  # of bcrypt: these passwords protect nothing
# What differs from `serve`: nothing happens by itself, and a stop waits for nobody long.
_DEFAULTS = {"port": 0, "ephemeral": True, "access_log": False, "gc": False, "drain": 1}


@dataclass(frozen=True, slots=True)
class Wish:
    """`settings` as flags or TOML would have them; `users` by name, with their passwords.

    `profile` is a name or a file, `faults` are as `fault_file.read` takes them.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    profile: str = ""
    faults: Sequence[Mapping[str, Any]] = ()


class Served:
    """Raises ConfigError, ProfileInvalid, FaultsInvalid, and what opening a store raises."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._secret = secrets.token_hex(16)
        self._records: list[Record] = []
        self._all, self._content, self._life = ExitStack(), ExitStack(), ExitStack()
        self._store: Store | None = None
        self._server: Embedded | None = None
        require_known(wish.settings)
        self._faults = Faults(fault_file.read({"fault": list(wish.faults)}))
        _check_users(wish.users)
        wanted = {**_DEFAULTS, "profile": wish.profile, **({"tls_self_signed": True} if wish.tls else {})}
        self._settings = load({**wanted, **wish.settings}, {}).settings
        named = self._settings.profile
        self._profile = profiles.load(named) if named else profiles.NONE

    def start(self) -> dict[str, Any]:
        with ExitStack() as undo:
            undo.callback(self.stop)
            host = self._settings.host
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            where = host, self._settings.port
            self._listener = socket.create_server(where, family=family, backlog=_BACKLOG)
            self._all.enter_context(self._listener)
            authority = self._certify() if self._settings.tls_self_signed else ""
            self._fill()
            self._serve()
            undo.pop_all()
        return {
            "host": host,
            "port": self._listener.getsockname()[1],
            "scheme": "https" if self._settings.serves_https else "http",
            "authority": authority,
            "door": [BACK_DOOR, self._secret],
        }

    def stop(self) -> None:
        with self._all, self._content:  # which go, whatever the server's end raises
            self._life.close()

    def restart(self) -> None:
        """The same content on the same port; who connects in between waits."""
        self._life.close()
        self._serve()

    def reset(self) -> None:
        """As it was after the start."""
        self._life.close()
        self._content.close()
        self._records.clear()
        self._faults.fired.clear()
        self.fail(self._wish.faults)
        self._fill()
        self._serve()

    def fail(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """With these faults from now on. Raises FaultsInvalid."""
        self._faults.replace(fault_file.read({"fault": list(faults)}))

    def fired(self) -> list[dict[str, Any]]:
        return [
            {"fault": fault_file.describe(each.fault), "method": each.method, "path": each.path}
            for each in tuple(self._faults.fired)
        ]

    def requests(self) -> list[dict[str, Any]]:
        return [record.as_json() for record in tuple(self._records)]

    def forget(self) -> None:
        self._records.clear()

    def manifests(self) -> list[dict[str, Any]]:
        assert self._store is not None
        with self._store.database.scanning() as connection:
            found = list_manifests(connection)
        return [
            {
                "repository": each.repository,
                "digest": str(each.digest),
                "media_type": each.media_type,
                "tags": list(each.tags),
                "path": self._store.layout.blob(each.digest),
            }
            for each in found
        ]

    def blob(self, digest: str) -> str | None:
        """The path of its file; None if there is no such blob."""
        assert self._store is not None
        try:
            parsed = Digest.parse(digest)
        except InvalidDigest:
            return None
        return None if self._store.blobs.size(parsed) is None else self._store.layout.blob(parsed)

    def plant(self, repository: str, tag: str, digest: str, data: str, media_type: str) -> None:
        """Bytes, in base64, as a manifest that nobody has read. Raises NameInvalid, TagInvalid."""
        assert self._store is not None
        assert self._server is not None
        names = RepositoryName(repository), [Tag(tag)] if tag else []
        self._server.run(_plant(self._store, *names, Digest.parse(digest), b64decode(data), media_type))

    def _certify(self) -> str:
        """Outside the content: clients that trust it go on to after a reset."""
        require_library()
        layout = Layout(self._all.enter_context(temporary_root()))
        files = Files(layout.degraded, durable=False)
        own = SelfSigned(Secrets(files, layout), layout, names_of(self._settings), machine_name())
        made = own.keep()
        self._settings = replace(self._settings, tls_cert=made.served, tls_key=made.served)
        return made.authority

    def _fill(self) -> None:
        self._settings = replace(self._settings, root=self._content.enter_context(temporary_root()))

    def _serve(self) -> None:
        with ExitStack() as life:
            store = self._store = open_settings(self._settings)
            life.callback(store.close)
            _write_users(store, self._wish.users)
            server = self._server = Embedded(lambda: self._app(store), self._settings, self._listener)
            server.start()
            life.callback(server.stop)
            self._life = life.pop_all()

    def _app(self, store: Store) -> ASGIApp:
        served = wrap(build(store, self._settings, witnesses=[Naming()]), self._profile, self._faults)
        plain = Settings(root=store.layout.root, anonymous="push", sparse=True, access_log=False)
        return BackDoor(Recorder(served, self._records), build(store, plain), self._secret)


class BackDoor:
    """How a test fills the registry, whatever rules its clients are under."""

    def __init__(self, front: ASGIApp, back: ASGIApp, secret: str) -> None:
        self._front, self._back = front, back
        self._key = (BACK_DOOR.encode(), secret.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inside = scope["type"] == "http" and self._key in scope["headers"]
        await (self._back if inside else self._front)(scope, receive, send)


async def _plant(
    store: Store, repository: str, tags: Sequence[str], digest: Digest, data: bytes, media_type: str
) -> None:
    await store.blobs.put(digest, data)
    await store.names.manifests.put(
        repository,
        ManifestRow(digest, media_type, len(data)),
        [],
        tags,
        file_size=store.blobs.size,
        check=lambda *_: None,
        check_manifest=lambda _: None,
    )


def _check_users(users: Mapping[str, str]) -> None:
    """Raises ConfigError."""
    for name, password in users.items():
        try:
            htpasswd.check_name(name)
        except ValueError as error:
            raise ConfigError(f"users: {error}") from None
        if not 0 < len(password.encode()) <= LONGEST or "\0" in password:
            raise ConfigError(f"the password of {name}: expected 1 to {LONGEST} bytes, none of them zero")


def _write_users(store: Store, users: Mapping[str, str]) -> None:
    if users and not os.path.exists(store.layout.htpasswd):
        lines = (_line(name, password) for name, password in users.items())
        Secrets(store.files, store.layout).replace(store.layout.htpasswd, b"".join(lines))


def _line(name: str, password: str) -> bytes:
    return b"%b:%b\n" % (name.encode(), bcrypt.hashpw(password.encode(), bcrypt.gensalt(_COST)))
