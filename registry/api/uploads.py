"""Upload sessions (distribution-spec, "Pushing blobs")."""

from starlette.responses import Response

from registry.access import Action, Operation
from registry.api.wire import Call
from registry.cache.routing import public_name
from registry.errors import NameInvalid
from registry.names import RepositoryName
from storage.digest import Digest
from storage.errors import BlobMissing, InvalidDigest


async def begin(call: Call) -> Response:
    """POST: a session; or a whole blob with `?digest=`; or, with `?mount=`, a blob that is here already."""
    mount, digest = call.query("mount"), call.query("digest")
    if mount is not None and await _mount(call, Digest.parse(mount)):
        return created(call, Digest.parse(mount))
    if digest is not None and mount is None:
        parsed = Digest.parse(digest)
        await call.uploads.push(parsed, call.chunk())
        return created(call, parsed)
    algorithm = call.query("digest-algorithm")
    upload = await call.uploads.begin() if algorithm is None else await call.uploads.begin(algorithm)
    return Response(status_code=202, headers=_progress(call, upload, 0))


async def _mount(call: Call, digest: Digest) -> bool:
    """What may not be read, what is not here and what never was look the same: a session begins."""
    source = call.query("from")

    def readable(name: str) -> bool:
        return call.allows(Operation(Action.PULL, public_name(name)))

    try:
        named = None if source is None else call.locate(RepositoryName(source))
        await call.repository.mount(digest, source=named, readable=readable)
    except (BlobMissing, NameInvalid):
        return False
    return True


async def status(call: Call) -> Response:
    offset = await call.uploads.offset(call.upload)
    return Response(status_code=204, headers=_progress(call, call.upload, offset))


async def append(call: Call) -> Response:
    """PATCH: a chunk with Content-Range, or whatever comes without one."""
    offset = await call.uploads.append(call.upload, call.chunk())
    return Response(status_code=202, headers=_progress(call, call.upload, offset))


async def finish(call: Call) -> Response:
    """PUT: the last chunk, if the body has one, and the digest of all."""
    digest = call.query("digest")
    if digest is None:
        raise InvalidDigest("", "a closing PUT needs ?digest= with the digest of the whole blob")
    parsed = Digest.parse(digest)
    await call.uploads.finish(call.upload, parsed, call.chunk())
    return created(call, parsed)


async def cancel(call: Call) -> Response:
    await call.uploads.cancel(call.upload)
    return Response(status_code=204)


def created(call: Call, digest: Digest) -> Response:
    return Response(
        status_code=201,
        headers={
            "Location": call.path_to("blobs", str(digest)),
            "Docker-Content-Digest": str(digest),
        },
    )


def _progress(call: Call, upload: str, offset: int) -> dict[str, str]:
    """`Range` is inclusive, so that no bytes and one byte look alike; docker accepts nothing else."""
    return {
        "Location": call.path_to("blobs", "uploads", upload),
        "Range": f"0-{max(offset - 1, 0)}",
        "Docker-Upload-UUID": upload,
    }
