"""The options that commands share: the settings that each takes, and how it prints."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from registry.cli.failures import Refused
from registry.cli.output import say
from registry.config import Loaded, load_from_process
from registry.kinds import SWITCH
from registry.settings import SCHEMA, ConfigError, Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--config` and the flags of these keys; the command gets `settings`.

    An option that is named like a key, as `--grace` of gc is, stands for its flag.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @flags_of(*names)
        @wraps(command)
        def loading(config_file: str | None, **values: object) -> None:
            flags = {name: values.pop(name) for name in SCHEMA if name in values}
            command(settings=load(flags, config_file).settings, **values)

        return loading

    return decorate


def flags_of(*names: str) -> Callable[[Command], Command]:
    """`--config` and the flags of these keys, made from the schema."""

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _option(name)(command)
        return click.option(
            "--config", "config_file", metavar="FILE", help="A TOML file with settings. [REGISTRY_CONFIG]"
        )(command)

    return decorate


def _option(name: str) -> Callable[[Command], Command]:
    key = SCHEMA[name]
    text = f"{key.help} [{key.variable}; {default_text(name)}]"
    if key.kind is SWITCH:
        return click.option(f"{key.flag}/--no-{key.flag[2:]}", name, default=None, help=text)
    if key.kind.several:
        return click.option(
            key.flag, name, metavar=key.kind.metavar, help=text, multiple=True, callback=_join
        )
    return click.option(key.flag, name, metavar=key.kind.metavar, help=text)


def _join(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> str | None:
    """As one text, which the key's kind takes apart."""
    return " ".join(given) or None


def default_text(name: str) -> str:
    """A default as people write it."""
    if name == "root":
        return "~/.local/share/oci-registry"
    value = getattr(Settings(root="/"), name)
    return "empty" if value in ("", ()) else json.dumps(value).strip('"')


def load(flags: dict[str, object], config_file: str | None, *, serving: bool = False) -> Loaded:
    """The settings in force; warnings are said. Raises Refused."""
    try:
        loaded = load_from_process(flags, config_file, serving=serving)
    except ConfigError as error:
        raise Refused(str(error)) from error
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    return loaded


def json_option(text: str = "Print JSON.") -> Callable[[Command], Command]:
    return click.option("--json", "as_json", is_flag=True, help=text)


def cached_option() -> Callable[[Command], Command]:
    return click.option("--cached", is_flag=True, help="Of what upstreams have, not of what was pushed here.")
