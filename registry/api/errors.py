"""Every fact that can be raised, with its status and OCI code; and the one place that writes an error.

The codes are the fourteen of the specification ("Error Codes"), and UNKNOWN for what is our fault.
"""

import errno
import json
import math
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from registry.api.ranges import InvalidContentRange, Unsatisfiable
from registry.cache.routing import NamespaceUnknown
from registry.errors import (
    ConditionInvalid,
    Denied,
    ManifestInvalid,
    ManifestTooLarge,
    NameInvalid,
    RegistryError,
    TagImmutable,
    TagInvalid,
    TooManyRequests,
    Unauthenticated,
    Unsupported,
)
from registry.upstream.errors import (
    UpstreamAstray,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamForged,
    UpstreamHeadless,
    UpstreamMissing,
)
from storage import errors as store


class RouteMissing(RegistryError):
    def __init__(self, path: str) -> None:
        super().__init__(f"{path[:200]!r} is no path of the distribution API, which begins with /v2/")


class MethodUnknown(RegistryError):
    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method[:20]} does not apply here, but {allowed} do")
        self.allowed = allowed


class PageInvalid(RegistryError):
    """A listing's `n` or `last` that cannot be read."""


class FieldRepeated(RegistryError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"the request has more than one {name} header: two readers might take different ones"
        )


class EncodingUnsupported(RegistryError):
    def __init__(self, encoding: str) -> None:
        super().__init__(f"Content-Encoding {encoding[:40]!r} is not undone here: send the bytes as they are")


class Stopping(RegistryError):
    def __init__(self) -> None:
        super().__init__("the server is stopping: an upload keeps what arrived and goes on when it is back")


class TooManyTags(RegistryError):
    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"the request has {count} tag parameters, {limit} are allowed: send more requests")


class CrossOrigin(RegistryError):
    def __init__(self, origin: str) -> None:
        super().__init__(
            f"a page of {origin[:80]!r} may not write here: only clients that are no browsers do"
        )


class ForeignName(RegistryError):
    def __init__(self, host: str) -> None:
        super().__init__(
            f"a browser asks for {host[:80]!r}, and this registry listens for its own machine only: "
            "ask for localhost or 127.0.0.1 instead"
        )


class Busy(RegistryError):
    """Too much is held in memory for others at the moment."""


class Scarce(RegistryError):
    def __init__(self) -> None:
        super().__init__("the server is short of memory or of descriptors: try again")


class LengthMismatch(RegistryError):
    def __init__(self, announced: int, length: int) -> None:
        super().__init__(f"Content-Range spans {announced} bytes, Content-Length says {length}")


class HostInvalid(RegistryError):
    def __init__(self) -> None:  # what it was is not repeated, wherever an answer may be shown
        super().__init__("the Host header cannot be read: expected a name or an address, and perhaps a port")


class OriginUnclear(RegistryError):
    def __init__(self) -> None:
        super().__init__(
            "X-Forwarded-For and Forwarded name different clients: send neither; "
            "a proxy has to write one of them and to clear the other"
        )


class FormInvalid(RegistryError):
    """What was posted for a token is no form that can be read."""


class BodyMalformed(RegistryError):
    def __init__(self, why: str) -> None:
        super().__init__(f"the request's body cannot be read: {why}")


CLIENT_GONE = 499

TABLE: Mapping[type[Exception], tuple[int, str]] = {
    store.InvalidDigest: (400, "DIGEST_INVALID"),
    store.BlobMissing: (404, "BLOB_UNKNOWN"),
    store.BlobReferenced: (405, "UNSUPPORTED"),
    store.ReferencesMissing: (400, "MANIFEST_BLOB_UNKNOWN"),
    store.ManifestMissing: (404, "MANIFEST_UNKNOWN"),
    store.RepositoryMissing: (404, "NAME_UNKNOWN"),
    store.UploadMissing: (404, "BLOB_UPLOAD_UNKNOWN"),
    store.UploadBusy: (409, "BLOB_UPLOAD_INVALID"),
    store.UploadSealed: (409, "BLOB_UPLOAD_INVALID"),
    store.WrongOffset: (416, "BLOB_UPLOAD_INVALID"),
    store.WrongLength: (400, "SIZE_INVALID"),
    store.DigestMismatch: (400, "DIGEST_INVALID"),
    store.PreconditionFailed: (412, "DENIED"),
    store.QuotaExceeded: (403, "DENIED"),
    store.TooManyUploads: (429, "TOOMANYREQUESTS"),
    store.StoreFull: (507, "UNKNOWN"),
    store.StoreDegraded: (503, "UNKNOWN"),
    ConditionInvalid: (400, "UNSUPPORTED"),
    Denied: (403, "DENIED"),
    ManifestInvalid: (400, "MANIFEST_INVALID"),
    ManifestTooLarge: (413, "MANIFEST_INVALID"),
    NameInvalid: (400, "NAME_INVALID"),
    NamespaceUnknown: (404, "NAME_UNKNOWN"),
    UpstreamMissing: (404, "NAME_UNKNOWN"),
    UpstreamHeadless: (404, "NAME_UNKNOWN"),
    UpstreamDenied: (404, "NAME_UNKNOWN"),
    UpstreamBusy: (429, "TOOMANYREQUESTS"),
    UpstreamFailed: (502, "UNKNOWN"),
    UpstreamAstray: (502, "UNKNOWN"),
    UpstreamForged: (502, "UNKNOWN"),
    TagImmutable: (403, "DENIED"),
    TagInvalid: (400, "MANIFEST_INVALID"),
    TooManyRequests: (429, "TOOMANYREQUESTS"),
    Unauthenticated: (401, "UNAUTHORIZED"),
    Unsupported: (405, "UNSUPPORTED"),
    InvalidContentRange: (416, "BLOB_UPLOAD_INVALID"),
    Unsatisfiable: (416, "UNSUPPORTED"),
    RouteMissing: (404, "UNSUPPORTED"),
    MethodUnknown: (405, "UNSUPPORTED"),
    PageInvalid: (400, "UNSUPPORTED"),
    FieldRepeated: (400, "UNSUPPORTED"),
    EncodingUnsupported: (415, "UNSUPPORTED"),
    LengthMismatch: (400, "SIZE_INVALID"),
    TooManyTags: (414, "UNSUPPORTED"),
    CrossOrigin: (403, "DENIED"),
    ForeignName: (403, "DENIED"),
    BodyMalformed: (400, "UNSUPPORTED"),
    HostInvalid: (400, "UNSUPPORTED"),
    OriginUnclear: (400, "UNSUPPORTED"),
    FormInvalid: (400, "UNSUPPORTED"),
    Busy: (503, "UNKNOWN"),
    Scarce: (503, "UNKNOWN"),
    Stopping: (503, "UNKNOWN"),
    ClientDisconnect: (CLIENT_GONE, "UNKNOWN"),
}


_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def fact_of(error: Exception) -> Exception:
    """What an error of the machine says to a client: another moment, the same request may be served."""
    scarce = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SCARCE)
    return Scarce() if scarce else error


def look_up(error: Exception) -> tuple[int, str]:
    """Status and code of an error, by the nearest class of the table; 500 for what it does not know."""
    for base in type(error).__mro__:
        if base in TABLE:
            return TABLE[base]
    return 500, "UNKNOWN"


def render(error: Exception, *, request_id: str) -> Response:
    """The OCI error answer. What is not in the table shows its request id and nothing of the inside."""
    status, code = look_up(error)
    message = str(error) if status != 500 else f"internal error; the log tells more under id {request_id}"
    if isinstance(error, store.ReferencesMissing):
        entries = [
            {"code": code, "message": f"{digest}: {why}", "detail": {"digest": digest}}
            for digest, why in error.missing
        ]
    else:
        entries = [{"code": code, "message": message, "detail": _detail(error, status, request_id)}]
    body = json.dumps({"errors": entries}).encode()
    headers = {"Content-Type": "application/json", **_headers(error, status)}
    return Response(body, status_code=status, headers=headers)


def _detail(error: Exception, status: int, request_id: str) -> dict[str, object]:
    if status >= 500:
        return {"id": request_id}
    match error:
        case store.DigestMismatch():
            return {"expected": error.expected, "actual": error.actual}
        case store.WrongOffset() | store.WrongLength():
            return {"expected": error.expected, "actual": error.actual}
        case store.BlobReferenced():
            return {"digest": error.digest, "parents": error.parents}
        case store.BlobMissing():
            return {"digest": error.digest}
        case store.QuotaExceeded():
            return {"quota": error.quota, "limit": error.most, "used": error.held, "needed": error.wanted}
        case store.ManifestMissing():
            return {"reference": error.reference}
        case _:
            return {}


def _headers(error: Exception, status: int) -> dict[str, str]:
    match error:
        case MethodUnknown():
            return {"Allow": error.allowed}
        case TooManyRequests():
            return {"Retry-After": str(error.retry_after)}
        case UpstreamBusy() | UpstreamFailed() if error.retry_after is not None:
            return {"Retry-After": str(max(math.ceil(error.retry_after), 1))}
        case Unsatisfiable():
            return {"Content-Range": f"bytes */{error.size}"}
        case store.WrongOffset():
            return {"Range": f"0-{max(error.expected - 1, 0)}", "Docker-Upload-UUID": error.upload}
        case _:
            return {"Retry-After": "5"} if status in (409, 429, 503) else {}
