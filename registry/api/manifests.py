"""Manifests by tag and digest (distribution-spec, "Pulling manifests", "Pushing Manifests")."""

from starlette.responses import Response

from registry.api.errors import TooManyTags
from registry.api.wire import IMMUTABLE, Call, Lasting, digest_headers, manifest_body
from registry.cache.children import put_manifest
from registry.names import Reference, Tag
from registry.sources import Found
from storage.digest import Digest

MOST_TAGS = 100  # of one PUT; the specification asks for ten at least, and lets the rest be a 414


async def read(call: Call) -> Response:
    """GET. What is stored is served, whatever `Accept` says: clients send half of what they understand."""
    reference, source = _reference(call), call.source
    found = await source.manifest(reference)
    headers = _headers(reference, found)
    if call.condition().not_modified(found.row.digest):
        return Response(status_code=304, headers=headers)
    return _lasting(found, headers, await source.manifest_bytes(found.row))


async def head(call: Call) -> Response:
    reference = _reference(call)
    found = await call.source.manifest(reference)
    headers = _headers(reference, found)
    if call.condition().not_modified(found.row.digest):
        return Response(status_code=304, headers=headers)
    return _lasting(found, headers | {"Content-Length": str(found.row.size)})


async def write(call: Call) -> Response:
    """PUT by tag or digest, with any number of `?tag=` more."""
    tags = [Tag(text) for text in call.request.query_params.getlist("tag")]
    if len(tags) > MOST_TAGS:
        raise TooManyTags(len(tags), MOST_TAGS)
    condition = call.condition()
    content_type = call.request.headers.get("content-type")
    async with manifest_body(call.request, call.held) as raw:
        manifest = await put_manifest(
            call.repository,
            call.upstream,
            _reference(call),
            raw,
            content_type,
            tags=tags,
            condition=condition,
        )
    digest = manifest.descriptor.digest
    headers = digest_headers(digest) | {"Location": call.path_to("manifests", str(digest))}
    if tags:
        headers["OCI-Tag"] = ", ".join(tags)
    if manifest.subject:
        headers["OCI-Subject"] = str(manifest.subject.digest)
    return Response(status_code=201, headers=headers)


async def delete(call: Call) -> Response:
    """DELETE of a tag leaves its manifest; of a digest, takes every tag on it along."""
    reference = _reference(call)
    if isinstance(reference, Digest):
        await call.repository.delete_manifest(reference, condition=call.condition())
    else:
        await call.repository.delete_tag(reference, condition=call.condition())
    return Response(status_code=202)


def _reference(call: Call) -> Reference:
    assert call.reference is not None
    return call.reference


def _headers(reference: Reference, found: Found) -> dict[str, str]:
    caching = IMMUTABLE if isinstance(reference, Digest) else "no-cache"
    headers = {"Content-Type": found.row.media_type, "Cache-Control": caching}
    if found.warning:
        headers["Warning"] = found.warning
    return digest_headers(found.row.digest) | headers


def _lasting(found: Found, headers: dict[str, str], raw: bytes = b"") -> Lasting:
    content = (found.row.digest, found.row.size)
    return Lasting(raw, headers=headers, content=content, pull=found.pull, until=found.until)
