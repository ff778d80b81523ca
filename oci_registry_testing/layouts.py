"""Images from files: OCI layouts and what `docker save` writes, as folders or archives."""

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from oci_registry_testing.content import Content, by_digest
from oci_registry_testing.manifests import (
    DOCKER_CONFIG,
    DOCKER_IMAGE,
    DOCKER_INDEX,
    DOCKER_LAYER,
    OCI_ARTIFACT,
    OCI_IMAGE,
    OCI_INDEX,
    descriptor,
    digest_of,
    image,
)
from oci_registry_testing.names import Reference, parse_reference

Read = Callable[[str], bytes | None]
Path = str | os.PathLike[str]

_MANIFESTS = {OCI_IMAGE, OCI_INDEX, OCI_ARTIFACT, DOCKER_IMAGE, DOCKER_INDEX}
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")  # the first says more
_GZIP = b"\x1f\x8b"


class LayoutInvalid(ValueError):
    """Neither an OCI layout nor an archive of Docker's, or not whole; the text says what is missing."""


def read_images(path: Path, repository: str = "") -> list[tuple[Reference, Content]]:
    """All that are in there, under the names that they have there.

    One that has a tag alone, or none, comes into `repository`, by default the file's name.
    """
    named = repository or _stem(path)
    with _opened(path) as read:
        if read("oci-layout") is not None or read("index.json") is not None:
            return list(_read_layout(read, named, path))
        if read("manifest.json") is not None:
            return list(_read_archive(read, named, path))
    raise LayoutInvalid(f"{path} has neither index.json (an OCI layout) nor manifest.json (docker save)")


def _read_layout(read: Read, repository: str, path: Path) -> Iterator[tuple[Reference, Content]]:
    for named in _json(read, "index.json", path)["manifests"]:
        content = _content(read, named, path)
        if content is None:
            raise LayoutInvalid(f"{path}: the manifest {named['digest']} of index.json is not there")
        yield _reference(named.get("annotations") or {}, repository, content.digest), content


def _reference(annotations: dict[str, str], repository: str, digest: str) -> Reference:
    for key in _NAMES:
        name = annotations.get(key, "")
        if "/" in name or ":" in name:
            found = parse_reference(name)
            return Reference(found.repository, found.tag, digest)
        if name:
            return Reference(repository, name, digest)
    return Reference(repository, "", digest)


def _content(read: Read, named: dict[str, Any], path: Path) -> Content | None:
    """With what of it is there: some layouts are sparse, and foreign layers are nowhere."""
    raw = read(_blob_path(named["digest"]))
    if raw is None:
        return None
    algorithm = named["digest"].partition(":")[0]
    if digest_of(raw, algorithm) != named["digest"]:
        raise LayoutInvalid(f"{path}: the file of {named['digest']} has other bytes")
    body = json.loads(raw)
    parts = [body.get("config"), *(body.get("layers") or ()), *(body.get("blobs") or ())]
    members = body.get("manifests") or ()
    parts += [each for each in members if each["mediaType"] not in _MANIFESTS]
    blobs = {each["digest"]: read(_blob_path(each["digest"])) for each in parts if each}
    children = [_content(read, each, path) for each in members if each["mediaType"] in _MANIFESTS]
    return Content(
        raw,
        named.get("mediaType") or body["mediaType"],
        {digest: data for digest, data in blobs.items() if data is not None},
        tuple(child for child in children if child is not None),
        named.get("platform"),
        body.get("artifactType"),
        algorithm,
    )


def _read_archive(read: Read, repository: str, path: Path) -> Iterator[tuple[Reference, Content]]:
    for entry in _json(read, "manifest.json", path):
        config, *layers = (_file(read, name, path) for name in (entry["Config"], *entry["Layers"]))
        raw = image(
            descriptor(config, DOCKER_CONFIG),
            [
                descriptor(data, f"{DOCKER_LAYER}.gzip" if data.startswith(_GZIP) else DOCKER_LAYER)
                for data in layers
            ],
            media_type=DOCKER_IMAGE,
        )
        content = Content(raw, DOCKER_IMAGE, by_digest(config, *layers))
        names = [parse_reference(name) for name in entry.get("RepoTags") or ()]
        for name in names or [Reference(repository)]:
            yield Reference(name.repository, name.tag, content.digest), content


def _json(read: Read, name: str, path: Path) -> Any:
    try:
        return json.loads(_file(read, name, path))
    except ValueError as error:
        raise LayoutInvalid(f"{path}: {name} is not JSON: {error}") from error


def _file(read: Read, name: str, path: Path) -> bytes:
    if (found := read(name)) is None:
        raise LayoutInvalid(f"{path}: {name} is not there")
    return found


def _blob_path(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"


def _stem(path: Path) -> str:
    return os.path.basename(os.path.normpath(path)).partition(".")[0].lower()


@contextmanager
def _opened(path: Path) -> Iterator[Read]:
    if os.path.isdir(path):
        yield lambda name: _from_folder(os.path.join(path, name))
        return
    with tarfile.open(path) as archive:
        members = {os.path.normpath(member.name): member for member in archive}

        def read(name: str) -> bytes | None:
            member = members.get(os.path.normpath(name))
            file = archive.extractfile(member) if member else None
            return file.read() if file else None

        yield read


def _from_folder(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
