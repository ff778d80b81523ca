"""uvicorn: one or many workers, a listening socket for each, a stop that lets requests end."""

import logging
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from types import FrameType

import uvicorn
from starlette.routing import Router
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from registry import __version__
from registry.api.access_log import Lines
from registry.app import build, create_app, open_settings
from registry.auth.addresses import is_loopback
from registry.consistency import access_rules_of
from registry.server.loop import Config
from registry.server.protocol import Protocol
from registry.server.renewal import renewing
from registry.server.self_signed import (
    Kept,
    SelfSigned,
    machine_name,
    names_of,
    require_library,
    trust_steps,
)
from registry.server.stopping import Server, Supervisor, follow_supervisor
from registry.server.tls import context, require_authorities
from registry.settings import ConfigError, Settings
from registry.trail import STDERR, Trail
from storage.errors import StorageError
from storage.files import temporary_root
from storage.secrets import Secrets

_BACKLOG = 2048  # Docker 20.10 opens a connection for each request
_KEEP_ALIVE = 120  # seconds; Go clients idle 90 s, and a PUT must not meet a connection just being closed
# After a minute of silence four questions, a quarter of a minute apart. Each platform has what it has.
_PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
_HEALTHCHECK = 30  # seconds that a busy worker has to answer its supervisor


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. Raises StoreUnusable, ConfigError."""
    signal.signal(signal.SIGTERM, _leave)
    # What is wrong with it is said before anything is made or listens.
    if settings.tls_self_signed:
        require_library()
        names_of(settings)
        require_authorities(settings)
    context(settings)
    _require_audit_log(settings)
    _raise_descriptor_limit()
    made: Kept | None = None
    with ExitStack() as stack:
        if settings.ephemeral:
            settings = replace(settings, root=stack.enter_context(temporary_root()))
        store = open_settings(settings)
        stack.callback(store.close)
        # Before a certificate is made: where another server has the port, it has the authority too.
        listeners = _listen(settings.host, settings.port, settings.workers)
        for listener in listeners:
            stack.enter_context(listener)
        if settings.tls_self_signed:
            own = SelfSigned(
                Secrets(store.files, store.layout), store.layout, names_of(settings), machine_name()
            )
            made = own.keep()
            settings = replace(settings, tls_cert=made.served, tls_key=made.served)
            own.follow()
        _configure_logging()
        if settings.workers > 1:
            supervisor = Supervisor(server_config(partial(_work, settings), settings), listeners)
            _greet(settings, listener, store.warnings, made)
            supervisor.run()
            return 1 if supervisor.failed else 0
        server = Server(server_config(partial(build, store, settings, lines=Lines(sys.stderr)), settings))
        # From here on: uvicorn handles signals only while it runs, and raises them once more at its end.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        _greet(settings, listener, store.warnings, made)
        server.run(sockets=[listener])
        return 0 if server.started else 1


def server_config(factory: Callable[[], ASGIApp], settings: Settings) -> uvicorn.Config:
    return Config(
        factory,
        factory=True,
        http=Protocol,  # on httptools, never h11: that accepts ambiguous framing
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=settings.drain,
        timeout_worker_healthcheck=_HEALTHCHECK,
        workers=settings.workers,
        ssl_context_factory=partial(_context, settings) if settings.tls_cert else None,
    )


def _context(settings: Settings, *_: object) -> ssl.SSLContext:
    """Each process makes its own, for a context does not travel."""
    try:
        return renewing(settings)
    except ConfigError as error:
        _configure_logging()
        logging.getLogger("registry").error("a worker cannot serve HTTPS: %s", error)
        sys.exit(STARTUP_FAILURE)


def _require_audit_log(settings: Settings) -> None:
    """Raises ConfigError: whoever asks for an audit log wants no server without one."""
    if settings.audit_log in ("", STDERR):
        return
    try:
        Trail(settings.audit_log).require()
    except OSError as error:
        raise ConfigError(
            f"audit_log = {settings.audit_log} cannot be written: {error.strerror}; make its folder, let the "
            "user who serves write there, or give another file"
        ) from error


def _raise_descriptor_limit() -> None:
    """The soft limit is often 1,024, for programs that use select; a pull takes three."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS takes no "unlimited" here
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _work(settings: Settings) -> Router:
    """A worker's app: called in the worker, which shares nothing with the others but the root."""
    follow_supervisor()
    _configure_logging()
    try:
        return create_app(settings, lines=Lines(sys.stderr))
    except (StorageError, OSError) as error:
        logging.getLogger("registry").error("a worker cannot open the store: %s", error)
        sys.exit(STARTUP_FAILURE)  # or its supervisor would try again for ever


def _listen(host: str, port: int, workers: int) -> list[socket.socket]:
    """One socket for each worker, so that the kernel shares the connections out among them.

    On one socket for all, the worker that looks first takes all that wait, and keeps them: of 16 connections
    made one after the other all were one worker's (measured). Outside Linux the option means something else.
    """
    first = _open_listener(host, port)
    if workers == 1 or sys.platform != "linux":
        return [first]
    # The option lets any number listen, two servers' too. So the first listens without it, which only one
    # can, and has it afterwards: of another server the first is still refused, however close it comes.
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    port = first.getsockname()[1]
    return [first, *(_open_listener(host, port, shared=True) for _ in range(workers - 1))]


def _open_listener(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Listens already, for only that takes the port; who comes before a worker accepts waits."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _keep_alive(listener)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another --host or --port"
        ) from error
    return listener


def _keep_alive(listener: socket.socket) -> None:
    """What it accepts has this from it: a peer whose machine is gone answers nothing, and is let go."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if (option := getattr(socket, name, None)) is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


def _greet(settings: Settings, listener: socket.socket, warnings: tuple[str, ...], made: Kept | None) -> None:
    host, port = listener.getsockname()[:2]
    named = {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    kept = "a temporary folder, removed at the end" if settings.ephemeral else settings.root
    scheme = "https" if settings.tls_cert else "http"
    print(f"registry {__version__} listens on {scheme}://{named}:{port}")
    print(f"  stores in   {kept}")
    print(f"  try         docker tag alpine {named}:{port}/alpine && docker push {named}:{port}/alpine")
    if settings.read_only:
        print("  read-only   pushes and deletes are refused")
    plain = "" if settings.tls_cert or is_loopback(settings.host) else "; clients must allow plain HTTP"
    print(f"  open to     {_describe_access(settings)}{plain}")
    for line in trust_steps(made, host, port) if made else ():
        print(line)
    sys.stdout.flush()
    for warning in warnings:
        logging.getLogger("registry").warning(warning)


def _describe_access(settings: Settings) -> str:
    open_to_all = access_rules_of(settings).open
    if open_to_all and settings.anonymous != "push":
        whom = "anyone of this machine" if is_loopback(settings.host) else "anyone who reaches it"
        return f"{whom}, for everything; `registry user add NAME` makes an account and closes it"
    if open_to_all:
        return "anyone who reaches it, for everything"
    return "whoever has an account; anyone else may " + (
        "pull" if settings.anonymous == "pull" else "nothing"
    )


def _configure_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("registry").setLevel(logging.INFO)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Before the server runs: end as by an exception, so that a temporary root is removed."""
    sys.exit(0)
