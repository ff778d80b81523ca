"""`registry serve`."""

import os
import sys

import click

from registry.cli.failures import explained
from registry.cli.options import flags_of, load
from registry.cli.output import say
from registry.settings import SCHEMA

# Recipes for the distribution image name its built-in file, which need not exist here.
_BUILT_IN = ("/etc/distribution/config.yml", "/etc/docker/registry/config.yml")


@click.command()
@click.argument("file", required=False)
@flags_of(*SCHEMA)
def serve(file: str | None, config_file: str | None, **flags: object) -> None:
    """Serve until SIGTERM or Ctrl-C. FILE is another way to give --config.

    \b
    Examples:
      registry serve
      registry serve --root /srv/images --port 5001
      registry serve --host 0.0.0.0 --anonymous pull
      registry serve --ephemeral --port 0 --no-access-log
      registry serve --ephemeral --profile ghcr --faults faults.toml
    """
    if file and config_file:
        raise click.UsageError("give the configuration file once: as FILE or with --config")
    if file in _BUILT_IN and not os.path.exists(file):
        say(f"{file} does not exist, going on without it")
        file = None
    settings = load(flags, config_file or file, serving=True).settings
    # Only now: a list of all commands, or a mistake in the settings, has no need of a web server.
    from registry.server.serve import serve as run

    with explained():
        code = run(settings)
    sys.exit(code)
