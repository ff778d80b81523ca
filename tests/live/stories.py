"""Pushes and pulls in which every request has a connection of its own."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from storage.digest import Digest
from tests.builders import OCI_IMAGE, descriptor, image
from tests.live.wire import Answer, once

Result = TypeVar("Result")


def begin(host: str, repository: str) -> str:
    """A new session's path."""
    answer = once(host, "POST", f"/v2/{repository}/blobs/uploads/")
    assert answer.status == 202, answer
    return answer.headers["location"]


def offset(host: str, session: str) -> int:
    """What the session holds, told by its status; `0-0` is both none and one, which no test here has."""
    answer = once(host, "GET", session)
    assert answer.status == 204, answer
    last = int(answer.headers["range"].removeprefix("0-"))
    return last + 1 if last else 0


def append(host: str, session: str, data: bytes, start: int) -> Answer:
    span = {"Content-Range": f"{start}-{start + len(data) - 1}"}
    return once(host, "PATCH", session, data, span)


def finish(host: str, session: str, data: bytes, last: bytes = b"") -> Answer:
    """The closing PUT of a session that is to be `data`."""
    return once(host, "PUT", f"{session}?digest={Digest.of(data)}", last)


def push_blob(host: str, repository: str, data: bytes) -> Answer:
    """The whole blob in one POST."""
    return once(host, "POST", f"/v2/{repository}/blobs/uploads/?digest={Digest.of(data)}", data)


def pull_blob(host: str, repository: str, data: bytes) -> bytes:
    answer = once(host, "GET", f"/v2/{repository}/blobs/{Digest.of(data)}")
    assert answer.status == 200, answer
    return answer.body


def push_manifest(host: str, repository: str, reference: str, raw: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    target = f"/v2/{repository}/manifests/{reference}"
    return once(host, "PUT", target, raw, {"Content-Type": OCI_IMAGE, **named})


def push_image(host: str, repository: str, tag: str, layer: bytes) -> bytes:
    """Config, one layer, manifest; returns the manifest."""
    for data in (b"{}", layer):
        assert push_blob(host, repository, data).status == 201
    raw = image(layers=[descriptor(layer)])
    answer = push_manifest(host, repository, tag, raw)
    assert answer.status == 201, answer
    return raw


def require_whole(host: str, repository: str, reference: str) -> bytes:
    """The manifest; it and all that it names are there, under their digests."""
    answer = once(host, "GET", f"/v2/{repository}/manifests/{reference}")
    assert answer.status == 200, answer
    assert answer.headers["docker-content-digest"] == str(Digest.of(answer.body))
    manifest = json.loads(answer.body)
    for part in [manifest["config"], *manifest["layers"]]:
        blob = once(host, "GET", f"/v2/{repository}/blobs/{part['digest']}")
        assert blob.status == 200, (part, blob)
        assert str(Digest.of(blob.body)) == part["digest"]
    return answer.body


def together(tasks: list[Callable[[], Result]]) -> list[Result]:
    """All at once, each in a thread of its own; results in the order of the tasks."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]
