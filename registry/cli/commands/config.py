"""`registry config`."""

import json
from dataclasses import asdict
from typing import Any

import click

from registry.cli.options import flags_of, json_option, load
from registry.cli.output import show
from registry.cli.text import table
from registry.settings import SCHEMA


@click.command()
@json_option()
@flags_of(*SCHEMA)
def config(as_json: bool, config_file: str | None, **flags: object) -> None:
    """Print the settings in force and where each came from. Takes the flags of serve.

    \b
    Examples:
      registry config
      registry config --config registry.toml --json
    """
    loaded = load(flags, config_file, serving=True)
    values, sources = _hide(asdict(loaded.settings)), loaded.sources
    show(
        lambda: {name: {"value": values[name], "source": sources[name]} for name in SCHEMA},
        lambda: table(
            ("KEY", "VALUE", "FROM"), [(name, json.dumps(values[name]), sources[name]) for name in SCHEMA]
        ),
        as_json=as_json,
    )


def _hide(value: Any) -> Any:
    """Without the passwords in it, as it may end up in a log."""
    if isinstance(value, list | tuple):
        return [_hide(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: "***" if key == "password" and each else _hide(each) for key, each in value.items()}
