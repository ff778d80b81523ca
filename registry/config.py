"""Settings: flags > environment > TOML file > profile > defaults. The only module that reads the environment.

The schema is in `registry/settings.py`, the names of the distribution image in `registry/dropin.py`.
"""

import difflib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry import dropin
from registry.consistency import check_together, find_idle
from registry.kinds import Kind, Misfit
from registry.settings import PREFIX, SCHEMA, ConfigError, Settings
from registry.tables import load_toml
from registry.testing import profiles


def default_root(environ: Mapping[str, str]) -> str:
    """The data folder of this user's platform."""
    home = environ.get("HOME") or os.path.expanduser("~")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Application Support", "oci-registry")
    data = environ.get("XDG_DATA_HOME", "")
    # A relative XDG_DATA_HOME is invalid and to be ignored (XDG base directory specification).
    return os.path.join(
        data if os.path.isabs(data) else os.path.join(home, ".local", "share"), "oci-registry"
    )


_VARIABLES: Mapping[str, str] = {key.variable: key.name for key in SCHEMA.values()}


@dataclass(frozen=True, slots=True)
class Loaded:
    """`sources` says for every key which layer gave it: default, profile …, file …, environment …, flag …."""

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    config_file: str | None = None,
    *,
    serving: bool = True,
) -> Loaded:
    """Settings from the four layers; flags are text or typed, None was not given. Raises ConfigError.

    Without `serving`, the rules on what may be served to whom are left out: `registry ls` listens nowhere.
    """
    variables = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    from_variable = variables.pop("REGISTRY_CONFIG", None)
    config_file = config_file or from_variable
    values: dict[str, Any] = {"root": default_root(environ)}
    sources = dict.fromkeys(SCHEMA, "default")
    warnings: list[str] = []
    given = [
        *(_from_file(config_file) if config_file else ()),
        *_from_environment(variables, warnings),
        *_from_flags(flags),
    ]
    for name, value, source in _from_profile(given):
        values[name] = value
        sources[name] = source
    for name, value, source in given:
        values[name] = _checked(name, value, source)
        sources[name] = source
    settings = Settings(**values)
    if serving:
        check_together(settings, sources)
        warnings += find_idle(settings, sources)
    return Loaded(settings, sources, tuple(warnings))


def load_from_process(
    flags: Mapping[str, object], config_file: str | None = None, *, serving: bool = True
) -> Loaded:
    """`load` with this process's environment."""
    return load(flags, os.environ, config_file, serving=serving)


def _checked(name: str, value: object, source: str) -> object:
    kind = SCHEMA[name].kind
    try:
        return kind.check(value)
    except Misfit as error:
        raise ConfigError(
            f"{name}, {error.where} = {error.value!r} ({source}): expected {error.expected}"
        ) from None
    except ValueError:
        raise ConfigError(f"{name}{_shown(kind, value)} ({source}): expected {kind.expected}") from None


def _shown(kind: Kind, value: object) -> str:
    return "" if kind.secret else f" = {value!r}"


def _from_profile(given: Sequence[tuple[str, object, str]]) -> Iterator[tuple[str, object, str]]:
    """What a profile sets, below all that is given otherwise."""
    named = [(value, source) for name, value, source in given if name == "profile"]
    profile, source = named[-1] if named else ("", "")
    if not profile:
        return
    checked = _checked("profile", profile, source)
    assert isinstance(checked, str)
    try:
        loaded = profiles.load(checked)
    except profiles.ProfileInvalid as error:
        raise ConfigError(f"profile ({source}): {error}") from None
    for name, value in loaded.settings.items():
        yield name, value, f"profile {loaded.name}"


def require_known(names: Iterable[str]) -> None:
    """Raises ConfigError: for flags that no command line has looked at."""
    for name in names:
        if name not in SCHEMA:
            hint = _near(name, SCHEMA) or f"; there are {', '.join(SCHEMA)}"
            raise ConfigError(f"{name} is no setting{hint}")


def _from_flags(flags: Mapping[str, object]) -> Iterator[tuple[str, object, str]]:
    for name, value in flags.items():
        source = f"flag {SCHEMA[name].flag}"
        if isinstance(value, str):
            yield _from_text(name, value, source)
        elif value is not None:
            yield name, value, source


def _near(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _from_file(path: str) -> Iterator[tuple[str, object, str]]:
    if path.endswith((".yml", ".yaml")):
        raise ConfigError(
            f"{path}: YAML files of another registry cannot be read, and what this one asks for "
            "(perhaps a login) would be lost; write the settings as TOML and give them with --config FILE"
        )
    try:
        with open(path, encoding="utf-8") as file:
            table = load_toml(file.read())
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"the configuration file {path} is not TOML: {error}") from error
    for name, value in table.items():
        if name not in SCHEMA:
            hint = _near(name, SCHEMA) or f"; known keys: {', '.join(SCHEMA)}"
            raise ConfigError(f"unknown key {name!r} in {path}{hint}")
        yield name, value, f"file {path}"


def _from_environment(variables: Mapping[str, str], warnings: list[str]) -> Iterator[tuple[str, object, str]]:
    """Values of the known variables, our own after those of the distribution image, so that ours win."""
    own: list[tuple[str, object, str]] = []
    for variable, text in sorted(variables.items(), key=dropin.rank):
        if dropin.injected(variable, text) or dropin.harmless(variable, text):
            continue
        if why := dropin.refusal(variable, text, variables):
            raise ConfigError(f"{variable} is set, but {why}")
        if variable in _VARIABLES:
            name = _VARIABLES[variable]
            own.append(_from_text(name, text, f"environment {variable}"))
        elif variable in dropin.ALIASES:
            for name, part in _parts(variable, text).items():
                yield _from_text(name, part, f"environment {variable}")
        else:
            warnings.append(f"{variable} is not a setting and has no effect{_near(variable, _VARIABLES)}")
    yield from own


def _parts(variable: str, text: str) -> Mapping[str, str]:
    try:
        return dropin.ALIASES[variable](text)
    except ValueError as error:
        raise ConfigError(f"{variable} = {text!r} (environment): {error}") from None


def _from_text(name: str, text: str, source: str) -> tuple[str, object, str]:
    kind = SCHEMA[name].kind
    try:
        return name, kind.read(text), source
    except ValueError:
        raise ConfigError(f"{name}{_shown(kind, text)} ({source}): expected {kind.expected}") from None
