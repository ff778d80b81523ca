"""What `registry profile` finds, and how it is shown."""

import json
from typing import Any

from registry.settings import ConfigError
from registry.testing.profiles import Profile, ProfileInvalid, load, names


def known() -> list[Profile]:
    return [load(name) for name in names()]


def find(name: str) -> Profile:
    """Raises ConfigError."""
    try:
        return load(name)
    except ProfileInvalid as error:
        raise ConfigError(str(error)) from error


def as_object(profile: Profile) -> dict[str, Any]:
    """Values as the profile's file has them."""
    return {
        "name": profile.name,
        "title": profile.title,
        "about": profile.about,
        "switches": profile.written("switches"),
        "settings": profile.written("settings"),
        "sources": dict(profile.sources),
    }


def rows(profile: Profile) -> list[tuple[str, str, str]]:
    values = profile.written("switches") | profile.written("settings")
    sources = profile.sources
    return [(name, json.dumps(values[name]).strip('"'), sources.get(name, "")) for name in sorted(values)]
