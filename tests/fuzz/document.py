"""docs/openapi.json, from the API's own tables and from what is said here about each operation.

`python -m tests.fuzz.document` writes it anew. Paths, methods, error codes and most statuses come from
registry/api; a route that is not described here, or a description without a route, is a KeyError.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.api import errors
from registry.api.manifests import MOST_TAGS
from registry.api.routes import ROUTES, Route
from registry.api.wire import MOST_ENTRIES
from registry.manifests import MEDIA_TYPES
from storage.digest import ALGORITHMS
from tests.api.rows import CODES

PAGE = Path(__file__).parents[2] / "docs" / "openapi.json"
Json = dict[str, Any]

_COMPONENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*"
_TAG = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
_DIGEST = "|".join(f"{name}:[a-f0-9]{{{known.hex_length}}}" for name, known in ALGORITHMS.items())
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_OCTETS = "application/octet-stream"
_INDEX = "application/vnd.oci.image.index.v1+json"
_FORM = "application/x-www-form-urlencoded"


def _text(pattern: str = "", **more: object) -> Json:
    return {"type": "string", **({"pattern": f"^(?:{pattern})$"} if pattern else {}), **more}


NAME, TAG, DIGEST, UUID = (
    _text(f"{_COMPONENT}(?:/{_COMPONENT})*", maxLength=255),
    _text(_TAG),
    _text(_DIGEST),
    _text(_UUID),
)
COUNT = {"type": "integer", "minimum": 0, "maximum": 999_999_999}

PATHS: Mapping[str, tuple[Json, str]] = {
    "name": (NAME, "The repository. Its slashes are sent as they are, never as %2F."),
    "reference": (_text(f"{_TAG}|{_DIGEST}"), "A tag, or a digest."),
    "digest": (DIGEST, "Of the blob."),
    "subject": (
        _text("[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", maxLength=255),
        "What is referred to.",
    ),
    "upload": (UUID, "The session, as the Location of its beginning has it."),
}
QUERIES: Mapping[str, tuple[Json, str]] = {
    "n": (COUNT, f"Entries of a page at most; never more than {MOST_ENTRIES} are sent."),
    "last": (_text(), "Where the page begins, as the Link before it says."),
    "artifactType": (_text(), "Only referrers of this type."),
    "ns": (_text(), "The registry that the repository is of, where this one keeps what upstreams have."),
    "digest": (DIGEST, "Of the whole blob."),
    "mount": (DIGEST, "A blob that is to be had from another repository."),
    "from": (NAME, "That repository; without it, any that may be read."),
    "digest-algorithm": (_text("|".join(ALGORITHMS)), "How the session's bytes will be named."),
    "tag": ({"type": "array", "items": TAG, "maxItems": MOST_TAGS}, "Tags that are set with the manifest."),
    "service": (_text(), "As the challenge has it."),
    "scope": ({"type": "array", "items": _text()}, "Such as repository:team/app:pull,push; may be repeated."),
    "account": (_text(), "Ignored: the Authorization says who asks."),
    "client_id": (_text(), "Ignored."),
    "offline_token": (_text(), "`true` asks for a refresh token."),
}
HEADERS: Mapping[str, tuple[Json, str]] = {
    "Range": (_text(), "RFC 9110, section 14: up to 1024 ranges, answered in their order."),
    "If-Range": (_text(), "The quoted digest; else Range is ignored."),
    "If-Match": (_text(), "The quoted digest of what must be there, or *."),
    "If-None-Match": (_text(), "The quoted digest of what must not be there, or *."),
    "Content-Range": (
        _text("[0-9]{1,19}-[0-9]{1,19}"),
        "First and last byte of the chunk: no unit, no size.",
    ),
    "Content-Type": (_text(), "The manifest's type; need not be sent if the manifest has its mediaType."),
}
ANSWERED: Mapping[str, tuple[Json, str]] = {
    "Docker-Content-Digest": (DIGEST, "Of the content."),
    "ETag": (_text(f'"(?:{_DIGEST})"'), "The quoted digest."),
    "Location": (_text("/v2/.*"), "Where it is: always without scheme and host."),
    "Range": (_text("0-[0-9]+"), "What has arrived, both ends included; 0-0 also for nothing."),
    "Docker-Upload-UUID": (UUID, "The session."),
    "Link": (_text('</v2/.*>; rel="next"'), "The next page, if there is one."),
    "Content-Range": (_text("bytes (?:[0-9]+-[0-9]+|\\*)/[0-9]+"), "Which part it is."),
    "OCI-Subject": (_text(), "The manifest's subject, of which it is listed as a referrer."),
    "OCI-Tag": (_text(), "The tags that were set by ?tag=."),
    "OCI-Filters-Applied": (_text("artifactType"), "The filter."),
    "Docker-Distribution-API-Version": (_text("registry/2\\.0"), ""),
    "WWW-Authenticate": (_text(), "How to log in."),
    "Retry-After": (_text("[0-9]+"), "Seconds."),
    "Allow": (_text(), "The methods that apply."),
    "OCI-Namespace": (_text(), "What ?ns= named, if that is an upstream."),
    "Cache-Status": (_text("oci-registry; .*"), "Whether an upstream's content was here (RFC 9211)."),
    "Warning": (_text("11[01] oci-registry .*"), "It is older than it should be."),
}
_FETCHED = ("OCI-Namespace", "Cache-Status")
MAY_LACK = frozenset(
    {
        *("Link", "OCI-Subject", "OCI-Tag", "OCI-Filters-Applied", "Content-Range", "Docker-Upload-UUID"),
        *("Range", "Warning", *_FETCHED),
    }
)

REASONS: Mapping[int, str] = {
    400: "What was sent cannot be taken: the message says why.",
    401: "Who asks has to say who it is.",
    403: "This actor may not.",
    404: "It is not here, or is of no interest to this actor.",
    405: "The method does not apply to this, or deleting is switched off, or something still refers to it.",
    408: "The request's head took too long.",
    409: "Somebody else is writing to the session.",
    412: "It is in another state than was asked for.",
    413: "The manifest is too large.",
    414: "The target is too long, or has too many tags.",
    415: "A Content-Encoding, which is not undone here.",
    416: "No such range, or not the next bytes of the session.",
    429: "Too much of it.",
    431: "The request's head is too large.",
    500: "A fault of the registry: the log has more under the same id.",
    502: "The upstream whose content this is failed: the message names it.",
    503: "Not now: the disk fails, the server stops or is short of memory.",
    507: "The disk is full.",
}
ALWAYS = (400, 401, 403, 408, 414, 415, 429, 431, 500, 503)
ERROR_HEADERS = {401: ("WWW-Authenticate",), 405: ("Allow",), 409: ("Retry-After",), 429: ("Retry-After",)}


@dataclass(frozen=True, slots=True)
class Answer:
    """`content` maps a media type to its schema; None: no body."""

    says: str
    headers: Sequence[str] = ()
    content: Json | None = None
    links: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    name: str
    says: str
    answers: Mapping[int, Answer]
    refusals: Sequence[int] = ()
    query: Sequence[str] = ()
    headers: Sequence[str] = ()
    body: Json | None = None


def _schema(name: str) -> Json:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


_BINARY: Json = {"schema": {"type": "string", "format": "binary"}}
_BYTES = {"content": {_OCTETS: _BINARY}}
_CONTENT = {_OCTETS: _BINARY, "multipart/byteranges": _BINARY}
_MANIFEST = {media_type: _schema("Manifest") for media_type in MEDIA_TYPES}
_SAME = ("Docker-Content-Digest", "ETag")
_SESSION = ("Location", "Range", "Docker-Upload-UUID")
_CREATED = Answer("The blob is stored.", ("Location", "Docker-Content-Digest"))
_UNCHANGED = Answer("The client has it.", _SAME)
_LINKS: Json = {
    f"{verb}Upload": {
        "operationId": f"{verb}Upload",
        "parameters": {
            "path.name": "$request.path.name",
            "path.upload": "$response.header.Docker-Upload-UUID",
        },
    }
    for verb in ("get", "append", "finish", "cancel")
}
_GOES_ON = Answer("The session goes on.", _SESSION, links=_LINKS)
_TOKEN = Answer(
    "The token, twice, as some clients read one name and some the other.",
    (),
    {"application/json": _schema("Token")},
)

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("/v2/", "GET"): Operation(
        "ping",
        "Whether this is a registry, and whether the credentials are good.",
        {
            200: Answer(
                "It is.",
                ("Docker-Distribution-API-Version",),
                {"application/json": {"schema": {"type": "object"}}},
            )
        },
    ),
    ("/v2/_catalog", "GET"): Operation(
        "listRepositories",
        "The repositories that may be read, in bytewise order.",
        {200: Answer("A page.", ("Link",), {"application/json": _schema("Catalog")})},
        query=("n", "last"),
    ),
    ("/v2/{name}/blobs/uploads/", "POST"): Operation(
        "beginUpload",
        "Begin an upload; or push a whole blob with ?digest=; or take it from elsewhere with ?mount=.",
        {201: _CREATED, 202: _GOES_ON},
        (404, 416, 507),
        ("digest", "mount", "from", "digest-algorithm"),
        ("Content-Range",),
        _BYTES,
    ),
    ("/v2/{name}/blobs/uploads/{upload}", "GET"): Operation(
        "getUpload", "How far a session is.", {204: _GOES_ON}, (404,)
    ),
    ("/v2/{name}/blobs/uploads/{upload}", "PATCH"): Operation(
        "appendUpload",
        "The next bytes.",
        {202: _GOES_ON},
        (404, 409, 416, 507),
        headers=("Content-Range",),
        body=_BYTES,
    ),
    ("/v2/{name}/blobs/uploads/{upload}", "PUT"): Operation(
        "finishUpload",
        "The last bytes, if any, and the digest of all.",
        {201: _CREATED},
        (404, 409, 416, 507),
        ("digest",),
        ("Content-Range",),
        _BYTES,
    ),
    ("/v2/{name}/blobs/uploads/{upload}", "DELETE"): Operation(
        "cancelUpload", "Give the session up.", {204: Answer("It is gone.")}, (404, 409)
    ),
    ("/v2/{name}/blobs/{digest}", "GET"): Operation(
        "getBlob",
        "A blob, or parts of it.",
        {
            200: Answer("All of it.", (*_SAME, *_FETCHED), {_OCTETS: _BINARY}),
            206: Answer("The parts.", (*_SAME, *_FETCHED, "Content-Range"), _CONTENT),
            304: _UNCHANGED,
        },
        (404, 412, 416, 502),
        ("ns",),
        headers=("Range", "If-Range", "If-Match", "If-None-Match"),
    ),
    ("/v2/{name}/blobs/{digest}", "DELETE"): Operation(
        "deleteBlob",
        "Take a blob out of the repository.",
        {202: Answer("It is gone.", ("Docker-Content-Digest",))},
        (404, 405),
    ),
    ("/v2/{name}/manifests/{reference}", "GET"): Operation(
        "getManifest",
        "A manifest, as it was pushed, whatever Accept says.",
        {200: Answer("The manifest.", (*_SAME, *_FETCHED, "Warning"), _MANIFEST), 304: _UNCHANGED},
        (404, 412, 502),
        ("ns",),
        headers=("If-Match", "If-None-Match"),
    ),
    ("/v2/{name}/manifests/{reference}", "PUT"): Operation(
        "putManifest",
        "Push a manifest, once all that it names is here.",
        {201: Answer("It is stored.", ("Location", "Docker-Content-Digest", "OCI-Subject", "OCI-Tag"))},
        (404, 412, 413, 507),
        ("tag",),
        ("If-Match", "If-None-Match"),
        {"content": {**_MANIFEST, "application/json": _schema("Manifest")}},
    ),
    ("/v2/{name}/manifests/{reference}", "DELETE"): Operation(
        "deleteManifest",
        "Delete a tag; or, by digest, a manifest and all its tags.",
        {202: Answer("It is gone.")},
        (404, 405, 412),
        headers=("If-Match", "If-None-Match"),
    ),
    ("/v2/{name}/tags/list", "GET"): Operation(
        "listTags",
        "The tags, in bytewise order.",
        {200: Answer("A page.", ("Link", *_FETCHED), {"application/json": _schema("Tags")})},
        (404, 502),
        ("n", "last", "ns"),
    ),
    ("/v2/{name}/referrers/{subject}", "GET"): Operation(
        "listReferrers",
        "What refers to a manifest, which need not be here.",
        {200: Answer("A page.", ("Link", "OCI-Filters-Applied", *_FETCHED), {_INDEX: _schema("Manifest")})},
        (404, 502),
        ("n", "last", "artifactType", "ns"),
    ),
}

_HEALTH = {200: Answer("It is.", (), {"application/json": _schema("Health")})}
_READY = {**_HEALTH, 503: Answer("It is not.", (), {"application/json": _schema("Health")})}
HEALTH: Mapping[str, Operation] = {
    "/healthz": Operation("getHealth", "Whether the process answers.", _HEALTH),
    "/livez": Operation("getLiveness", "The same.", _HEALTH),
    "/readyz": Operation("getReadiness", "Whether what is pushed can be stored.", _READY),
}
TOKEN: Mapping[str, Operation] = {
    "GET": Operation(
        "getToken",
        "A token for what may be done of what is asked for, for whom Basic names, or for anyone.",
        {200: _TOKEN},
        query=("service", "scope", "account", "client_id", "offline_token"),
    ),
    "POST": Operation(
        "postToken",
        "The same by a form (OAuth 2.0).",
        {200: _TOKEN},
        body={"required": True, "content": {_FORM: _schema("TokenForm")}},
    ),
}
"""There if the registry has users."""

_PAGE = {"type": "array", "items": _text()}
SCHEMAS: Json = {
    "Errors": {
        "type": "object",
        "required": ["errors"],
        "additionalProperties": False,
        "properties": {
            "errors": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["code", "message", "detail"],
                    "additionalProperties": False,
                    "properties": {
                        "code": {"enum": sorted(CODES | {code for _, code in errors.TABLE.values()})},
                        "message": _text(minLength=1),
                        "detail": {"type": "object"},
                    },
                },
            }
        },
    },
    "Catalog": {"type": "object", "required": ["repositories"], "properties": {"repositories": _PAGE}},
    "Tags": {"type": "object", "required": ["name", "tags"], "properties": {"name": NAME, "tags": _PAGE}},
    "Descriptor": {
        "type": "object",
        "required": ["mediaType", "digest", "size"],
        "properties": {
            "mediaType": _text(minLength=1, maxLength=255),
            "digest": PATHS["subject"][0],
            "size": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
            "artifactType": _text(maxLength=255),
            "annotations": {"type": "object", "additionalProperties": _text()},
            "urls": {"type": "array", "items": _text()},
            "data": _text(contentEncoding="base64"),
            "platform": {"type": "object"},
        },
    },
    "Manifest": {
        "type": "object",
        "properties": {
            "schemaVersion": {"const": 2},
            "mediaType": {"enum": list(MEDIA_TYPES)},
            "artifactType": _text(maxLength=255),
            "config": {"$ref": "#/components/schemas/Descriptor"},
            "subject": {"$ref": "#/components/schemas/Descriptor"},
            **{
                key: {"type": "array", "items": {"$ref": "#/components/schemas/Descriptor"}}
                for key in ("layers", "blobs", "manifests")
            },
            "annotations": {"type": "object", "additionalProperties": _text()},
        },
    },
    "Health": {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"enum": ["ok", "unready"]}, "why": _text()},
    },
    "Token": {
        "type": "object",
        "required": ["token", "access_token", "expires_in", "issued_at"],
        "properties": {
            "token": _text(),
            "access_token": _text(),
            "expires_in": {"type": "integer", "minimum": 1},
            "issued_at": _text(format="date-time"),
            "refresh_token": _text(),
        },
    },
    "TokenForm": {
        "type": "object",
        "required": ["grant_type"],
        "properties": {
            "grant_type": {"enum": ["password", "refresh_token"]},
            **{
                key: _text()
                for key in ("username", "password", "refresh_token", "service", "scope", "client_id")
            },
            "access_type": {"enum": ["offline", "online"]},
        },
    },
}


def template(route: Route) -> str:
    """A route's path as OpenAPI writes it."""
    return re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", route.pattern.pattern).replace("/?", "/")


def document() -> Json:
    paths = {template(route): _route(route) for route in ROUTES}
    paths |= {
        path: {"get": _operation(path, "GET", known), "head": _head(path, known)}
        for path, known in HEALTH.items()
    }
    paths["/token"] = {method.lower(): _operation("/token", method, known) for method, known in TOKEN.items()}
    unused = set(OPERATIONS) - {
        (path, method.upper()) for path, methods in paths.items() for method in methods
    }
    if unused:
        raise KeyError(unused)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The registry's API",
            "version": "1.1.1",
            "description": "The OCI distribution API, with the additions after it, and what goes beside it.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "responses": {f"E{status}": _refusal(status) for status in REASONS},
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{}, {"basic": []}, {"bearer": []}],
    }


def _route(route: Route) -> Json:
    path, found = template(route), {}
    for method in route.methods:
        described = OPERATIONS.get((path, method))
        if described:
            found[method.lower()] = _operation(path, method, described)
        else:
            assert method == "HEAD", (path, method)
            found["head"] = _head(path, OPERATIONS[path, "GET"])
    return found


def _head(path: str, of: Operation) -> Json:
    """As GET, without bodies. Of a HEAD, ranges mean nothing (RFC 9110, section 14.2)."""
    answers = {
        status: Answer(each.says, each.headers) for status, each in of.answers.items() if status != 206
    }
    headers = [name for name in of.headers if name not in ("Range", "If-Range")]
    refusals = [status for status in of.refusals if status != 416]
    described = Operation(f"{of.name}Head", of.says, answers, refusals, of.query, headers)
    return _operation(path, "HEAD", described)


def _operation(path: str, method: str, known: Operation) -> Json:
    parameters = [_parameter("path", name, PATHS) for name in re.findall(r"\{(\w+)\}", path)]
    parameters += [_parameter("query", name, QUERIES) for name in known.query]
    parameters += [_parameter("header", name, HEADERS) for name in known.headers if name != "Content-Type"]
    answers: Json = {str(status): _answer(each) for status, each in known.answers.items()}
    for status in sorted({*ALWAYS, *known.refusals} - set(known.answers)):
        answers[str(status)] = {"$ref": f"#/components/responses/E{status}"}
    body = {"requestBody": known.body} if known.body else {}
    said = {"operationId": known.name, "summary": known.says, "parameters": parameters}
    return {**said, **body, "responses": answers}


def _parameter(place: str, name: str, known: Mapping[str, tuple[Json, str]]) -> Json:
    schema, says = known[name]
    required = {"required": True} if place == "path" else {}
    return {"in": place, "name": name, **required, "description": says, "schema": schema}


def _answer(answer: Answer) -> Json:
    found: Json = {"description": answer.says}
    if answer.headers:
        found["headers"] = {name: _header(name, required=name not in MAY_LACK) for name in answer.headers}
    if answer.content:
        found["content"] = answer.content
    if answer.links:
        found["links"] = answer.links
    return found


def _header(name: str, *, required: bool) -> Json:
    schema, says = ANSWERED[name]
    return {"description": says, "required": required, "schema": schema}


def _refusal(status: int) -> Json:
    headers = {name: _header(name, required=False) for name in ERROR_HEADERS.get(status, ())}
    return {
        "description": REASONS[status],
        **({"headers": headers} if headers else {}),
        "content": {"application/json": _schema("Errors")},
    }


def render() -> str:
    return json.dumps(document(), indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
