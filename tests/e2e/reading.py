"""Reads a registry by plain HTTP, so that what a client claims is checked without it."""

import json
from typing import Any

import httpx

from tests.e2e.images import sha256
from tests.e2e.serving import Server

DIGEST = "Docker-Content-Digest"


def get(server: Server, path: str, status: int = 200) -> httpx.Response:
    reply = httpx.get(f"http://{server.host}/v2/{path}", trust_env=False)
    assert reply.status_code == status, f"GET {path}: {reply.status_code} {reply.text[:500]}"
    return reply


def tags(server: Server, repository: str) -> list[str]:
    found: list[str] = get(server, f"{repository}/tags/list").json()["tags"]
    return found


def digest_of(server: Server, repository: str, reference: str) -> str:
    reply = get(server, f"{repository}/manifests/{reference}")
    assert reply.headers[DIGEST] == sha256(reply.content)
    return sha256(reply.content)


def manifest(server: Server, repository: str, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = get(server, f"{repository}/manifests/{reference}").json()
    return found


def image(server: Server, repository: str, reference: str) -> dict[str, bytes]:
    """Everything that the reference leads to, as digest -> bytes, each checked by digest and size."""
    content = get(server, f"{repository}/manifests/{reference}").content
    found = {sha256(content): content}
    body = json.loads(content)
    for child in body.get("manifests", []):
        found |= image(server, repository, child["digest"])
    for descriptor in [body["config"], *body["layers"]] if "config" in body else []:
        blob = get(server, f"{repository}/blobs/{descriptor['digest']}").content
        assert (sha256(blob), len(blob)) == (descriptor["digest"], descriptor["size"])
        found[descriptor["digest"]] = blob
    return found


def config_digest(server: Server, repository: str, reference: str) -> str:
    """The digest of the configuration, which Docker and podman show as the image's id."""
    found: str = manifest(server, repository, reference)["config"]["digest"]
    return found
