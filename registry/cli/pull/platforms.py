"""Platforms, and which images of an index are for them (OCI image-spec, image-index.md, "platform")."""

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "i386": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armhf": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
    "armel": "arm",
}
_VARIANTS = {"armv6l": "v6", "armel": "v6"}  # where the architecture's name says it
# What an image runs on that says no variant, and what runs on a variant beside its own, as containerd has it.
_USUAL = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
_DOWNWARD = {"arm": ("v8", "v7", "v6", "v5"), "amd64": ("v4", "v3", "v2", "v1")}
_PART = re.compile(r"[a-z0-9_.-]+", re.ASCII | re.IGNORECASE)


class PlatformInvalid(ValueError):
    """It is not as platforms are written."""


@dataclass(frozen=True, slots=True)
class Platform:
    """With Go's names; `variant` empty is the usual one."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def parse_platform(text: str) -> Platform:
    """OS/ARCHITECTURE[/VARIANT]. Raises PlatformInvalid."""
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(map(_PART.fullmatch, parts)):
        raise PlatformInvalid(f"{text!r}: expected OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64")
    return make_platform(*parts)


def make_platform(os: str, architecture: str, variant: str = "") -> Platform:
    """Under the names that images use, without a variant that is the usual one."""
    architecture = architecture.lower()
    variant = variant.lower() or _VARIANTS.get(architecture, "")
    architecture = _ARCHITECTURES.get(architecture, architecture)
    return Platform(os.lower(), architecture, "" if variant == _USUAL.get(architecture) else variant)


def own_platform() -> Platform:
    """That of images which this machine runs: of Linux, by a virtual machine if need be."""
    return make_platform("windows" if platform.system() == "Windows" else "linux", platform.machine())


def choose(offered: Sequence[Platform | None], wanted: Sequence[Platform]) -> list[int]:
    """The places of what is for a wanted platform, each platform's first best; without any, all.

    An index that tells of no platform at all is no choice: all of it. Raises LookupError for a platform that
    nothing is for.
    """
    if not wanted or not any(offered):
        return list(range(len(offered)))
    return sorted({_best(offered, each) for each in wanted})


def _best(offered: Sequence[Platform | None], wanted: Platform) -> int:
    for variant in _variants(wanted):
        asked = make_platform(wanted.os, wanted.architecture, variant)
        if asked in offered:
            return offered.index(asked)
    has = ", ".join(sorted({str(each) for each in offered if each and each.os != "unknown"}))
    raise LookupError(f"there is nothing for {wanted} in it, but for {has}")


def _variants(wanted: Platform) -> Sequence[str]:
    """Those that run on it, the best first."""
    own = wanted.variant or _USUAL.get(wanted.architecture, "")
    known = _DOWNWARD.get(wanted.architecture, ())
    return known[known.index(own) :] if own in known else (own,)
