"""`registry health`."""

import click

from registry.cli.failures import Failed
from registry.cli.health import ask
from registry.cli.options import settings_options
from registry.settings import Settings


@click.command()
@settings_options("host", "port", "tls_cert", "tls_self_signed")
def health(settings: Settings) -> None:
    """Ask the running server whether it is ready; exit code 0 if it is.

    \b
    Examples:
      registry health
      registry health --port 5001
      registry health --tls-cert /etc/registry/registry.pem
    """
    answer = ask(settings.host, settings.port, tls=settings.serves_https)
    if answer:
        raise Failed(answer)
    click.echo("ready")
