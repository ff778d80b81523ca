"""Which manifests of a repository are needed: a pure function of its names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.digest import ALGORITHMS, Digest
from storage.errors import InvalidDigest

_SCHEMA_TAG = re.compile(rf"({'|'.join(ALGORITHMS)})-([0-9a-f]{{64,128}})(?:\..*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Held:
    """A manifest of a repository. `used`: the last of push, untag and pull, in the store's time."""

    blob: int
    digest: bytes
    subject: bytes | None
    untagged: bool
    used: int


def named_by(tag: str) -> bytes | None:
    """The binary digest that a tag of the tag schema refers to."""
    if not (found := _SCHEMA_TAG.fullmatch(tag)):
        return None
    try:
        return Digest(found[1], found[2]).binary
    except InvalidDigest:
        return None


def live(
    manifests: Sequence[Held],
    tags: Iterable[tuple[str, int]],
    children: Mapping[int, Sequence[int]],
    since: int,
) -> set[int]:
    """The manifests to keep, as ids of their blobs.

    Roots are what tags name, what was only ever pushed by digest, and what was used at `since` or later
    after its last tag had left. They keep what they name, and what refers to them by `subject` or by the
    tag schema. What belongs to a manifest that is here, by an index or as a referrer, lives only with that
    one; a referrer never keeps its subject.
    """
    by_digest = {manifest.digest: manifest for manifest in manifests}
    referrers: dict[int, list[int]] = {}
    for manifest in manifests:
        if manifest.subject is not None and (subject := by_digest.get(manifest.subject)):
            referrers.setdefault(subject.blob, []).append(manifest.blob)
    belonging = {child for found in children.values() for child in found}
    roots, tagged = [], set()
    for tag, blob in tags:
        tagged.add(blob)
        named = by_digest.get(named_by(tag) or b"")
        if named is None or named.blob == blob:
            roots.append(blob)
        else:
            referrers.setdefault(named.blob, []).append(blob)
    roots += [
        manifest.blob
        for manifest in manifests
        if manifest.blob not in tagged
        and manifest.blob not in belonging
        and manifest.subject not in by_digest
        and (not manifest.untagged or manifest.used >= since)
    ]
    return _reach(roots, children, referrers)


def _reach(roots: Iterable[int], *edges: Mapping[int, Sequence[int]]) -> set[int]:
    """With a set of what was seen: the graph of indexes may have cycles and diamonds."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        blob = waiting.pop()
        if blob in seen:
            continue
        seen.add(blob)
        for found in edges:
            waiting += found.get(blob, ())
    return seen
