"""What a manifest leads to."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.cli.pull.errors import PullFailed
from registry.cli.pull.platforms import Platform, choose, make_platform
from registry.errors import ManifestInvalid, ManifestTooLarge
from registry.manifests import MEDIA_TYPES, Descriptor, is_foreign, read_manifest
from registry.strict_json import Json, loads
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class Content:
    """Further manifests, and blobs: config and layers, but for those that no registry has."""

    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]


def read_content(raw: bytes, media_type: str, digest: Digest, wanted: Sequence[Platform]) -> Content:
    """Of an index only what is for a wanted platform; all of it without any. Raises PullFailed."""
    try:
        manifest = read_manifest(raw, media_type, digest)
    except (ManifestInvalid, ManifestTooLarge) as error:
        raise PullFailed(f"the manifest {digest} cannot be read: {error}") from None
    offered = _platforms(raw)
    try:
        places = choose(offered, wanted)
    except LookupError as error:
        raise PullFailed(str(error)) from None
    children = [manifest.children[place] for place in places]
    config = [manifest.config] if manifest.config else []
    # BuildKit's older cache format has layers for children.
    layers = [each for each in children if each.media_type not in MEDIA_TYPES]
    named = (*config, *manifest.blobs, *layers)
    return Content(
        tuple(each for each in children if each.media_type in MEDIA_TYPES),
        tuple(each for each in named if each.digest.supported and not is_foreign(each)),
    )


def _platforms(raw: bytes) -> list[Platform | None]:
    """Of each child, in order; the manifest has been read, so that all is of its kind."""
    match loads(raw):
        case {"manifests": list(children)}:
            return [_platform(child) for child in children]
        case _:
            return []


def _platform(child: Json) -> Platform | None:
    match child:
        case {"platform": {"os": str(os), "architecture": str(architecture), **more}}:
            variant = more.get("variant")
            return make_platform(os, architecture, variant if isinstance(variant, str) else "")
        case _:
            return None
