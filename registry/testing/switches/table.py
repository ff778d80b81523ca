"""Which switch of a profile is which object here."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from registry.testing.profiles import SWITCHES, Profile
from registry.testing.switches.access import BasicOnly, PullLimit
from registry.testing.switches.content import NoDigestHeader, NoRanges, Redirects, StrictAccept
from registry.testing.switches.deletes import NoDelete
from registry.testing.switches.listings import (
    NoCatalog,
    NoLink,
    NoPaging,
    NoReferrers,
    NoReferrersFilter,
    PageCap,
)
from registry.testing.switches.locations import AbsoluteLocations
from registry.testing.switches.manifests import DockerTypesOnly, ManifestCap, NoSha512, NoTagParameters
from registry.testing.switches.switch import Switch
from registry.testing.switches.uploads import (
    ChunkMaximum,
    ChunkMinimum,
    ChunkStatus,
    NoAnonymousMount,
    NoCancel,
    NoChunks,
    NoMount,
    NoSinglePost,
)

# By the value that is not normal, or, where that is a number, for all but the normal one.
OBJECTS: Mapping[str, Callable[[Any], Switch]] = {
    "referrers": lambda _: NoReferrers(),
    "referrers_filter": lambda _: NoReferrersFilter(),
    "single_post": lambda _: NoSinglePost(),
    "mount": lambda _: NoMount(),
    "anonymous_mount": lambda _: NoAnonymousMount(),
    "chunks": lambda _: NoChunks(),
    "chunk_minimum": ChunkMinimum,
    "chunk_maximum": ChunkMaximum,
    "chunk_status": ChunkStatus,
    "upload_cancel": lambda _: NoCancel(),
    "sha512": lambda _: NoSha512(),
    "ranges": lambda _: NoRanges(),
    "paging": lambda _: NoPaging(),
    "page_cap": partial(PageCap, refuses=False),
    "page_refused": partial(PageCap, refuses=True),
    "link": lambda _: NoLink(),
    "catalog": lambda _: NoCatalog(),
    "locations": lambda _: AbsoluteLocations(),
    "redirects": lambda _: Redirects(),
    "digest_header": lambda _: NoDigestHeader(),
    "tag_delete": partial(NoDelete, "tag"),
    "manifest_delete": partial(NoDelete, "manifest"),
    "blob_delete": partial(NoDelete, "blob"),
    "challenge": lambda _: BasicOnly(),
    "manifest_cap": ManifestCap,
    "media_types": lambda _: DockerTypesOnly(),
    "accept": lambda _: StrictAccept(),
    "tag_parameters": lambda _: NoTagParameters(),
    "pull_limit": PullLimit,
}


def switches_of(profile: Profile) -> list[Switch]:
    """In the order of the table, whatever that of the profile."""
    return list(_made(profile))


def _made(profile: Profile) -> Iterator[Switch]:
    for name, make in OBJECTS.items():
        value = profile.switches.get(name, SWITCHES[name].normal)
        if value != SWITCHES[name].normal:
            yield make(value)
