"""`registry health`: one question to a running server."""

import http.client

from registry.cli.text import address, reachable

_SECONDS = 3.0


def ask(host: str, port: int) -> str:
    """Why the server that listens there is not ready; empty if it is."""
    host = reachable(host)
    where = f"http://{address(host, port)}/readyz"
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{where} does not answer: {error}"
    finally:
        connection.close()
    return "" if status == 200 else f"{where} answers {status}: the log of the server says why"
