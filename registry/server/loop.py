"""The event loop, told what uvicorn does not pass on."""

import asyncio
from collections.abc import Callable
from functools import partial

import uvicorn

HANDSHAKE_SECONDS = 10.0  # for a TLS handshake, from the accept on; both loops would wait for a minute
# For a client to answer a close, which a pool does when it next looks at the connection: as long is its
# descriptor kept. Both loops would wait for half a minute.
FAREWELL_SECONDS = 3.0


class Config(uvicorn.Config):
    """A server's, whose loop gives up on slow handshakes and farewells."""

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        made = super().get_loop_factory() or asyncio.new_event_loop
        return partial(impatient, made) if self.is_ssl else made


def impatient(make: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
    loop = make()
    vars(loop)["create_server"] = partial(
        loop.create_server, ssl_handshake_timeout=HANDSHAKE_SECONDS, ssl_shutdown_timeout=FAREWELL_SECONDS
    )
    return loop
