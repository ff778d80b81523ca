"""Certificates that change while the server runs: every new connection gets the one that is in force.

A context that is in use is never changed: OpenSSL takes certificate and key one after the other, and would be
left with a pair that does not fit. Another is made from the files, and takes the place of the one before if
it can serve. A session is resumed only in the context that it began in: when the authorities for clients
change, every client is verified anew.
"""

import logging
import os
import ssl
import threading
import time
from typing import Any

from registry.server.handshakes import Context
from registry.server.seldom import Seldom
from registry.server.tls import context, entrance, files_of
from registry.settings import ConfigError, Settings

LOOK_SECONDS = 1.0  # between two looks at the files

logger = logging.getLogger("registry")

Signature = tuple[tuple[int, ...] | None, ...]


class Renewing(ssl.SSLContext):
    """What listeners are given."""

    current: Context

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        return self.current.wrap_bio(*given, **named)


class Watch:
    """Looks at the files, and puts another context in place when they have changed and can serve."""

    def __init__(self, settings: Settings, seldom: Seldom) -> None:
        self._settings, self._seldom, self._entrance = settings, seldom, entrance()
        self._seen = self._taken = signature(
            files_of(settings)
        )  # before they are read: better once too often
        self.renewed = Renewing(ssl.PROTOCOL_TLS_SERVER)
        self.renewed.current = self._make()

    def look(self) -> None:
        """Files that are just being written are left until they rest; what could not be taken, as for want of
        descriptors, is tried again.
        """
        found = signature(files_of(self._settings))
        rests, self._seen = found == self._seen, found
        if not rests or found == self._taken:
            return
        try:
            self.renewed.current = self._make()
        except (ConfigError, OSError) as error:
            self._seldom.say(
                "the changed certificate is not taken, and the one before goes on: %s",
                str(error),
                level=logging.ERROR,
            )
        else:
            self._taken = found
            logger.info("new connections get the certificate that is now in %s", self._settings.tls_cert)

    def _make(self) -> Context:
        made = context(self._settings, self._seldom, self._entrance)
        assert made is not None
        return made

    def run(self) -> None:
        """For ever: in a thread, since a file system that hangs shall not hold up the connections."""
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                self.look()
            except Exception:  # whatever it was, the next look may do better
                logger.exception("the certificate could not be looked at")


def renewing(settings: Settings) -> ssl.SSLContext:
    """For one process: a context does not travel. Raises ConfigError."""
    watch = Watch(settings, Seldom())
    threading.Thread(target=watch.run, name="tls-watch", daemon=True).start()
    return watch.renewed


def signature(paths: tuple[str, ...]) -> Signature:
    """What differs when a file has another content, or a link on the way to it leads elsewhere."""
    return tuple(map(_signature, paths))


def _signature(path: str) -> tuple[int, ...] | None:
    try:
        there = os.stat(path)
    except OSError:
        return None
    return there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns
