"""`registry health`: one question to a running server."""

import http.client
import ssl

from registry.cli.text import address, reachable

_SECONDS = 3.0


def ask(host: str, port: int, *, tls: bool = False) -> str:
    """Why the server that listens there is not ready; empty if it is."""
    host = reachable(host)
    where = f"{'https' if tls else 'http'}://{address(host, port)}/readyz"
    if tls:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=_SECONDS, context=_unverified()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except ssl.SSLError as error:
        # It lets nobody in without a certificate, and this command has none: that it does is all that can be
        # seen. To call it ill would have an orchestrator restart it for ever.
        asks = error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        return "" if asks else f"{where} does not answer: {error}"
    except (OSError, http.client.HTTPException) as error:
        return f"{where} does not answer: {error}"
    finally:
        connection.close()
    return "" if status == 200 else f"{where} answers {status}: the log of the server says why"


def _unverified() -> ssl.SSLContext:
    # The server is on this machine, and nothing secret is sent or learnt; its certificate names the host that
    # clients use, not this address. Whether they trust it is no matter of readiness: a restart of what is not
    # ready would not mend a certificate that has expired.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
