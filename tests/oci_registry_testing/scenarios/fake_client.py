"""`python fake_client.py MANNER VERB …`: a client that behaves as its manner says, in as few lines as can be.

honest: checks every digest, goes on by Range, waits for Retry-After. careless: checks nothing, and says that
all is well. sleepy: does nothing, for ever; noted: the same, and a file tells when. lost: ends with 3.
"""

import hashlib
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

IMAGE = "application/vnd.oci.image.manifest.v1+json"
TRIES = 5


def main(manner: str, verb: str, *rest: str) -> int:
    match manner:
        case "lost":
            return 3
        case "sleepy":
            time.sleep(600)
        case "noted":
            Path(verb).touch()
            time.sleep(600)
        case "careless":
            try:
                VERBS[verb](*rest, careless=True)
            except Exception as error:
                print(error)
            return 0
    VERBS[verb](*rest)
    return 0


def pull(image: str, out: str, *, careless: bool = False) -> None:
    host, repository, tag = split(image)
    base = f"http://{host}/v2/{repository}"
    raw = get(f"{base}/manifests/{tag}", {"Accept": IMAGE})
    for named in json.loads(raw)["layers"]:
        data = get(f"{base}/blobs/{named['digest']}", {})
        if not careless and f"sha256:{hashlib.sha256(data).hexdigest()}" != named["digest"]:
            raise SystemExit(f"{named['digest']} has other bytes")
        Path(out, named["digest"][7:]).write_bytes(data)


def push(layout: str, image: str, *, careless: bool = False) -> None:
    host, repository, tag = split(image)
    base = f"http://{host}/v2/{repository}"
    (listed,) = json.loads(Path(layout, "index.json").read_bytes())["manifests"]
    blobs = {file.name: file.read_bytes() for file in Path(layout, "blobs", "sha256").iterdir()}
    manifest = blobs.pop(listed["digest"][7:])
    for name, data in blobs.items():
        with ask(f"{base}/blobs/uploads/", {}, "POST", b"") as answer:
            place = answer.headers["Location"]
        with ask(f"http://{host}{place}?digest=sha256:{name}", {}, "PUT", data):
            pass
    with ask(f"{base}/manifests/{tag}", {"Content-Type": IMAGE}, "PUT", manifest):
        pass


def attach(image: str, file: str, kind: str, *, careless: bool = False) -> None:
    host, repository, tag = split(image)
    base, data = f"http://{host}/v2/{repository}", Path(file).read_bytes()
    subject = described(get(f"{base}/manifests/{tag}", {"Accept": IMAGE}), IMAGE)
    for each in (data, b"{}"):
        with ask(f"{base}/blobs/uploads/?digest={described(each)['digest']}", {}, "POST", each):
            pass
    body = {"schemaVersion": 2, "mediaType": IMAGE, "artifactType": kind, "subject": subject}
    raw = json.dumps({**body, "config": described(b"{}"), "layers": [described(data)]}).encode()
    target = f"{base}/manifests/{described(raw)['digest']}"
    with ask(target, {"Content-Type": IMAGE}, "PUT", raw):
        pass


def referrers(image: str, kind: str, *, careless: bool = False) -> None:
    host, repository, tag = split(image)
    base = f"http://{host}/v2/{repository}"
    subject = described(get(f"{base}/manifests/{tag}", {"Accept": IMAGE}))
    listed = json.loads(get(f"{base}/referrers/{subject['digest']}?artifactType={kind}", {}))["manifests"]
    print("\n".join(each["digest"] for each in listed if careless or each["artifactType"] == kind))


def described(data: bytes, kind: str = "application/octet-stream") -> dict[str, object]:
    return {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def tags(repository: str, *, careless: bool = False) -> None:
    host, _, name = repository.partition("/")
    print("\n".join(json.loads(get(f"http://{host}/v2/{name}/tags/list", {}))["tags"]))


def get(url: str, fields: Mapping[str, str]) -> bytes:
    """All of it, however often it breaks off."""
    data = b""
    for _ in range(TRIES):
        more = {"Range": f"bytes={len(data)}-"} if data else {}
        with ask(url, {**fields, **more}) as answer:
            try:
                return data + answer.read()
            except http.client.IncompleteRead as error:
                data += error.partial
    raise SystemExit(f"{url} breaks off")


def ask(
    url: str, fields: Mapping[str, str], method: str = "GET", body: bytes | None = None
) -> http.client.HTTPResponse:
    for left in reversed(range(TRIES)):
        request = urllib.request.Request(url, body, dict(fields), method=method)
        try:
            answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=20)
            return answer
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503) or not left:
                raise
            time.sleep(float(error.headers.get("Retry-After", "0.05")))
    raise SystemExit("never")


def split(image: str) -> tuple[str, str, str]:
    host, _, rest = image.partition("/")
    repository, _, tag = rest.rpartition(":")
    return host, repository, tag


VERBS: Mapping[str, Callable[..., None]] = {
    "pull": pull,
    "push": push,
    "tags": tags,
    "attach": attach,
    "referrers": referrers,
}

if __name__ == "__main__":
    os.environ["no_proxy"] = "*"
    sys.exit(main(*sys.argv[1:]))
