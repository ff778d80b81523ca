"""Where issuers' keys come from: fetched, kept, fetched again; or read from a file."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from registry.auth.addresses import is_local, is_safe
from registry.auth.fetching import LARGEST, Fetched, FetchFailed, fetch
from registry.auth.issuer_settings import Issuer
from registry.auth.public_keys import KeysUnavailable, PublicKey, read_keys
from registry.strict_json import JsonInvalid, loads

logger = logging.getLogger("registry")

# Seconds that fetched keys are fresh: at least, where the issuer says nothing, at most.
_SHORTEST, _USUAL, _LONGEST = 300, 3600, 86_400
_STALE = 86_400  # seconds beyond that, while the issuer cannot be reached
_PAUSE = 60.0  # between two fetches: anyone can make up an unknown kid
_COLD = 10.0  # the same while there are no keys at all: the network may be later than we are
_SECONDS = 5.0  # for all that one fetch takes


class KeySource(Protocol):
    async def keys(self, kid: str | None) -> Sequence[PublicKey]:
        """The issuer's keys, that of this id among them if there is one. Raises KeysUnavailable."""


def source_of(issuer: Issuer) -> KeySource:
    if issuer.jwks and "://" not in issuer.jwks:
        return FileKeys(issuer)
    return FetchedKeys(issuer)


def load(issuer: Issuer) -> Fetched:
    """The key set, found by discovery (OpenID Connect Discovery 1.0, section 4) unless `jwks` says where.

    The keys may be at another host than the issuer, as Google's are: the document that says so came from the
    issuer itself, over TLS. They are never fetched by less than that.
    """
    if issuer.jwks:
        return fetch(issuer.jwks)
    url = f"{issuer.issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        found = loads(fetch(url).body)
    except JsonInvalid as error:
        raise FetchFailed(f"{url} cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("issuer") != issuer.issuer:
        raise FetchFailed(f"{url} is of another issuer than {issuer.issuer}")
    address = found.get("jwks_uri")
    if not isinstance(address, str) or not is_safe(address):
        raise FetchFailed(f"{url} has no jwks_uri that is https")
    if is_local(address) and not is_local(issuer.issuer):
        raise FetchFailed(f"{url} leads to this machine itself")
    return fetch(address)


class FetchedKeys:
    """One fetch at a time, which all who wait share; it goes on if the one who asked first leaves."""

    def __init__(
        self,
        issuer: Issuer,
        load: Callable[[Issuer], Fetched] = load,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer, self._load, self._clock = issuer, load, clock
        self._keys: tuple[PublicKey, ...] = ()
        self._fresh_until = self._next_fetch = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._why = ""

    async def keys(self, kid: str | None) -> Sequence[PublicKey]:
        lacking = self._is_spent() or (kid is not None and all(key.kid != kid for key in self._keys))
        if lacking or self._clock() >= self._fresh_until:
            fetching = self._refresh()
            # Where the last try failed, those at hand do meanwhile: an issuer that is down holds up nobody.
            if fetching and (lacking or not self._why):
                await asyncio.shield(fetching)
        if self._is_spent():
            raise KeysUnavailable(self._why)
        return self._keys

    def _is_spent(self) -> bool:
        return not self._keys or self._clock() > self._fresh_until + _STALE

    def _refresh(self) -> asyncio.Task[None] | None:
        if self._fetching is None or self._fetching.done():
            if self._clock() < self._next_fetch:
                return None
            self._next_fetch = self._clock() + (_PAUSE if self._keys else _COLD)
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                fetched = await asyncio.to_thread(self._load, self._issuer)
            self._keys = read_keys(fetched.body)
        except TimeoutError:
            self._fail(f"no answer within {_SECONDS:.0f} s")
        except Exception as error:  # no thread, no memory: whatever it was, those who wait must be told
            self._fail(str(error) or type(error).__name__)
        else:
            age = _USUAL if fetched.max_age is None else fetched.max_age
            self._fresh_until = self._clock() + min(max(age, _SHORTEST), _LONGEST)
            self._next_fetch = self._clock() + _PAUSE
            self._why = ""

    def _fail(self, why: str) -> None:
        self._why = why
        logger.warning("the keys of issuer %s could not be fetched: %s", self._issuer.name, why)


class FileKeys:
    """A file, read again when it is another. While it cannot be, the keys from before are used for a day."""

    def __init__(self, issuer: Issuer, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer, self._clock = issuer, clock
        self._keys: tuple[PublicKey, ...] = ()
        self._stamp: object = ()
        self._until = float("inf")
        self._why = ""

    async def keys(self, kid: str | None) -> Sequence[PublicKey]:
        stamp = _stamp(self._issuer.jwks)
        if stamp != self._stamp:
            self._stamp = stamp
            self._read()
        if not self._keys or self._clock() > self._until:
            raise KeysUnavailable(self._why)
        return self._keys

    def _read(self) -> None:
        try:
            with open(self._issuer.jwks, "rb") as file:
                body = file.read(LARGEST + 1)
            if len(body) > LARGEST:
                raise KeysUnavailable(f"the file is larger than {LARGEST} bytes")
            self._keys, self._until = read_keys(body), float("inf")
        except (OSError, KeysUnavailable) as error:
            self._why = str(error)
            self._until = min(self._until, self._clock() + _STALE)
            logger.warning("the keys of issuer %s could not be read: %s", self._issuer.name, error)


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
