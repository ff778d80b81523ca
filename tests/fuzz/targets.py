"""What is fuzzed without a server: one function for each reader of what strangers send.

A target takes any bytes and returns, or raises AssertionError, or whatever a reader must not raise. The same
targets are run by hypothesis, by atheris (guided.py) and with the rows of seeds.py.
"""

import json
import math
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress

from registry.access import Action
from registry.api import errors, routes
from registry.api.gate import decode_path, parse_parameters
from registry.api.ranges import (
    InvalidContentRange,
    Span,
    Unsatisfiable,
    closing,
    multipart_length,
    parse_content_range,
    parse_range,
    part_header,
)
from registry.api.wire import repository_path
from registry.auth.scopes import Scope, intersect, parse_scopes
from registry.conditions import ANY, parse_condition
from registry.errors import ConditionInvalid, ManifestInvalid, ManifestTooLarge, NameInvalid, TagInvalid
from registry.manifests import MEDIA_TYPES, Manifest, read_manifest
from registry.names import RepositoryName, Tag, parse_reference
from registry.patterns import matches
from registry.retention_rules import RETENTION
from registry.strict_json import JsonInvalid, loads
from storage.digest import Digest
from storage.errors import InvalidDigest, PreconditionFailed, UploadMissing
from storage.layout import Layout
from tests.fuzz import credentials, oracles
from tests.server.test_framing import cuts, ours, theirs

CONTENT_TYPES = ("", "application/json", "text/html", *MEDIA_TYPES)
LAYOUT = Layout("/store")
FEW = 256  # bytes of content that ranges are asked of: an oracle counts them one by one
SHORT = 60  # of a body of chunks that is read in two pieces at every place


def text_of(data: bytes) -> str:
    """As a JSON string or a query may hold it, else as a header's field does."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def refused(fact: Exception) -> None:
    """It is the client's fault, and what it says can be shown to it and logged."""
    status, _ = errors.look_up(fact)
    assert 400 <= status < 500, fact
    assert str(fact).isprintable()


def manifest(data: bytes) -> None:
    """The first byte chooses the Content-Type. Every reader finds the references that we found (T7, T8)."""
    raw = data[1:]
    content_type = CONTENT_TYPES[data[0] % len(CONTENT_TYPES)] if data else None
    try:
        read = read_manifest(raw, content_type, Digest.of(raw))
    except (ManifestInvalid, ManifestTooLarge) as fact:
        refused(fact)
        return
    assert read.raw == raw
    assert read.kind is MEDIA_TYPES[read.descriptor.media_type]
    found = _found(read)
    for reading in oracles.readings(raw, read.descriptor.media_type):
        assert reading == found


def _found(read: Manifest) -> list[oracles.Found]:
    own = [each for each in (read.config, read.subject) if each]
    descriptors = [*own, *read.blobs, *read.children]
    return sorted(((each.media_type, str(each.digest), each.size) for each in descriptors), key=repr)


def strict_json(data: bytes) -> None:
    """The value is that of the json module, and can be written again."""
    try:
        value = loads(data)
    except JsonInvalid as fact:
        refused(ManifestInvalid(str(fact)))
        return
    assert repr(json.loads(data.decode(), parse_int=_number)) == repr(value)
    json.dumps(value, ensure_ascii=False).encode()


def _number(digits: str) -> int | float:
    """Longer ones fit nowhere."""
    return int(digits) if len(digits) <= 20 else math.inf


def digest(data: bytes) -> None:
    text = text_of(data)
    try:
        read = Digest.parse_any(text)
    except InvalidDigest as fact:
        refused(fact)
        assert not oracles.is_digest(text)
        return
    assert oracles.is_digest(text)
    assert str(read) == text
    assert Digest.from_binary(read.binary) == read


def name(data: bytes) -> None:
    text = text_of(data)
    try:
        read = RepositoryName(text)
    except NameInvalid as fact:
        refused(fact)
        assert not oracles.is_name(text)
        return
    assert oracles.is_name(text)
    assert read == text


def reference(data: bytes) -> None:
    text = text_of(data)
    try:
        read = parse_reference(text)
    except InvalidDigest as fact:
        refused(fact)
        assert not (oracles.is_digest(text) and text.startswith(("sha256:", "sha512:")))
        return
    except TagInvalid as fact:
        refused(fact)
        assert not oracles.is_tag(text)
        return
    assert str(read) == text
    assert oracles.is_tag(text) if isinstance(read, Tag) else oracles.is_digest(text)


def path(data: bytes) -> None:
    """As the gate reads it: what it takes is a path that we would write, for each of its methods (T1, T3)."""
    try:
        text = decode_path({"raw_path": data, "path": ""})
    except NameInvalid as fact:
        refused(fact)
        return
    found = routes.match(text)
    for method in found[0].methods if found else ():
        assert found
        try:
            parsed = parse_parameters(found[1], method)
        except Exception as fact:
            refused(fact)
            continue
        if "upload" in parsed:
            _session(parsed["upload"])
        else:
            assert ".." not in text.split("/")
        if "name" in parsed:
            assert oracles.is_name(parsed["name"])
            assert text.startswith(repository_path(parsed["name"]) + "/")
        if "digest" in parsed:
            assert text.endswith(f"/{parsed['digest']}")


def _session(upload: str) -> None:
    """Any text until a file is named after it: the layout knows none but a UUID's (T1)."""
    with suppress(UploadMissing):
        assert LAYOUT.upload(upload) == f"{LAYOUT.uploads}/{uuid.UUID(upload)}"


def byte_range(data: bytes) -> None:
    """The first byte is the content's size. What is sent was asked for, in that order, and once (T23)."""
    size, header = (data[0], data[1:].decode("latin-1")) if data else (FEW, "")
    asked = oracles.covered(header, size)
    try:
        spans = parse_range(header, size)
    except Unsatisfiable:
        assert asked is not None
        assert [] in asked
        return
    if spans is None:
        return
    assert asked is not None
    assert oracles.expand(spans) == [positions for positions in asked if positions]
    assert sum(span.length for span in spans) <= size
    kind = "application/octet-stream"
    sent = sum(len(part_header("b", span, size, kind)) + span.length for span in spans) + len(closing("b"))
    assert multipart_length("b", spans, size, kind) == sent


def content_range(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        first, last = parse_content_range(text)
    except InvalidContentRange as fact:
        refused(fact)
        return
    assert Span(first, last - first + 1).length > 0
    left, _, right = text.partition("-")
    assert (left.lstrip("0") or "0", right.lstrip("0") or "0") == (str(first), str(last))


def condition(data: bytes) -> None:
    """A line for `If-Match`, one for `If-None-Match`: what was read says the same when written again."""
    match, _, none_match = data.decode("latin-1").partition("\n")
    try:
        read = parse_condition(match, none_match)
    except ConditionInvalid as fact:
        refused(fact)
        return
    present = Digest.of(b"present")
    for found in (None, present):
        with suppress(PreconditionFailed):
            read.check("it", found)
    with suppress(PreconditionFailed):
        read.not_modified(present)
    assert parse_condition(_render(read.match), _render(read.none_match)) == read
    assert read.match
    if match.strip() != "*":
        assert read.match <= {"", *match.split('"')}


def _render(tags: frozenset[str]) -> str:
    return "*" if tags == {ANY} else ", ".join(f'"{tag}"' for tag in tags)


def scope(data: bytes) -> None:
    """The first byte says what is allowed: no token grants more, nor more than was asked for (T25)."""
    allowed = {action for bit, action in enumerate(Action) if data[:1] and data[0] >> bit & 1}
    for asked in parse_scopes([text_of(data[1:])]):
        assert parse_scopes([str(asked)]) == [asked]
        given = intersect(asked, allowed.__contains__)
        assert parse_scopes([str(given)]) == [given]
        assert given.words <= asked.words or "*" in asked.words
        assert given.grant.actions <= asked.grant.actions
        # Pushing names both, of which each request is asked about its own.
        pushing = {Action.MOVE} if Action.PUSH in allowed else set()
        if given.kind != "registry":
            assert given.grant.actions <= allowed | pushing
        assert isinstance(given, Scope)


def pattern(data: bytes) -> None:
    """A pattern, a space, a name. Only stars mean anything in what settings take."""
    left, _, right = text_of(data).partition(" ")
    if not set(left) & set("[?") and len(left) * len(right) < 10_000 and len(left) + len(right) < 300:
        assert matches([left], right) == oracles.matches(left, right)


def retention(data: bytes) -> None:
    """The text of a variable or a flag."""
    with suppress(ValueError):
        RETENTION.check(RETENTION.read(text_of(data)))


def chunks(data: bytes) -> None:
    """A chunked body, cut at the place in the first byte, is what the parser takes it for, or no body."""
    raw = data[1:]
    whole = ours([raw])
    place = data[0] if data else 0
    assert ours([raw[:place], raw[place:]]) == whole
    parsed = theirs(raw)
    assert not (parsed.faulty and whole.ended), "laxer than the parser"
    if not whole.faulty and not parsed.faulty:
        assert (whole.body, whole.ended) == (parsed.body, parsed.ended)
    if len(raw) <= SHORT:
        for pieces in cuts(raw):
            assert ours(pieces) == whole


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        *(manifest, strict_json, digest, name, reference, path, byte_range, content_range),
        *(condition, scope, pattern, retention, chunks),
        *credentials.TARGETS,
    )
}
