"""Images as people write them, by Docker's rules."""

from dataclasses import dataclass

from registry.errors import NameInvalid
from registry.names import Reference, RepositoryName, Tag
from registry.upstream.settings import HUB
from storage.digest import Digest

_OTHER_NAMES = ("index.docker.io", "registry-1.docker.io")  # of Docker Hub
_LATEST = Tag("latest")


@dataclass(frozen=True, slots=True)
class Image:
    """`host` is the registry as an upstream is named, `repository` as that registry has it."""

    host: str
    repository: RepositoryName
    reference: Reference

    def __str__(self) -> str:
        mark = "@" if isinstance(self.reference, Digest) else ":"
        return f"{self.host}/{self.repository}{mark}{self.reference}"


def parse_image(text: str) -> Image:
    """NAME, NAME:TAG or NAME@DIGEST, with or without a registry in front.

    Of a tag and a digest, the digest counts. Raises NameInvalid, TagInvalid, InvalidDigest.
    """
    if "://" in text:
        raise NameInvalid(text, "expected an image such as alpine or ghcr.io/owner/name:v1, without a scheme")
    rest, at, digest = text.partition("@")
    host, name = _split(rest)
    name, tag = _cut_tag(name)
    if host == HUB and "/" not in name:
        name = f"library/{name}"
    # A tag beside a digest says nothing, but must be one.
    checked = Tag(tag) if tag is not None else _LATEST
    return Image(host, RepositoryName(name), Digest.parse(digest) if at else checked)


def _split(name: str) -> tuple[str, str]:
    """The registry, and what is behind it: a first part that can be no name is a host."""
    first, slash, rest = name.partition("/")
    if not slash or not (first == "localhost" or "." in first or ":" in first or first != first.lower()):
        return HUB, name
    host = first.lower()
    return (HUB if host in _OTHER_NAMES else host), rest


def _cut_tag(name: str) -> tuple[str, str | None]:
    name, colon, tag = name.partition(":")
    return name, tag if colon else None
