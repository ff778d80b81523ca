"""A registry for tests: in a thread of theirs or in a process of its own, and what to fill it with.

`registry.testing` has the same names. They are here too because a project may have a package `registry` or
`storage` of its own; for the same reason nothing here needs more than the standard library.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oci_registry_testing.artifacts import fallback_tag as fallback_tag
    from oci_registry_testing.artifacts import make_artifact as make_artifact
    from oci_registry_testing.artifacts import make_sbom as make_sbom
    from oci_registry_testing.artifacts import make_signature as make_signature
    from oci_registry_testing.broken import KINDS as KINDS
    from oci_registry_testing.broken import Broken as Broken
    from oci_registry_testing.broken import make_broken as make_broken
    from oci_registry_testing.content import Content as Content
    from oci_registry_testing.images import Layer as Layer
    from oci_registry_testing.images import make_image as make_image
    from oci_registry_testing.images import make_index as make_index
    from oci_registry_testing.images import make_layer as make_layer
    from oci_registry_testing.pushing import Pushed as Pushed
    from oci_registry_testing.registry import Fired as Fired
    from oci_registry_testing.registry import Registry as Registry
    from oci_registry_testing.registry import Stored as Stored
    from oci_registry_testing.request import Request as Request
    from oci_registry_testing.sides import CannotStart as CannotStart

_HOMES = {
    "Broken": "broken",
    "CannotStart": "sides",
    "Content": "content",
    "Fired": "registry",
    "KINDS": "broken",
    "Layer": "images",
    "Pushed": "pushing",
    "Registry": "registry",
    "Request": "request",
    "Stored": "registry",
    "fallback_tag": "artifacts",
    "make_artifact": "artifacts",
    "make_broken": "broken",
    "make_image": "images",
    "make_index": "images",
    "make_layer": "images",
    "make_sbom": "artifacts",
    "make_signature": "artifacts",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Only now: pytest imports this package in every project that has it installed."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
