"""References as people write them: repository, tag, digest."""

import re
from dataclasses import dataclass

_HOST = re.compile(r"localhost|.*[.:].*")


@dataclass(frozen=True, slots=True)
class Reference:
    """`tag` and `digest` are empty where there is none."""

    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def place(self) -> str:
        """Behind the host: `app:v1`, or `app@sha256:…` without a tag."""
        return f"{self.repository}:{self.tag}" if self.tag else f"{self.repository}@{self.digest}"


def parse_reference(text: str) -> Reference:
    """Of `app:v1`, `app@sha256:…` and `docker.io/library/app:v1`; a host is left out."""
    name, _, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    if slash and _HOST.fullmatch(first):
        name = rest
    repository, _, tag = name.partition(":")
    if not repository:
        raise ValueError(f"{text!r} names no repository: expected something such as team/app:v1")
    return Reference(repository, tag, digest)
