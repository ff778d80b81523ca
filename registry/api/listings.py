"""Tags, referrers, the catalog, and the ping (distribution-spec, "Content Discovery")."""

import asyncio
import json

from starlette.responses import Response

from registry.access import Action, Operation
from registry.api.errors import PageInvalid
from registry.api.wire import MOST_ENTRIES, Call, json_response, next_link, page_size, repository_path
from registry.names import RepositoryName
from storage.digest import Digest
from storage.errors import InvalidDigest
from storage.manifest_rows import ManifestRow

_MOST_LOOKED_AT = 20_000  # names for one page: about a tenth of a second
_INDEX = "application/vnd.oci.image.index.v1+json"


async def ping(_: Call) -> Response:
    return json_response({}, headers={"Docker-Distribution-API-Version": "registry/2.0"})


async def catalog(call: Call) -> Response:
    """What may be pulled. A page is shorter than `n` only at the end, or after many that may not be.

    Where a link would show one of those, it is sealed.
    """
    limit = page_size(call)
    place = call.cursors.open(call.query("last") or "")
    visible: list[str] = []
    looked, count = 0, limit + 1
    while limit and looked < _MOST_LOOKED_AT:
        found = await call.registry.catalog(after=place, limit=count)
        visible += [name for name in found if call.may(Operation(Action.PULL, RepositoryName(name)))]
        if len(visible) > limit or len(found) < count:
            return json_response(
                {"repositories": visible[:limit]}, headers=_next("/v2/_catalog", visible, limit)
            )
        looked, place, count = looked + len(found), found[-1], MOST_ENTRIES
        await asyncio.sleep(0)
    link = {"Link": next_link("/v2/_catalog", last=call.cursors.seal(place), n=str(limit))} if limit else {}
    return json_response({"repositories": visible}, headers=link)


async def tags(call: Call) -> Response:
    assert call.name is not None
    limit, source = page_size(call), call.source
    found = await source.tags(after=call.query("last") or "", limit=limit + 1)
    path = repository_path(call.name, "tags", "list")
    headers = _next(path, found, limit, **_namespace(call))
    return json_response({"name": call.name, "tags": found[:limit]}, headers=headers, lasting=source.lasting)


def _namespace(call: Call) -> dict[str, str]:
    """A link without it would lead to another registry's repository of that name."""
    namespace = call.query("ns")
    return {"ns": namespace} if namespace else {}


def _next(path: str, found: list[str], limit: int, **query: str) -> dict[str, str]:
    """A link if there is more; none for `n=0`, which would lead nowhere."""
    if len(found) <= limit or limit == 0:
        return {}
    return {"Link": next_link(path, last=found[limit - 1], n=str(limit), **query)}


async def referrers(call: Call) -> Response:
    """Never a 404: what nobody refers to has an empty list."""
    assert call.name is not None
    assert call.digest is not None
    artifact_type = call.query("artifactType") or None
    limit, source = page_size(call), call.source
    rows, more = await source.referrers(
        call.digest, artifact_type=artifact_type, after=_position(call.query("last")), limit=limit
    )
    headers = {"OCI-Filters-Applied": "artifactType"} if artifact_type else {}
    if more and rows:
        query = {"last": f"{rows[-1].artifact_type}@{rows[-1].digest}", "n": str(limit)}
        query |= {"artifactType": artifact_type} if artifact_type else {}
        query |= _namespace(call)
        headers["Link"] = next_link(repository_path(call.name, "referrers", str(call.digest)), **query)
    body = ",".join(map(_descriptor, rows))
    index = f'{{"schemaVersion":2,"mediaType":"{_INDEX}","manifests":[{body}]}}'
    return json_response(index.encode(), headers=headers, media_type=_INDEX, lasting=source.lasting)


def _position(text: str | None) -> tuple[str, bytes]:
    """Where a page begins, as our own links write it: artifact type, @, digest."""
    if not text:
        return "", b""
    artifact_type, _, digest = text.rpartition("@")
    try:
        return artifact_type, Digest.parse_any(digest).binary
    except InvalidDigest:
        raise PageInvalid(f"last is {text[:160]!r}: expected a position from a Link of ours") from None


def _descriptor(row: ManifestRow) -> str:
    """The annotations are JSON already, as long as they may be."""
    fields: dict[str, object] = {
        "mediaType": row.media_type,
        "digest": str(row.digest),
        "size": row.size,
    }
    if row.artifact_type:
        fields["artifactType"] = row.artifact_type
    text = json.dumps(fields)
    return text if row.annotations == "{}" else f'{text[:-1]},"annotations":{row.annotations}}}'
