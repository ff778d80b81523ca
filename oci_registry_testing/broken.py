"""Manifests that no registry should take and no client should trust, one for each way to be wrong.

A registry that reads them refuses them; `Registry.plant` puts them where clients find them all the same.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from oci_registry_testing.manifests import (
    EMPTY,
    EMPTY_JSON,
    OCI_IMAGE,
    OCI_INDEX,
    JsonObject,
    descriptor,
    digest_of,
    image,
    index,
)


@dataclass(frozen=True, slots=True)
class Broken:
    """`why` says what is wrong with it."""

    name: str
    manifest: bytes
    media_type: str
    why: str

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


_LAYER = b"layer"
_GOOD: JsonObject = json.loads(image(layers=[descriptor(_LAYER)]))


def _changed(**members: object) -> bytes:
    """A good image with other members; None takes one away."""
    return json.dumps(
        {key: value for key, value in {**_GOOD, **members}.items() if value is not None}
    ).encode()


def _named(**members: object) -> bytes:
    """A good image whose layer's descriptor is another; None takes a member away."""
    layer = {key: value for key, value in {**descriptor(_LAYER), **members}.items() if value is not None}
    return _changed(layers=[layer])


_IMAGES: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "there is nothing"),
    "not-json": (lambda: b"<html><body>Bad Gateway</body></html>", "a proxy's page in its place"),
    "cut": (lambda: _changed()[: len(_changed()) // 2], "half of it"),
    "trailing": (lambda: _changed() + b"{}", "something follows the manifest"),
    "not-utf-8": (lambda: _changed(annotations={"a": "?"}).replace(b"?", b"\xff"), "a byte that is no UTF-8"),
    "utf-16": (lambda: b"\xff\xfe" + _changed().decode().encode("utf-16-le"), "another encoding"),
    "list": (lambda: b"[" + _changed() + b"]", "a list in place of an object"),
    "null": (lambda: b"null", "null in place of an object"),
    "deep": (lambda: b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested ten thousand deep"),
    "key-twice": (lambda: b'{"layers": [], ' + _changed()[1:], "a member twice"),
    "key-case": (lambda: b'{"Layers": [], ' + _changed()[1:], "a member twice, but for its case"),
    "schema-1": (lambda: _changed(schemaVersion=1), "Docker's first schema"),
    "schema-text": (lambda: _changed(schemaVersion="2"), "a schemaVersion that is text"),
    "unknown-type": (lambda: _changed(mediaType="application/vnd.example+json"), "a type of no manifest"),
    "other-type": (lambda: _changed(mediaType=OCI_INDEX), "a mediaType that the Content-Type denies"),
    "image-and-index": (lambda: _changed(manifests=[]), "an image and an index in one (CVE-2021-41190)"),
    "no-config": (lambda: _changed(config=None), "an image without a config"),
    "config-list": (lambda: _changed(config=[descriptor(EMPTY, EMPTY_JSON)]), "a list as the config"),
    "layers-object": (lambda: _changed(layers=descriptor(_LAYER)), "an object in place of the layers"),
    "layer-text": (lambda: _changed(layers=[digest_of(_LAYER)]), "text in place of a descriptor"),
    "no-digest": (lambda: _named(digest=None), "a descriptor without a digest"),
    "short-digest": (lambda: _named(digest="sha256:abc"), "a digest that is too short"),
    "upper-digest": (lambda: _named(digest="sha256:" + "A" * 64), "a digest in upper case"),
    "path-digest": (lambda: _named(digest="sha256:../../../etc/passwd"), "a digest that is a path"),
    "no-size": (lambda: _named(size=None), "a descriptor without a size"),
    "negative-size": (lambda: _named(size=-1), "a negative size"),
    "text-size": (lambda: _named(size="5"), "a size that is text"),
    "fraction-size": (lambda: _named(size=5.5), "half a byte"),
    "huge-size": (lambda: _named(size=2**64), "a size that no integer of 64 bits holds"),
    "wrong-size": (lambda: _named(size=len(_LAYER) + 1), "a size that is not the blob's"),
    "no-layer-type": (lambda: _named(mediaType=None), "a descriptor without a mediaType"),
    "annotation-number": (lambda: _changed(annotations={"a": 1}), "an annotation that is a number"),
    "subject-text": (lambda: _changed(subject=digest_of(_LAYER)), "text in place of the subject"),
    "too-large": (lambda: _changed(annotations={"a": "a" * 4 * 2**20}), "more than 4 MiB"),
}  # fmt: skip
_INDEXES: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "index-with-layers": (lambda: index(layers=[]), "an index with an image's layers (CVE-2021-41190)"),
    "index-of-text": (lambda: index(manifests=[digest_of(EMPTY)]), "text in place of a descriptor"),
}

BLOBS = (EMPTY, _LAYER)
"""What the broken images name, as far as they name anything that can be."""

KINDS = (*_IMAGES, *_INDEXES)


def make_broken(kind: str) -> Broken:
    """One of KINDS."""
    for table, media_type in ((_IMAGES, OCI_IMAGE), (_INDEXES, OCI_INDEX)):
        if kind in table:
            make, why = table[kind]
            return Broken(kind, make(), media_type, why)
    raise ValueError(f"{kind!r} is no kind of broken manifest: there are {', '.join(KINDS)}")
