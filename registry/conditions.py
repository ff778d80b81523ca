"""Conditional requests on manifests and blobs (RFC 9110, section 13): an ETag is the quoted digest."""

import re
from dataclasses import dataclass

from registry.errors import ConditionInvalid
from storage.digest import Digest
from storage.errors import PreconditionFailed

ANY = "any state"  # what `*` asks for; it is no ETag, which would have no space

# Members may be empty (section 5.6.1), but one at least must not be.
_LIST = re.compile(r'[\t ,]*(?:(?:W/)?"[^"\x00-\x20\x7f]*"[\t ]*(?:,[\t ,]*|$))+', re.ASCII)
_TAG = re.compile(r'(W/)?"([^"]*)"')
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Condition:
    """What `If-Match` and `If-None-Match` ask for: digests, or ANY; an empty set asks nothing."""

    match: frozenset[str] = frozenset()
    none_match: frozenset[str] = frozenset()

    def check(self, name: object, found: Digest | None) -> None:
        """For writes. Raises PreconditionFailed unless the named thing is in a state that was asked for."""
        if self.match and not _meets(self.match, found):
            wanted = "anything that exists" if ANY in self.match else " or ".join(sorted(self.match))
            raise PreconditionFailed(name, wanted=f"only {wanted}", found=found)
        if self.none_match and _meets(self.none_match, found):
            wanted = "that it exists" if ANY in self.none_match else " or ".join(sorted(self.none_match))
            raise PreconditionFailed(name, wanted=f"anything but {wanted}", found=found)

    def not_modified(self, found: Digest) -> bool:
        """For reads: the client has these bytes (304). Raises PreconditionFailed if it wants only others."""
        Condition(match=self.match).check("it", found)
        return bool(self.none_match) and _meets(self.none_match, found)


def parse_condition(if_match: str | None, if_none_match: str | None) -> Condition:
    """Raises ConditionInvalid: a write whose condition can't be read must not happen."""
    return Condition(
        _parse(if_match, "If-Match", weak=False), _parse(if_none_match, "If-None-Match", weak=True)
    )


def _parse(header: str | None, name: str, *, weak: bool) -> frozenset[str]:
    if header is None:
        return frozenset()
    if header.strip(" \t") == "*":
        return frozenset({ANY})
    if len(header) > _LONGEST or not _LIST.fullmatch(header):
        raise ConditionInvalid(name, header)
    # If-Match compares strongly (section 13.1.1): a weak tag never matches, but the header stays a condition.
    return frozenset(("" if prefix and not weak else tag) for prefix, tag in _TAG.findall(header))


def _meets(wanted: frozenset[str], found: Digest | None) -> bool:
    return found is not None and (ANY in wanted or str(found) in wanted)
