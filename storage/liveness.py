"""Which manifests of a repository are needed: a pure function of its names."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
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
    tags: Sequence[tuple[str, int]],
    children: Mapping[int, Sequence[int]],
    since: int,
) -> set[int]:
    """The manifests to keep, as ids of their blobs.

    Roots are what tags name, what was used at `since` or later, and what was only ever pushed by digest. They
    keep what they name, and what refers to them by `subject` or by the tag schema. What belongs to a manifest
    that is here, by an index or as a referrer, is no root for having been pushed by digest; and a tag of the
    tag schema is none while what it refers to is here, or if that went. A referrer never keeps its subject.
    """
    by_blob = {manifest.blob: manifest for manifest in manifests}
    known = {manifest.digest for manifest in manifests}
    referring = referrers([(each.blob, each.digest, each.subject) for each in manifests], tags)
    in_indexes = {child for found in children.values() for child in found}
    referring_by_tag = {blob for tag, blob in tags if named_by(tag) in known}
    tagged = {blob for _, blob in tags}
    roots = [blob for tag, blob in tags if _is_root(tag, by_blob.get(blob), known, since)]
    for manifest in manifests:
        belongs = manifest.blob in in_indexes or manifest.subject in known
        only_pushed = manifest.blob not in tagged and not manifest.untagged and not belongs
        if only_pushed or (manifest.blob not in tagged and manifest.used >= since):
            roots.append(manifest.blob)
    if referring_by_tag:
        # Two that are tagged with each other's digest refer to nothing that could go first.
        roots += referring_by_tag.difference(in_order(list(by_blob), children, referring))
    return _reach(roots, children, referring)


def _is_root(tag: str, manifest: Held | None, known: Collection[bytes], since: int) -> bool:
    named = named_by(tag)
    if named is None or manifest is None or named == manifest.digest:
        return True
    # It may have come before what it refers to; once that was here and went, the manifest counts as untagged.
    return named not in known and (not manifest.untagged or manifest.used >= since)


def referrers(
    manifests: Iterable[tuple[int, bytes, bytes | None]], tags: Iterable[tuple[str, int]]
) -> dict[int, list[int]]:
    """Blob → what refers to it by `subject` or by the tag schema; manifests are (blob, digest, subject)."""
    found: dict[int, list[int]] = {}
    manifests = list(manifests)
    by_digest = {digest: blob for blob, digest, _ in manifests}
    named = [(blob, subject) for blob, _, subject in manifests] + [
        (blob, named_by(tag)) for tag, blob in tags
    ]
    for blob, digest in named:
        owner = by_digest.get(digest or b"")
        if owner is not None and owner != blob:
            found.setdefault(owner, []).append(blob)
    return found


def in_order(blobs: Sequence[int], *belongings: Mapping[int, Sequence[int]]) -> list[int]:
    """Each after all that it belongs to. What is in a circle, or belongs to one, is left out."""
    waits = dict.fromkeys(blobs, 0)
    for owner in blobs:
        for found in belongings:
            for blob in found.get(owner, ()):
                if blob in waits:
                    waits[blob] += 1
    ordered = [blob for blob in blobs if not waits[blob]]
    for owner in ordered:  # which grows
        for found in belongings:
            for blob in found.get(owner, ()):
                if blob in waits:
                    waits[blob] -= 1
                    if not waits[blob]:
                        ordered.append(blob)
    return ordered


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
