import base64
import json
import re
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import ManifestInvalid, ManifestTooLarge
from registry.manifests import (
    MAX_MANIFEST,
    MEDIA_TYPES,
    Descriptor,
    Manifest,
    ManifestKind,
    is_foreign,
    read_manifest,
)
from storage.digest import Digest
from tests.builders import (
    DOCKER_IMAGE,
    DOCKER_INDEX,
    EMPTY_JSON,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_IMAGE,
    OCI_INDEX,
    OCI_LAYER,
    JsonObject,
    blob,
    descriptor,
    image,
    index,
)

CONFIG = descriptor(b"config", OCI_CONFIG)
LAYER = descriptor(b"layer", OCI_LAYER)
CHILD = descriptor(b"child", OCI_IMAGE)
SUBJECT = descriptor(b"subject", OCI_IMAGE)


def _read(raw: bytes, content_type: str | None = None) -> Manifest:
    return read_manifest(raw, content_type, Digest.of(raw))


def _body(**members: object) -> bytes:
    return json.dumps(members).encode()


def _image(**members: object) -> bytes:
    """An OCI image manifest with some members replaced; those that are `...` are left out."""
    body = {**json.loads(image(CONFIG, [LAYER])), **members}
    return _body(**{key: value for key, value in body.items() if value is not ...})


def _layer(**members: object) -> bytes:
    return _image(layers=[{key: value for key, value in {**LAYER, **members}.items() if value is not ...}])


def _parsed(source: JsonObject) -> Descriptor:
    return Descriptor(
        source["mediaType"],
        Digest.parse_any(source["digest"]),
        source["size"],
        source.get("artifactType", ""),
        source.get("annotations", {}),
    )


BODIES: dict[str, JsonObject] = {
    OCI_IMAGE: {"config": CONFIG, "layers": [LAYER]},
    DOCKER_IMAGE: {"config": CONFIG, "layers": [LAYER]},
    OCI_INDEX: {"manifests": [CHILD]},
    DOCKER_INDEX: {"manifests": [CHILD]},
    OCI_ARTIFACT: {"blobs": [LAYER]},
}


def test_an_image() -> None:
    foreign = descriptor(
        b"foreign", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", urls=["x"]
    )
    noted = descriptor(b"noted", annotations={"a": "b"}, artifactType="c/d", platform={"os": "linux"})
    raw = image(CONFIG, [LAYER, foreign, noted, LAYER], subject=SUBJECT, annotations={"k": "v"})
    assert _read(raw) == Manifest(
        descriptor=Descriptor(OCI_IMAGE, Digest.of(raw), len(raw), OCI_CONFIG, {"k": "v"}),
        raw=raw,
        kind=ManifestKind.IMAGE,
        config=_parsed(CONFIG),
        blobs=(_parsed(LAYER), _parsed(foreign), _parsed(noted), _parsed(LAYER)),
        children=(),
        subject=_parsed(SUBJECT),
    )


def test_an_index() -> None:
    # BuildKit's cache index lists layers and a config beside manifests.
    raw = index([CHILD, LAYER, CONFIG], subject=SUBJECT, annotations={"k": "v"})
    assert _read(raw) == Manifest(
        descriptor=Descriptor(OCI_INDEX, Digest.of(raw), len(raw), "", {"k": "v"}),
        raw=raw,
        kind=ManifestKind.INDEX,
        config=None,
        blobs=(),
        children=(_parsed(CHILD), _parsed(LAYER), _parsed(CONFIG)),
        subject=_parsed(SUBJECT),
    )


def test_the_digest_is_the_callers() -> None:
    raw = image()
    assert read_manifest(raw, None, Digest.of(raw, "sha512")).descriptor.digest == Digest.of(raw, "sha512")


@pytest.mark.parametrize(
    ("raw", "artifact_type"),
    [
        (image(CONFIG), OCI_CONFIG),
        (image(), EMPTY_JSON),
        (image(CONFIG, artifact_type="a/b"), "a/b"),
        (image(CONFIG, artifact_type=""), OCI_CONFIG),
        (_image(artifactType=None), OCI_CONFIG),
        (index([CHILD]), ""),
        (index([CHILD], artifact_type="a/b"), "a/b"),
        (_body(mediaType=OCI_ARTIFACT, artifactType="a/b"), "a/b"),
        (_body(mediaType=OCI_ARTIFACT), ""),
    ],
)
def test_effective_artifact_type(raw: bytes, artifact_type: str) -> None:
    assert _read(raw).descriptor.artifact_type == artifact_type


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize(
    "written",
    [None, "", "application/json", "Application/Octet-Stream; x=y", "{}", " {} ;charset=utf-8", "{};"],
)
def test_the_body_names_its_type(media_type: str, written: str | None) -> None:
    content_type = written and written.replace("{}", media_type.upper())
    manifest = _read(_body(mediaType=media_type, **BODIES[media_type]), content_type)
    assert manifest.descriptor.media_type == media_type
    assert manifest.kind is MEDIA_TYPES[media_type]
    assert [*manifest.blobs, *manifest.children] == [
        _parsed(CHILD if manifest.kind is ManifestKind.INDEX else LAYER)
    ]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("own", [..., None, ""])
def test_the_request_names_the_type(media_type: str, own: object) -> None:
    stated = {} if own is ... else {"mediaType": own}
    raw = _body(schemaVersion=2, **stated, **BODIES[media_type])
    assert _read(raw, f"{media_type.title()}; charset=utf-8").descriptor.media_type == media_type


@pytest.mark.parametrize(
    ("members", "media_type"),
    [
        ({"config": CONFIG, "layers": [LAYER]}, OCI_IMAGE),
        ({"config": CONFIG}, OCI_IMAGE),
        ({"manifests": [CHILD]}, OCI_INDEX),
        ({"manifests": []}, OCI_INDEX),
    ],
)
@pytest.mark.parametrize("content_type", [None, "application/json"])
def test_the_members_tell_the_type(members: JsonObject, media_type: str, content_type: str | None) -> None:
    assert _read(_body(schemaVersion=2, **members), content_type).descriptor.media_type == media_type


@pytest.mark.parametrize(
    ("raw", "content_type", "why"),
    [
        (image(), "text/html", "'text/html' is no manifest's"),
        (image(), "application/vnd.docker.distribution.manifest.v1+prettyjws", "is no manifest's"),
        (image(), f"{OCI_IMAGE}, {OCI_IMAGE}", "is no manifest's"),
        (_image(mediaType="text/html"), None, "mediaType 'text/html' is no manifest's"),
        (_image(mediaType=OCI_IMAGE.upper()), None, "is no manifest's"),
        (_image(mediaType=f"{OCI_IMAGE};x=y"), None, "is no manifest's"),
        (_image(mediaType="text/html"), OCI_IMAGE, "Content-Type is .*image.manifest.*, but .* is text/html"),
        (_image(mediaType=7), OCI_IMAGE, "mediaType in the manifest is 7"),
        (_image(mediaType=f"{OCI_IMAGE}\r\nX: y"), None, "printable ASCII"),
        (b"{}", None, "neither Content-Type nor mediaType"),
        (_body(layers=[LAYER]), None, "neither Content-Type nor mediaType"),
        (_body(blobs=[LAYER]), "application/json", "neither Content-Type nor mediaType"),
        (_body(config=CONFIG, manifests=[CHILD]), None, "must not have config"),
        (_body(layers=[LAYER], manifests=[CHILD]), None, "must not have layers"),
        (_image(config=...), None, "needs a config"),
        (_image(config=None), None, "needs a config"),
        (_image(config={}), None, "config has no mediaType"),
        (_image(schemaVersion=1), None, "schema 1, which is obsolete"),
        (_body(schemaVersion=1, name="a", fsLayers=[]), None, "schema 1, which is obsolete"),
        *(
            (_image(schemaVersion=version), None, "expected 2")
            for version in (0, 3, True, 2.0, "2", [2], 10**30)
        ),
    ],
)
def test_the_type_is_in_doubt(raw: bytes, content_type: str | None, why: str) -> None:
    with pytest.raises(ManifestInvalid, match=why):
        _read(raw, content_type)


@pytest.mark.parametrize("stated", MEDIA_TYPES)
@pytest.mark.parametrize("asked", MEDIA_TYPES)
@pytest.mark.parametrize("shape", MEDIA_TYPES)
def test_types_and_shapes_must_agree(stated: str, asked: str, shape: str) -> None:
    raw = _body(schemaVersion=2, mediaType=stated, **BODIES[shape])
    # An index may lack `manifests` and an artifact `blobs`, and `blobs` is a custom key to others.
    lenient = BODIES[stated].keys() <= {"manifests", "blobs"} and shape == OCI_ARTIFACT
    if stated == asked and (lenient or BODIES[stated] == BODIES[shape]):
        assert _read(raw, asked).descriptor.media_type == stated
        return
    with pytest.raises(ManifestInvalid):
        _read(raw, asked)


@pytest.mark.parametrize(
    "raw",
    [
        _image(layers=None),
        _image(layers=...),
        _image(layers=[]),
        _image(manifests=None, subject=None, annotations=None, schemaVersion=None),
        _image(schemaVersion=...),
        _image(
            blobs="a custom key", Custom={"Layers": [], "layers": 1}, **{"org.example": [1.5, 10**400, None]}
        ),
        _image(annotations={"Layers": "x", "layers": "y", "": ""}),
        _layer(size=0),
        _layer(size=2**63 - 1),
        _layer(digest="blake3:abc"),
        _layer(digest="sha512:" + "0" * 128),
        _layer(mediaType="x/" + "y" * 253),
        _layer(mediaType="no slash; any=text"),
        _layer(urls=None, platform=None, annotations=None, data=None, artifactType=None),
        _layer(
            urls=["https://example.org/x"], platform={"os": "linux", "os.features": ["a"], "variant": None}
        ),
        _layer(platform={"architecture": "unknown", "os": "unknown", "more": {"os": 1}}),
        _layer(data=base64.b64encode(b"layer").decode()),
        _image(config=descriptor(b"{}", EMPTY_JSON, data="e30=")),
        _image(config=descriptor(b"", EMPTY_JSON, data="")),
        _image(config=descriptor(b"{}", EMPTY_JSON, algorithm="sha512", data="e30=")),
        _layer(digest="blake3:abc", data=base64.b64encode(b"layer").decode()),
        _image(subject={**SUBJECT, "digest": "blake3:abc"}),
        _image(layers=[LAYER] * 10_000),
        index([]),
        _body(mediaType=OCI_INDEX),
        _body(mediaType=OCI_INDEX, manifests=None),
    ],
)
def test_accepted(raw: bytes) -> None:
    assert _read(raw).raw == raw


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"null", "expected an object"),
        (b"[]", "is a list, expected an object"),
        (b'"x"', "is 'x', expected an object"),
        (b'{"config":1,"config":2}', "twice"),
        (_image(annotations={"a": float("nan")}), "NaN"),
        (_image(layers={}), "layers in the manifest is an object, expected a list"),
        (_image(layers="x"), "expected a list"),
        (_image(layers=0), "expected a list"),
        (_image(layers=[None]), r"layers\[0\] is absent or null"),
        (_image(layers=[LAYER, [LAYER]]), r"layers\[1\] is a list"),
        (_image(layers=[LAYER] * 10_001), "10001 descriptors"),
        (index([CHILD] * 10_001), "10001 descriptors"),
        (_image(config=[]), "config is a list"),
        (_image(subject="x"), "subject is 'x'"),
        (_image(artifactType=1), "artifactType in the manifest is 1"),
        (_image(artifactType="a\nb"), "printable ASCII"),
        (_image(artifactType="ä/b"), "printable ASCII"),
        (_image(artifactType="a" * 256), "printable ASCII"),
        (_image(annotations=[]), "annotations in the manifest are a list"),
        (_image(annotations={"a": 1}), "must be strings"),
        (_image(annotations={"a": None}), "must be strings"),
        (_layer(annotations={"a": {}}), "must be strings"),
        (_layer(mediaType=...), "has no mediaType"),
        (_layer(mediaType=""), "has no mediaType"),
        (_layer(mediaType="a\x00b"), "printable ASCII"),
        (_layer(mediaType="a\x7fb"), "printable ASCII"),
        (_layer(mediaType="a/b\n"), "printable ASCII"),
        (_layer(digest=...), "digest .* is absent"),
        (_layer(digest=None), "digest .* is absent"),
        (_layer(digest=1), "digest .* is 1"),
        (_layer(digest=""), "not a digest"),
        (_layer(digest="sha256:abc"), "64 lower-case hex"),
        (_layer(digest="sha256:" + "A" * 64), "64 lower-case hex"),
        (_layer(digest=LAYER["digest"] + "\n"), "64 lower-case hex"),
        (_layer(digest="sha256:../../etc/passwd"), "not a digest|hex"),
        *(
            (_layer(size=size), "expected a whole number")
            for size in (..., None, -1, 2**63, 1.0, True, "1", 10**4000)
        ),
        (_layer(urls="x"), "urls"),
        (_layer(urls=[1]), "urls .* must be strings"),
        (_layer(platform=[]), "platform of .* is a list"),
        (_layer(platform={"os": 1}), "os in the platform"),
        (_layer(platform={"os.features": "x"}), "os.features in the platform"),
        (_layer(data=1), "not base64"),
        (_layer(data="e30"), "not base64"),
        (_layer(data="e3 0="), "not base64"),
        (_layer(data="ä"), "not base64"),
        (_layer(data=base64.b64encode(b"lay").decode()), "size and digest"),
        (_layer(data=base64.b64encode(b"LAYER").decode()), "size and digest"),
        (_layer(digest="blake3:abc", data="e30="), "size and digest"),
    ],
)
def test_refused(raw: bytes, why: str) -> None:
    with pytest.raises(ManifestInvalid, match=why):
        _read(raw)


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("the manifest", "Layers"),
        ("the manifest", "layerſ"),
        ("the manifest", "MEDIATYPE"),
        ("the manifest", "Blobs"),
        ("the manifest", "ſchemaVersion"),
        ("the manifest", "Manifests"),
        ("config", "Data"),
        ("subject", "DIGEST"),
        ("layers[0]", "ſize"),
        ("layers[0]", "Digest"),
        ("the platform of layers[0]", "OS"),
        ("the platform of layers[0]", "oS.verſion"),
    ],
)
@pytest.mark.parametrize("value", [None, [], CHILD["digest"]])
def test_keys_in_another_case(place: str, key: str, value: object) -> None:
    body: JsonObject = {"config": {**CONFIG}, "layers": [{**LAYER, "platform": {}}], "subject": {**SUBJECT}}
    places = {
        "the manifest": body,
        "config": body["config"],
        "subject": body["subject"],
        "layers[0]": body["layers"][0],
        "the platform of layers[0]": body["layers"][0]["platform"],
    }
    _read(_body(**body))
    places[place][key] = value
    with pytest.raises(ManifestInvalid, match=re.escape(f"{place} has the key {key!r}, which some clients")):
        _read(_body(**body))


def test_the_size_limit() -> None:
    room = MAX_MANIFEST - len(_image(annotations={"a": ""}))
    assert _read(_image(annotations={"a": "x" * room})).descriptor.size == MAX_MANIFEST
    with pytest.raises(ManifestTooLarge):
        _read(_image(annotations={"a": "x" * (room + 1)}))


@pytest.mark.parametrize(
    ("media_type", "foreign"),
    [
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", False),
        (OCI_LAYER, False),
    ],
)
def test_foreign_layers(media_type: str, foreign: bool) -> None:
    assert is_foreign(_parsed(descriptor(blob(10), media_type))) is foreign


# The cost of what is allowed. Measured: at most 0.2 s and 55 MB.
_MEMBERS = f'{{"mediaType":"{OCI_IMAGE}","config":{json.dumps(CONFIG)},'


@pytest.mark.parametrize(
    ("raw", "accepted"),
    [
        pytest.param(
            _image(annotations={f"a{number}": "A" * 10_000 for number in range(390)}), True, id="annotations"
        ),
        pytest.param(
            _image(annotations={f"{number:06}😀": "x" for number in range(150_000)}),
            True,
            id="many annotations",
        ),
        pytest.param(_image(layers=[{**LAYER, "platform": {"os": "x"}}] * 10_000), True, id="layers"),
        pytest.param(_image(layers=[descriptor(b"{}", data="e30=")] * 10_000), True, id="data"),
        pytest.param(
            (_MEMBERS + ",".join(f'"sch{number:08}":1' for number in range(180_000)) + "}").encode(),
            True,
            id="keys",
        ),
        pytest.param((_MEMBERS + f'"{"😀" * 1_000_000}":{"1" * 100_000}}}').encode(), True, id="one key"),
        pytest.param(_layer(mediaType="x" * 4_190_000), False, id="media type"),
        pytest.param(_layer(size=int("1" * 4_000)), False, id="size"),
        pytest.param(_layer(digest="a.b" * 1_390_000 + ":%"), False, id="digest"),
        pytest.param(_layer(data="e30=" * 1_000_000), False, id="one data"),
    ],
)
def test_four_megabytes_cost_little(raw: bytes, accepted: bool) -> None:
    def read() -> bool:
        try:
            return _read(raw) is not None
        except ManifestInvalid:
            return False

    start = time.thread_time()
    assert read() is accepted
    assert time.thread_time() - start < 1
    tracemalloc.start()
    try:
        read()
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


# An object as its keys and values in the order written, so that it can hold a key twice.
class _Pairs(list[tuple[str, Any]]):
    pass


def _paired(value: object) -> Any:
    if isinstance(value, dict):
        return _Pairs((key, _paired(inner)) for key, inner in value.items())
    return [_paired(inner) for inner in value] if isinstance(value, list) else value


def _written(value: object, *, escaped: bool) -> str:
    if isinstance(value, _Pairs):
        members = (f"{json.dumps(k, ensure_ascii=escaped)}:{_written(v, escaped=escaped)}" for k, v in value)
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(inner, escaped=escaped) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=escaped)


def _objects(value: object) -> list[_Pairs]:
    inner = [v for _, v in value] if isinstance(value, _Pairs) else value if isinstance(value, list) else []
    return ([value] if isinstance(value, _Pairs) else []) + [found for v in inner for found in _objects(v)]


_DESCRIPTORS = st.builds(
    lambda data, media_type, extra: descriptor(data, media_type, **extra),
    st.binary(max_size=3),
    st.sampled_from([OCI_LAYER, OCI_CONFIG, OCI_IMAGE, "a/b"]),
    st.fixed_dictionaries(
        {},
        optional={
            "artifactType": st.just("x/y"),
            "annotations": st.dictionaries(st.text(), st.text(), max_size=2),
            "platform": st.just({"os": "linux", "architecture": "amd64"}),
            "urls": st.lists(st.text(), max_size=1),
            "custom": st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
        },
    ),
)
_VALID = st.one_of(
    st.builds(
        image,
        _DESCRIPTORS,
        st.lists(_DESCRIPTORS, max_size=3),
        subject=st.none() | _DESCRIPTORS,
        artifact_type=st.none() | st.just("x/y"),
        media_type=st.sampled_from([OCI_IMAGE, DOCKER_IMAGE]),
    ),
    st.builds(
        index,
        st.lists(_DESCRIPTORS, max_size=3),
        subject=st.none() | _DESCRIPTORS,
        media_type=st.sampled_from([OCI_INDEX, DOCKER_INDEX]),
    ),
    st.builds(lambda blobs: _body(mediaType=OCI_ARTIFACT, blobs=blobs), st.lists(_DESCRIPTORS, max_size=3)),
)
_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([2, 2**63, OCI_IMAGE, OCI_INDEX])
)
_PLAUSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "config": _DESCRIPTORS,
    "subject": _DESCRIPTORS,
    "layers": st.lists(_DESCRIPTORS, max_size=2),
    "blobs": st.lists(_DESCRIPTORS, max_size=2),
    "manifests": st.lists(_DESCRIPTORS, max_size=2),
    "mediaType": st.sampled_from([*MEDIA_TYPES, OCI_LAYER]),
    "digest": st.sampled_from([LAYER["digest"], "blake3:abc"]),
    "size": st.integers(0, 9),
}
_SPELLINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.capitalize,
    lambda name: name.replace("s", "ſ"),
    lambda name: f"{name}s",
]


@st.composite
def _members(draw: st.DrawFn, names: list[str]) -> tuple[str, Any]:
    name = draw(st.sampled_from(names))
    value = draw(_PLAUSIBLE.get(name, _LEAVES) | _LEAVES)
    return draw(st.sampled_from(_SPELLINGS))(name), _paired(value)


@st.composite
def _mutants(draw: st.DrawFn) -> bytes:
    """A valid manifest with a member or two added, replaced or dropped; keys may repeat or differ in case."""
    body = _paired(json.loads(draw(_VALID)))
    for _ in range(draw(st.integers(1, 2))):
        target = draw(st.sampled_from(_objects(body)))
        names = [key for key, _ in target] + (list(_PLAUSIBLE) if target is body else [])
        at = draw(st.integers(0, len(target)))
        target[at : at + draw(st.integers(0, 1))] = draw(st.lists(_members(names or ["os"]), max_size=1))
    return _written(body, escaped=draw(st.booleans())).encode()


Reference = tuple[str, str, str, int]


def _as_go_reads(raw: bytes) -> list[Reference]:
    """The references that Go's encoding/json finds: any case, the last of equal keys, null for nothing.

    It reads the members of every type, whatever the type is, as a client might that guesses.
    """
    body = json.loads(raw.decode("utf-8", "replace"), object_pairs_hook=_Pairs)
    found = []
    for place in ("config", "layers", "blobs", "manifests", "subject"):
        value = _field(body, place)
        if place == "blobs" and _field(body, "mediaType") != OCI_ARTIFACT:
            continue
        for source in value if type(value) is list else [] if value is None else [value]:
            fields = [_field(source, name) for name in ("mediaType", "digest", "size")]
            found.append((place, *fields))
    return found


def _field(pairs: _Pairs, name: str) -> Any:
    # Among single letters, case folding changes into ASCII ones exactly those that Go's folding does.
    values = [v for key, v in pairs if len(key) == len(name) and key.casefold() == name.casefold()]
    return values[-1] if values else None


def _as_we_read(manifest: Manifest) -> list[Reference]:
    blobs = "blobs" if manifest.descriptor.media_type == OCI_ARTIFACT else "layers"
    places = [
        ("config", (manifest.config,)),
        (blobs, manifest.blobs),
        ("manifests", manifest.children),
        ("subject", (manifest.subject,)),
    ]
    return [
        (place, found.media_type, str(found.digest), found.size)
        for place, descriptors in places
        for found in descriptors
        if found
    ]


def test_the_oracle_differs_from_an_exact_reader() -> None:
    raw = b'{"layers":[],"LayerS":[{"digest":"a","DIGEST":"b","size":1,"mediaType":"m"}]}'
    assert _as_go_reads(raw) == [("layers", "m", "b", 1)]


@given(_VALID)
def test_valid_manifests_are_read_as_go_reads_them(raw: bytes) -> None:
    assert _as_we_read(_read(raw)) == _as_go_reads(raw)


@settings(max_examples=500)
@given(_mutants(), st.sampled_from([None, OCI_IMAGE, OCI_INDEX]))
def test_what_is_accepted_is_read_as_go_reads_it(raw: bytes, content_type: str | None) -> None:
    try:
        manifest = _read(raw, content_type)
    except ManifestInvalid:
        return
    assert _as_we_read(manifest) == _as_go_reads(raw)


@given(st.binary(), st.none() | st.text())
def test_any_bytes_are_read_or_refused(raw: bytes, content_type: str | None) -> None:
    with pytest.raises(ManifestInvalid):
        _read(raw, content_type)


@given(_VALID, st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=3))
def test_damaged_manifests_are_read_or_refused(raw: bytes, at: int, cut: int, put: bytes) -> None:
    damaged = raw[:at] + put + raw[at + cut :]
    try:
        manifest = _read(damaged)
    except ManifestInvalid:
        return
    assert _as_we_read(manifest) == _as_go_reads(damaged)
