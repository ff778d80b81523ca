"""Random stories over the whole API beside a model in plain dictionaries, compared after every step."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from starlette.types import Message

from registry.app import build
from registry.fsck import read
from registry.settings import Settings
from storage.check import check
from storage.store import open_store
from tests.api.model import BLOBS, BY_DIGEST, MANIFESTS, SUBJECTS, Model, Repository
from tests.api.rows import assert_error_body
from tests.builders import OCI_INDEX
from tests.inprocess import Answer, ask

NAMES = ("app", "app/blobs")
TAGS = ("latest", "V1", "v1.0")
names, tags = st.sampled_from(NAMES), st.sampled_from(TAGS)
blobs, manifests = st.sampled_from(sorted(BLOBS)), st.sampled_from(sorted(MANIFESTS))


def pick(digests: set[str], number: int) -> str:
    """One of them, or "" if there is none or the number is 0, so that absent ones are tried too."""
    return sorted(digests)[number % len(digests)] if digests and number else ""


class RegistryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="registry-model-"))
        self.model = Model({name: Repository() for name in NAMES})
        self.open()

    def open(self) -> None:
        self.store = open_store(str(self.folder / "root"), durable=False)
        self.app = build(self.store, Settings(root=self.store.layout.root, access_log=False))

    def teardown(self) -> None:
        try:
            report = self.loop.run_until_complete(check(self.store, read=read))
            assert report.sound, report.findings
            assert report.uploads == len(self.model.uploads)
        finally:
            self.store.close()
            self.loop.close()
            shutil.rmtree(self.folder)

    # -- talking to it -----------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        broken: bool = False,
    ) -> Answer:
        return self.loop.run_until_complete(self.ask(method, path, query, body, headers or {}, broken=broken))

    async def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        broken: bool = False,
    ) -> Answer:
        """`broken`: the client is gone when half of the body has come."""
        chunks: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        if broken:
            half = {"type": "http.request", "body": body[: len(body) // 2], "more_body": True}
            chunks = [half, {"type": "http.disconnect"}]
        pairs = {"content-length": str(len(body)), **headers}
        return await ask(
            self.app,
            method,
            f"/v2/{path}".encode(),
            query=query.encode(),
            headers=[(name.encode(), value.encode()) for name, value in pairs.items()],
            body=chunks,
        )

    def done(self, answer: Answer, status: int, code: str = "") -> None:
        assert answer.status == status, f"expected {status} {code}, got {answer.status} {answer.body!r}"
        if code:
            assert_error_body(answer.body, code)

    def upload(self, number: int) -> tuple[str, str, bytes]:
        """One of the open sessions: its id, its repository, its bytes."""
        upload = sorted(self.model.uploads)[number % len(self.model.uploads)]
        return (upload, *self.model.uploads[upload])

    # -- blobs -------------------------------------------------------------------------------------------

    @rule(name=names, blob=blobs, how=st.sampled_from(("whole", "broken off", "under a wrong digest")))
    def push_blob(self, name: str, blob: str, how: str) -> None:
        """In one POST."""
        item = BLOBS[blob]
        broken = how == "broken off" and len(item.data) > 1
        named = BLOBS["config" if blob == "layer" else "layer"] if how == "under a wrong digest" else item
        path, query = f"{name}/blobs/uploads/", f"digest={named.digest}"
        answer = self.send("POST", path, query, body=item.data, broken=broken)
        if broken:
            self.done(answer, 0)
        elif named is not item:
            self.done(answer, 400, "DIGEST_INVALID")
        else:
            self.done(answer, 201)
            self.model.repositories[name].blobs.add(item.digest)

    @rule(name=names)
    def begin_upload(self, name: str) -> None:
        answer = self.send("POST", f"{name}/blobs/uploads/")
        self.done(answer, 202)
        self.model.uploads[answer.headers["docker-upload-uuid"]] = (name, b"")

    @precondition(lambda self: self.model.uploads)
    @rule(
        number=st.integers(0, 5),
        blob=blobs,
        size=st.integers(1, 150),
        how=st.sampled_from(("plain", "ranged", "broken off", "too early", "too late")),
    )
    def send_chunk(self, number: int, blob: str, size: int, how: str) -> None:
        """The next bytes of a blob, if the session's bytes are its first; else of what never becomes one."""
        upload, name, have = self.upload(number)
        chunk = BLOBS[blob].data.removeprefix(have)[:size] or b"no blob has this"
        start = len(have) + {"too early": -1, "too late": 1}.get(how, 0)
        headers = (
            {"content-range": f"{start}-{start + len(chunk) - 1}"} if start >= 0 and how != "plain" else {}
        )
        path, broken = f"{name}/blobs/uploads/{upload}", how == "broken off"
        answer = self.send("PATCH", path, body=chunk, broken=broken, headers=headers)
        if headers and start != len(have):
            self.done(answer, 416, "BLOB_UPLOAD_INVALID")
            return
        self.done(answer, 0 if broken else 202)
        self.model.uploads[upload] = (name, have + (chunk[: len(chunk) // 2] if broken else chunk))

    @precondition(lambda self: self.model.uploads)
    @rule(
        number=st.integers(0, 5),
        blob=blobs,
        how=st.sampled_from(("by PUT", "by PATCH and PUT", "with too much", "not at all")),
    )
    def end_upload(self, number: int, blob: str, how: str) -> None:
        """As a blob, with what it still lacks, if the session's bytes are its first; or cancelled."""
        upload, name, have = self.upload(number)
        item, path = BLOBS[blob], f"{name}/blobs/uploads/{upload}"
        if how == "not at all":
            self.done(self.send("DELETE", path), 204)
            del self.model.uploads[upload]
            return
        rest = item.data[len(have) :] + (b"!" if how == "with too much" else b"")
        if rest and how == "by PATCH and PUT":
            self.done(self.send("PATCH", path, body=rest), 202)
            have, rest = have + rest, b""
            self.model.uploads[upload] = (name, have)
        answer = self.send("PUT", path, f"digest={item.digest}", body=rest)
        if have + rest != item.data:
            self.done(answer, 400, "DIGEST_INVALID")
            return
        self.done(answer, 201)
        del self.model.uploads[upload]
        self.model.repositories[name].blobs.add(item.digest)

    @rule(name=names, blob=blobs, source=st.sampled_from((*NAMES, "none", "")))
    def mount(self, name: str, blob: str, source: str) -> None:
        digest, known = BLOBS[blob].digest, self.model.repositories
        query = f"mount={digest}&from={source}" if source else f"mount={digest}"
        answer = self.send("POST", f"{name}/blobs/uploads/", query)
        sources = [known[source]] if source in known else [] if source else known.values()
        if any(digest in place.blobs for place in sources):
            self.done(answer, 201)
            known[name].blobs.add(digest)
        else:
            self.done(answer, 202)
            self.model.uploads[answer.headers["docker-upload-uuid"]] = (name, b"")

    # -- manifests ---------------------------------------------------------------------------------------

    def complete(self, name: str, digest: str) -> None:
        """Push everything that a manifest needs, and what that needs."""
        for child in sorted(self.model.repositories[name].missing(BY_DIGEST[digest])):
            item = BY_DIGEST[child]
            if item.name in BLOBS:
                self.push_blob(name, item.name, "whole")
            else:
                self.complete(name, child)
                self.done(self.send("PUT", f"{name}/manifests/{child}", body=item.data), 201)
                self.model.repositories[name].manifests.add(child)

    @rule(
        name=names,
        manifest=manifests,
        tag=st.sampled_from((*TAGS, "")),
        more=st.lists(tags, max_size=2),
        complete=st.booleans(),
        if_tag=st.sampled_from(("", "", "exists", "is new", "is as it is", "is another")),
    )
    def push_manifest(
        self, name: str, manifest: str, tag: str, more: list[str], complete: bool, if_tag: str
    ) -> None:
        """By digest if there is no tag; `more` go into `?tag=`; under a condition on each of these tags."""
        item, repository = MANIFESTS[manifest], self.model.repositories[name]
        tag = tag if item.algorithm == "sha256" else ""  # a digest made for a tag is always sha256
        moved = list(dict.fromkeys([*([tag] if tag else []), *more]))
        if complete:
            self.complete(name, item.digest)
        now = [repository.tags.get(each) for each in moved] or [
            item.digest if item.digest in repository.manifests else None
        ]
        other = MANIFESTS["cache" if now[0] != MANIFESTS["cache"].digest else "first"].digest
        headers, met = {
            "": ({}, True),
            "exists": ({"if-match": "*"}, all(now)),
            "is new": ({"if-none-match": "*"}, not any(now)),
            "is as it is": ({"if-match": f'"{now[0]}"'}, now[0] is not None and {*now} == {now[0]}),
            "is another": ({"if-match": f'"{other}"'}, {*now} == {other}),
        }[if_tag]
        query = "&".join(f"tag={extra}" for extra in more)
        path = f"{name}/manifests/{tag or item.digest}"
        answer = self.send("PUT", path, query, body=item.data, headers=headers)
        if repository.missing(item):
            self.done(answer, 400, "MANIFEST_BLOB_UNKNOWN")
            listed = {error["detail"]["digest"] for error in json.loads(answer.body)["errors"]}
            assert listed == repository.missing(item)
            return
        if not met:
            self.done(answer, 412, "DENIED")
            return
        self.done(answer, 201)
        assert answer.headers["docker-content-digest"] == item.digest
        assert answer.headers.get("oci-subject", "") == item.subject
        assert answer.headers.get("oci-tag", "") == ", ".join(more)
        repository.manifests.add(item.digest)
        repository.tags |= dict.fromkeys(moved, item.digest)

    @rule(name=names, manifest=manifests, wrong=manifests, tag=tags)
    def push_manifest_under_a_wrong_digest(self, name: str, manifest: str, wrong: str, tag: str) -> None:
        if MANIFESTS[manifest].data == MANIFESTS[wrong].data:
            return
        path = f"{name}/manifests/{MANIFESTS[wrong].digest}"
        answer = self.send("PUT", path, f"tag={tag}", body=MANIFESTS[manifest].data)
        self.done(answer, 400, "DIGEST_INVALID")

    # -- deletes -----------------------------------------------------------------------------------------

    @rule(name=names, kind=st.sampled_from(("blobs", "manifests", "tag")), number=st.integers(0, 8))
    def delete(self, name: str, kind: str, number: int) -> None:
        """Something that is there; number 0 stands for what may not be."""
        repository = self.model.repositories[name]
        if kind == "tag":
            tag = pick(set(repository.tags), number) or TAGS[0]
            answer = self.send("DELETE", f"{name}/manifests/{tag}")
            gone = repository.tags.pop(tag, None)
            self.done(answer, 202 if gone else 404, "" if gone else "MANIFEST_UNKNOWN")
            return
        there = repository.blobs if kind == "blobs" else repository.manifests
        absent = BLOBS["layer"].digest if kind == "blobs" else MANIFESTS["first"].digest
        digest = pick(there, number) or absent
        answer = self.send("DELETE", f"{name}/{kind}/{digest}")
        if digest not in there:
            self.done(answer, 404, "BLOB_UNKNOWN" if kind == "blobs" else "MANIFEST_UNKNOWN")
        elif repository.parents(digest):
            self.done(answer, 405, "UNSUPPORTED")
        elif kind == "blobs":
            self.done(answer, 202)
            repository.blobs.remove(digest)
        else:
            self.done(answer, 202)
            repository.drop_manifest(digest)

    @rule(name=names)
    def delete_all(self, name: str) -> None:
        """Indexes before what they name, manifests before blobs: then nothing is refused."""
        repository = self.model.repositories[name]
        while repository.manifests:
            digest = next(digest for digest in sorted(repository.manifests) if not repository.parents(digest))
            self.done(self.send("DELETE", f"{name}/manifests/{digest}"), 202)
            repository.drop_manifest(digest)
        for digest in sorted(repository.blobs):
            self.done(self.send("DELETE", f"{name}/blobs/{digest}"), 202)
        repository.blobs.clear()

    # -- the rest ----------------------------------------------------------------------------------------

    @initialize(filled=st.lists(st.tuples(names, manifests, tags), max_size=6))
    def begin_with(self, filled: list[tuple[str, str, str]]) -> None:
        """Some stories begin in a registry that has seen others."""
        for name, manifest, tag in filled:
            self.push_manifest(name, manifest, tag, [], complete=True, if_tag="")

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @rule(name=names, n=st.integers(1, 3))
    def walk_the_tags(self, name: str, n: int) -> None:
        found: list[str] = []
        last = ""
        while True:
            answer = self.send("GET", f"{name}/tags/list", f"n={n}&last={last}")
            if not self.model.repositories[name].exists:
                self.done(answer, 404, "NAME_UNKNOWN")
                return
            page = json.loads(answer.body)["tags"]
            found += page
            if "link" not in answer.headers:
                break
            assert len(page) == n
            last = page[-1]
        assert found == sorted(self.model.repositories[name].tags)

    def expected(self) -> Iterator[tuple[str, int, Mapping[str, str], bytes | None]]:
        """Everything that can be asked: path, status, headers, and the body where there is a good one."""
        for name, repository in self.model.repositories.items():
            for item in (*BLOBS.values(), *MANIFESTS.values()):
                kind, there = (
                    ("blobs", repository.blobs) if item.name in BLOBS else ("manifests", repository.manifests)
                )
                yield self.content(
                    f"{name}/{kind}/{item.digest}", item.digest if item.digest in there else None
                )
            for tag in TAGS:
                yield self.content(f"{name}/manifests/{tag}", repository.tags.get(tag))
            listed = json.dumps({"name": name, "tags": sorted(repository.tags)}).encode()
            yield f"{name}/tags/list", *((200, {}, listed) if repository.exists else (404, {}, None))
            for subject in SUBJECTS:
                yield (
                    f"{name}/referrers/{subject}",
                    200,
                    {"content-type": OCI_INDEX},
                    referrers(repository, subject),
                )
        yield "_catalog", 200, {}, json.dumps({"repositories": self.model.catalog()}).encode()
        for upload, (name, data) in self.model.uploads.items():
            offset = {"range": f"0-{max(len(data) - 1, 0)}"}
            for other in NAMES:
                status = 204 if other == name else 404
                yield f"{other}/blobs/uploads/{upload}", status, offset if other == name else {}, None

    def content(self, path: str, digest: str | None) -> tuple[str, int, Mapping[str, str], bytes | None]:
        if digest is None:
            return path, 404, {}, None
        item = BY_DIGEST[digest]
        headers = {
            "content-type": item.media_type,
            "content-length": str(len(item.data)),
            "docker-content-digest": digest,
            "etag": f'"{digest}"',
        }
        return path, 200, headers, item.data

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        self.loop.run_until_complete(self.compare())
        assert set(os.listdir(self.store.layout.uploads)) == set(self.model.uploads)

    async def compare(self) -> None:
        for path, status, headers, body in self.expected():
            for method in ("GET", "HEAD"):
                answer = await self.ask(method, path)
                assert answer.status == status, f"{method} {path}: {answer.status}, the model says {status}"
                shown = {name: answer.headers.get(name) for name in headers}
                assert shown == headers, f"{method} {path}"
                if method == "HEAD" or body is not None:
                    assert answer.body == (body if method == "GET" else b""), f"{method} {path}"


def referrers(repository: Repository, subject: str) -> bytes:
    """The exact index that lists them."""
    listed = []
    for item in map(BY_DIGEST.__getitem__, repository.referrers(subject)):
        own = {"mediaType": item.media_type, "digest": item.digest, "size": len(item.data)}
        listed.append(json.dumps(own | ({"artifactType": item.artifact_type} if item.artifact_type else {})))
    return f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{",".join(listed)}]}}'.encode()


TestRegistry = pytest.mark.timeout(600)(RegistryMachine.TestCase)
TestRegistry.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
