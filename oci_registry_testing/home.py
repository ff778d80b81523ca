"""Where our packages are, and whether a project's own stand in their place."""

import importlib.util
import os
import sys

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGES = ("storage", "registry")


def find_clash() -> str:
    """What stands in the way of importing them here; empty if nothing does. Imports nothing."""
    for name in PACKAGES:
        found = _place_of(name)
        if found is None:
            return f"the package `{name}` is not on the import path, though it is in {FOLDER}"
        if os.path.realpath(found) != os.path.realpath(os.path.join(FOLDER, name)):
            return f"`import {name}` means {found} here"
    return ""


def _place_of(name: str) -> str | None:
    """The folder of what that name would import, or its file where it is no package."""
    loaded = sys.modules.get(name)
    spec = loaded.__spec__ if loaded else importlib.util.find_spec(name)
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ())
    return places[0] if places else spec.origin or name
