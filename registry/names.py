"""Names that people give: repositories and tags (distribution-spec, "Pulling manifests")."""

import re

from registry.errors import NameInvalid, TagInvalid
from storage.digest import Digest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_REGISTRY = re.compile(r"[a-z0-9.-]{1,255}:[0-9]{1,5}", re.ASCII)
_LONGEST_NAME = 255


class RepositoryName(str):
    """A checked repository name. Raises NameInvalid."""

    __slots__ = ()

    def __new__(cls, text: str) -> "RepositoryName":
        if len(text) > _LONGEST_NAME:
            raise NameInvalid(text, f"it has {len(text)} characters, {_LONGEST_NAME} are allowed")
        if not _NAME.fullmatch(text):
            raise NameInvalid(text, "expected lower-case letters and digits, joined by . _ __ - or /")
        return super().__new__(cls, text)


class JoinedName(RepositoryName):
    """A name that is put together from others: of a registry, and of what it has."""

    __slots__ = ()

    def __new__(cls, text: str) -> "JoinedName":
        return str.__new__(cls, text)


def parse_public_name(text: str) -> RepositoryName:
    """As rules have it: what clients say, or what a registry with a port has. Raises NameInvalid."""
    registry, slash, rest = text.partition("/")
    if slash and _REGISTRY.fullmatch(registry):
        return JoinedName(f"{registry}/{RepositoryName(rest)}")
    return RepositoryName(text)


class Tag(str):
    """A checked tag. Raises TagInvalid."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Tag":
        if not _TAG.fullmatch(text):
            raise TagInvalid(text)
        return super().__new__(cls, text)


Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """A digest if there is a colon, else a tag. Raises InvalidDigest, TagInvalid."""
    return Digest.parse(text) if ":" in text else Tag(text)
