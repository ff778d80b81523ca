"""The health question against servers that answer, refuse, or are not there."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from registry.cli.health import ask


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers /readyz with this status and everything else with 404; yields its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_ready(host: str) -> None:
    with answering(200) as port:
        assert ask(host, port) == ""


def test_not_ready() -> None:
    with answering(503) as port:
        assert "answers 503" in ask("127.0.0.1", port)


def test_nobody_there() -> None:
    with answering(200) as port:
        pass
    assert f"http://127.0.0.1:{port}/readyz does not answer" in ask("127.0.0.1", port)
