"""Profiles: which parts of the protocol another registry lacks, or does in a way of its own.

A profile is a TOML file of switches; each built-in one says for each of them where that is known from. What a
switch does is in `registry/testing/switches`; `settings` are those of this server, as far as they will do.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from registry.kinds import SIZE, SWITCH, Kind, one_of, whole
from registry.rates import RATE, Rate
from registry.settings import SCHEMA
from registry.tables import load_toml

_SUFFIX = ".toml"
_STATUS = (400, 403, 404, 405)


class ProfileInvalid(ValueError):
    """No profile of that name, or a file that cannot be read as one; the text says what was expected."""


def _allowed(value: object) -> int:
    """Zero for true."""
    if isinstance(value, bool):
        return 0 if value else 405
    if not isinstance(value, int) or value not in _STATUS:
        raise ValueError
    return value


def _taken(value: object) -> int:
    if not isinstance(value, int) or value not in (201, 202):
        raise ValueError
    return value


def _limit(value: object) -> Rate:
    rates = RATE.check([{"requests": value}])
    assert isinstance(rates, tuple)
    rate: Rate = rates[0]
    return rate


ALLOWED = Kind(f"true, false, or the status that refuses it: {', '.join(map(str, _STATUS))}", "", _allowed)
TAKEN = Kind("202 or 201", "", _taken)
LIMIT = Kind('requests in a time, such as "100/6h"', "", _limit)


@dataclass(frozen=True, slots=True)
class Key:
    """A switch, as a profile writes it. `normal` is what the server does by itself."""

    name: str
    kind: Kind
    normal: object
    help: str


SWITCHES: Mapping[str, Key] = {
    key.name: key
    for key in (
        Key("referrers", SWITCH, True, "the referrers API, and OCI-Subject"),
        Key("referrers_filter", SWITCH, True, "filtering referrers by artifactType"),
        Key("single_post", SWITCH, True, "a whole blob in one POST with ?digest="),
        Key("mount", SWITCH, True, "taking a blob over from another repository"),
        Key("anonymous_mount", SWITCH, True, "the same without naming the repository"),
        Key("chunks", SWITCH, True, "chunks: PATCH with Content-Range"),
        Key("chunk_minimum", SIZE, 0, "bytes that all chunks but the last must have"),
        Key("chunk_maximum", SIZE, 0, "bytes that no chunk may exceed"),
        Key("chunk_status", TAKEN, 202, "what answers a chunk that is taken"),
        Key("upload_cancel", SWITCH, True, "DELETE of an upload session"),
        Key("sha512", SWITCH, True, "digests by sha512"),
        Key("ranges", SWITCH, True, "parts of blobs"),
        Key("paging", SWITCH, True, "n and last of lists of tags"),
        Key("page_cap", whole(0, 10**6), 0, "entries of a page at most"),
        Key("page_refused", whole(0, 10**6), 0, "an n above this is refused"),
        Key("link", SWITCH, True, "Link to the next page"),
        Key("catalog", SWITCH, True, "/v2/_catalog"),
        Key("locations", one_of("relative", "absolute"), "relative", "how Location is written"),
        Key("redirects", SWITCH, False, "blobs come from another host, by a 307"),
        Key("digest_header", SWITCH, True, "Docker-Content-Digest"),
        Key("tag_delete", ALLOWED, 0, "DELETE of a tag"),
        Key("manifest_delete", ALLOWED, 0, "DELETE of a manifest by digest"),
        Key("blob_delete", ALLOWED, 0, "DELETE of a blob"),
        Key("challenge", one_of("bearer", "basic"), "bearer", "what a 401 asks for"),
        Key("manifest_cap", SIZE, 0, "bytes of a manifest at most"),
        Key("media_types", one_of("all", "docker"), "all", "which types of manifests are taken"),
        Key("accept", one_of("lenient", "strict"), "lenient", "whether a manifest's type must be in Accept"),
        Key("tag_parameters", SWITCH, True, "more tags with ?tag= of a manifest's PUT"),
        Key("pull_limit", LIMIT, None, "manifests that a client may GET in a time"),
    )
}


_KINDS = {name: key.kind for name, key in SWITCHES.items()}
# A profile is around the service; what it is made with, and where it listens, is no part of that.
_SETTINGS = {name: key.kind for name, key in SCHEMA.items() if name not in ("profile", "faults", "root")}


@dataclass(frozen=True, slots=True)
class Profile:
    """`switches` that differ from what is normal, `settings` of the server; `sources` of both by name.

    Both are checked values; `texts` has them as the file does.
    """

    name: str
    title: str
    about: str
    switches: Mapping[str, Any]
    settings: Mapping[str, Any]
    sources: Mapping[str, str]
    texts: Mapping[str, Mapping[str, Any]]

    def written(self, part: str) -> dict[str, Any]:
        """`switches` or `settings`, as the file has them."""
        return dict(self.texts.get(part, {}))


NONE = Profile("", "", "", {}, {}, {}, {})


def names() -> tuple[str, ...]:
    """Those that come with the package."""
    return tuple(
        sorted(entry.name.removesuffix(_SUFFIX) for entry in _folder() if entry.name.endswith(_SUFFIX))
    )


def load(name: str) -> Profile:
    """A built-in profile by name, or one's own by the path of a TOML file. Raises ProfileInvalid."""
    if name.endswith(_SUFFIX) or os.sep in name:
        return _read(name)
    for entry in _folder():
        if entry.name == name + _SUFFIX:
            return parse(name, entry.read_text(encoding="utf-8"))
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names())}"
    raise ProfileInvalid(
        f"there is no profile {name!r}: {hint} One's own is given as the path of a .toml file"
    )


def _folder() -> Iterator[Any]:
    return files("registry.testing").joinpath("known").iterdir()


def _read(path: str) -> Profile:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileInvalid(f"the profile {path} cannot be read: {error}") from error
    return parse(os.path.basename(path).removesuffix(_SUFFIX), text)


def parse(name: str, text: str) -> Profile:
    """Raises ProfileInvalid."""
    try:
        table = load_toml(text)
    except ValueError as error:
        raise ProfileInvalid(f"the profile {name} is not TOML: {error}") from error
    if strange := set(table) - {"title", "about", "switches", "settings"}:
        raise ProfileInvalid(
            f"the profile {name} has {', '.join(sorted(strange))}: "
            "expected title, about, switches and settings"
        )
    sources: dict[str, str] = {}
    texts = {part: dict(_entries(table, part, sources)) for part in ("switches", "settings")}
    return Profile(
        name,
        str(table.get("title", name)),
        str(table.get("about", "")),
        {key: _checked(name, _KINDS, key, value) for key, value in texts["switches"].items()},
        {key: _checked(name, _SETTINGS, key, value) for key, value in texts["settings"].items()},
        sources,
        texts,
    )


def _entries(table: Mapping[str, Any], part: str, sources: dict[str, str]) -> Iterator[tuple[str, object]]:
    """`key = value`, or a table with the value and its source."""
    entries = table.get(part, {})
    if not isinstance(entries, dict):
        raise ProfileInvalid(f"{part} is no table: expected [{part}] and lines below it")
    for key, entry in entries.items():
        if isinstance(entry, dict) and "value" in entry:
            sources[key] = str(entry.get("source", ""))
            yield key, entry["value"]
        else:
            yield key, entry


def _checked(profile: str, kinds: Mapping[str, Kind], key: str, value: object) -> object:
    if key not in kinds:
        near = difflib.get_close_matches(key, kinds, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(kinds)}"
        raise ProfileInvalid(f"the profile {profile} has {key}, which there is not: {hint}")
    try:
        return kinds[key].check(value)
    except ValueError:
        raise ProfileInvalid(
            f"the profile {profile} has {key} = {value!r}: expected {kinds[key].expected}"
        ) from None
