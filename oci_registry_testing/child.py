"""The process of an isolated registry, run as a script by `python -I`."""

import importlib.util
import os
import sys

# Of the folder that this is in: nothing is on the import path that could say.
_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def load_ours(folder: str) -> None:
    """Our packages by their place, whatever else has their names; libraries are found as always.

    Not by putting the folder first: all that is installed beside us would come before the standard library.
    """
    for name in ("storage", "registry", "oci_registry_testing"):
        place = os.path.join(folder, name)
        spec = importlib.util.spec_from_file_location(
            name, os.path.join(place, "__init__.py"), submodule_search_locations=[place]
        )
        assert spec
        assert spec.loader
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    sys.path.append(folder)  # last: where we were installed by PYTHONPATH, our libraries are there too


if __name__ == "__main__":
    load_ours(_FOLDER)
    from registry.testing.starting import listen

    listen()
