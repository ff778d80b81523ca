"""Clients that push, look before they push, mount, retag and delete while garbage is collected beside them.

Each does to a repository of its own what build tools do: it asks whether a layer is here, and leaves the
push out if it is. What the server then says of the manifest, and of a pull of it, is the test. A client
leaves each repository alone for longer than a grace before it comes back, or nothing would ever be swept.
"""

import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from storage.digest import Digest
from tests.builders import OCI_CONFIG, OCI_IMAGE, OCI_INDEX, blob, descriptor, image, index

LAYERS = [blob(2000 + 977 * number, number) for number in range(10)]
CONFIGS = [b'{"os":"linux","number":%d}' % number for number in range(6)]
PAYLOADS = [blob(200 + number, number) for number in range(20)]
TIMEOUT = 20.0  # seconds
LONGER = 60.0  # seconds, where the machine is slow
LATE = "too late"
_SBOM = "application/vnd.example.sbom"

Pushed = tuple[bytes, Sequence[bytes]]
"""A manifest, and all that it names."""


@dataclass(slots=True)
class Home:
    """A repository and what must be there: tag → the digest it names, digest → content; `left` since when.

    `referrers` and `signatures` are by the digest that they refer to.
    """

    name: str
    tags: dict[str, str] = field(default_factory=dict)
    images: dict[str, Pushed] = field(default_factory=dict)
    referrers: dict[str, Pushed] = field(default_factory=dict)
    signatures: dict[str, Pushed] = field(default_factory=dict)
    left: float = 0.0


@dataclass(slots=True)
class Tally:
    """`events` by kind; `wrong` is what no client may see."""

    events: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Pusher:
    """One connection, some repositories. `patience`: how long it may think between a look and its use.

    `promise`: how long what it was told stays true. Where the machine is so slow that it comes back later,
    what no tag keeps may be gone, and it is told so: those are counted, and are to be few.
    """

    def __init__(self, host: str, number: int, seed: object, *, patience: float, promise: float) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
        self._random = random.Random(f"{seed}/{number}")
        self._patience, self._promise = patience, promise
        self._begun = time.monotonic()  # when the step began: all that it goes by was told later
        self._homes = [Home(f"client{number}/{place}") for place in range(7)]
        self._home = self._homes[0]
        self._location, self._said = "", b""  # of the last answer
        self.tally = Tally()

    def work(self, seconds: float, enough: Callable[[], bool]) -> None:
        """Go from repository to repository, always to the one left longest; then look at everything.

        For so long, and then until it is `enough`, but not for ever.
        """
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end or (not enough() and time.monotonic() < end + LONGER):
                self._home = min(self._homes, key=lambda home: home.left)
                burst = time.monotonic() + self._random.uniform(0.2, 0.5)
                self._lean()
                while time.monotonic() < burst:
                    self._step()
                self._check(2)
                self._home.left = time.monotonic()
            for home in self._homes:
                self._home = home
                self._check(len(home.tags))
        except (OSError, http.client.HTTPException) as error:
            self.tally.wrong.append(f"a request without an answer: {error!r}")
        finally:
            self.close()

    def close(self) -> None:
        self._connection.close()

    def _step(self) -> None:
        self._begun = time.monotonic()
        pushes = (self._push, self._retag, self._index)
        deletes = (self._untag, self._untag, self._delete, self._delete, self._take_blob)
        self._random.choice((*pushes, self._refer, self._sign, self._pull_index, *deletes))()

    # -- what it does --------------------------------------------------------------------------------

    def _push(self) -> None:
        layers = self._random.sample(LAYERS, self._random.randrange(1, 5))
        config = self._random.choice(CONFIGS)
        for content in (*layers, config):
            self._bring(content)
        self._put(self._image(config, layers), OCI_IMAGE, self._tag(), [*layers, config], "push")

    def _lean(self) -> None:
        """A manifest of what is found here alone, in a repository that was quiet: no upload protects it."""
        contents = [self._random.choice(CONFIGS), *self._random.sample(LAYERS, self._random.randrange(1, 3))]
        own = f"/v2/{self._home.name}"
        self._begun = time.monotonic()
        if any(self._ask("HEAD", f"{own}/blobs/{Digest.of(content)}") != 200 for content in contents):
            return
        if self._random.random() < 0.3:
            time.sleep(self._random.uniform(self._patience / 2, self._patience))
        self.lean_on(contents)

    def lean_on(self, contents: Sequence[bytes]) -> None:
        config, *layers = contents
        self._put(self._image(config, layers), OCI_IMAGE, self._tag(), contents, "leaning push")

    def _image(self, config: bytes, layers: Sequence[bytes]) -> bytes:
        """A manifest that nobody has made before."""
        number = str(self._random.randrange(10**12))
        described = [descriptor(layer) for layer in layers]
        return image(descriptor(config, OCI_CONFIG), described, annotations={"number": number})

    def _bring(self, content: bytes) -> None:
        """Ask first; then mount or push."""
        digest, own = Digest.of(content), f"/v2/{self._home.name}"
        if self._ask("HEAD", f"{own}/blobs/{digest}") == 200:
            self.tally.events["blob found"] += 1
            return
        place = f"{own}/blobs/uploads/"
        if self._random.random() < 0.5:
            source = self._random.choice(self._homes).name
            if self._ask("POST", f"{place}?mount={digest}&from={source}") == 201:
                self.tally.events["blob mounted"] += 1
                return
            place = self._location
        status = self._ask("PUT" if place == self._location else "POST", f"{place}?digest={digest}", content)
        self._expect(status == 201, f"a push of {digest}: {status}")
        self.tally.events["blob pushed"] += 1

    def _retag(self) -> None:
        """The same manifest once more, perhaps one without tags: if it is found, all of it is here."""
        if not (digest := self._known()):
            return
        raw, contents = self._home.images[digest]
        if self._is_here(digest):
            self._put(raw, OCI_IMAGE, self._tag(), contents, "retag")

    def _index(self) -> None:
        """An index of a manifest that was found."""
        if not (digest := self._known()):
            return
        raw, contents = self._home.images[digest]
        if self._is_here(digest):
            child = descriptor(raw, OCI_IMAGE)
            number = str(self._random.randrange(10**12))
            self._put(
                index([child], annotations={"n": number}), OCI_INDEX, self._tag(), [raw, *contents], "index"
            )

    def _refer(self) -> None:
        """What refers to a manifest that was found: it has a subject, and no tag."""
        digest = self._known()
        if not digest or digest in self._home.referrers or not self._is_here(digest):
            return
        raw, _ = self._home.images[digest]
        self._bring(b"{}")
        referrer = image(subject=descriptor(raw, OCI_IMAGE), artifact_type=_SBOM)
        if self._refused(str(Digest.of(referrer)), referrer, OCI_IMAGE, "referrer"):
            return
        self._home.referrers[digest] = referrer, [b"{}"]

    def _sign(self) -> None:
        """The same by the tag schema; the last signature is without a tag from then on."""
        if not (digest := self._known()) or not self._is_here(digest):
            return
        contents = [self._random.choice(CONFIGS), self._random.choice(PAYLOADS)]
        for content in contents:
            self._bring(content)
        signature = self._image(contents[0], contents[1:])
        if not self._refused(_signature_tag(digest), signature, OCI_IMAGE, "signature"):
            self._home.signatures[digest] = signature, contents

    def _pull_index(self) -> None:
        """By digest, perhaps without tags: whoever was given it is given all that it names."""
        indexes = [digest for digest, (raw, _) in self._home.images.items() if b'"manifests"' in raw]
        digest = self._random.choice(indexes) if indexes else ""
        if digest and self._fetch(f"/v2/{self._home.name}/manifests/{digest}") is not None:
            late = self.tally.events[LATE]
            self._pull(digest, *self._home.images[digest], kept=digest in self._home.tags.values())
            self.tally.events["pull of an index by digest"] += late == self.tally.events[LATE]

    def _untag(self) -> None:
        if self._home.tags:
            tag = self._random.choice(list(self._home.tags))
            status = self._ask("DELETE", f"/v2/{self._home.name}/manifests/{tag}")
            self._expect(status == 202, f"the deletion of {tag}: {status}")
            del self._home.tags[tag]
            self.tally.events["tag deleted"] += 1

    def _delete(self) -> None:
        """A manifest with its tags; not one that an index names, which is refused."""
        if not (digest := self._known()):
            return
        status = self._ask("DELETE", f"/v2/{self._home.name}/manifests/{digest}")
        self._expect(status in (202, 404, 405), f"the deletion of {digest}: {status}")
        if status == 202:
            self._home.tags = {tag: named for tag, named in self._home.tags.items() if named != digest}
            del self._home.images[digest]
            self._home.referrers.pop(digest, None)
            self._home.signatures.pop(digest, None)
            self.tally.events["manifest deleted"] += 1

    def _take_blob(self) -> None:
        """A layer, unless a manifest names it."""
        digest = Digest.of(self._random.choice(LAYERS))
        status = self._ask("DELETE", f"/v2/{self._home.name}/blobs/{digest}")
        self._expect(status in (202, 404, 405), f"the deletion of {digest}: {status}")

    # -- what must hold ------------------------------------------------------------------------------

    def _check(self, count: int) -> None:
        """Pull some of the images whose tags stand."""
        for tag, digest in self._random.sample(
            list(self._home.tags.items()), min(count, len(self._home.tags))
        ):
            self._pull(tag, *self._home.images[digest])
            self.tally.events["pull"] += 1

    def _pull(self, reference: str, raw: bytes, contents: Sequence[bytes], *, kept: bool = True) -> None:
        """The manifest, all that it names, and what refers to it or to an image of it. `kept`: by a tag."""
        own = f"/v2/{self._home.name}"

        def expect(found: bytes | None, wanted: bytes, message: str) -> None:
            if found is None and not kept and self._is_late():
                self.tally.events[LATE] += 1
            else:
                self._expect(found == wanted, message)

        found = self._fetch(f"{own}/manifests/{reference}")
        expect(found, raw, f"{own}:{reference} is not the image that was acknowledged")
        for content in contents:
            kind = "manifests" if _is_manifest(content) else "blobs"
            path = f"{own}/{kind}/{Digest.of(content)}"
            expect(self._fetch(path), content, f"{path}, of the image {reference}, can't be pulled")
        for digest in [str(Digest.of(each)) for each in (raw, *contents) if _is_manifest(each)]:
            if digest in self._home.referrers:
                referrer = self._home.referrers[digest]
                listed = json.loads(self._fetch(f"{own}/referrers/{digest}") or b"{}").get("manifests", [])
                is_listed = str(Digest.of(referrer[0])) in {each["digest"] for each in listed}
                message = f"a referrer of {digest}, of the image {reference}, is not listed"
                expect(b"listed" if is_listed else None, b"listed", message)
                self._pull(str(Digest.of(referrer[0])), *referrer, kept=kept)
            if digest in self._home.signatures:
                self._pull(_signature_tag(digest), *self._home.signatures[digest], kept=kept)

    def _put(self, raw: bytes, kind: str, tag: str, contents: Sequence[bytes], event: str) -> None:
        if not self._refused(tag, raw, kind, event):
            digest = str(Digest.of(raw))
            self._home.tags[tag] = digest
            self._home.images[digest] = raw, contents

    def _refused(self, reference: str, raw: bytes, kind: str, event: str) -> bool:
        status = self._ask("PUT", f"/v2/{self._home.name}/manifests/{reference}", raw, kind)
        late = self._lacks_late(status)
        self._expect(status == 201 or late, f"{event}: the manifest was refused with {status}")
        self.tally.events[LATE if late else event] += status == 201 or late
        return status != 201

    def _lacks_late(self, status: int) -> bool:
        """Whether a manifest was refused for something that it was told of too long ago."""
        return status == 400 and b"MANIFEST_BLOB_UNKNOWN" in self._said and self._is_late()

    def _is_late(self) -> bool:
        return time.monotonic() > self._begun + self._promise

    def _is_here(self, digest: str) -> bool:
        return self._ask("HEAD", f"/v2/{self._home.name}/manifests/{digest}") == 200

    def _expect(self, holds: bool, message: str) -> None:
        if not holds:
            self.tally.wrong.append(f"{time.time():.3f} {self._home.name}: {message}")

    def _known(self) -> str:
        """A digest, tagged or not, of an image that was once acknowledged."""
        images = [digest for digest, (raw, _) in self._home.images.items() if b'"layers"' in raw]
        return self._random.choice(images) if images else ""

    def _tag(self) -> str:
        return f"v{self._random.randrange(6)}"

    def _ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> int:
        self._connection.request(method, path, body, {"Content-Type": kind})
        reply = self._connection.getresponse()
        self._said, self._location = reply.read(), reply.headers.get("Location", "")
        refused = reply.status == 400 and method == "PUT" and not self._lacks_late(reply.status)
        if reply.status >= 500 or refused:
            self.tally.wrong.append(
                f"{time.time():.3f} {method} {path}: {reply.status} {self._said.decode()[:300]}"
            )
        return reply.status

    def _fetch(self, path: str) -> bytes | None:
        """None if it is not here."""
        self._connection.request("GET", path)
        reply = self._connection.getresponse()
        found = reply.read()
        self._expect(reply.status in (200, 404), f"{path}: {reply.status}")
        return found if reply.status == 200 else None


def _is_manifest(content: bytes) -> bool:
    return content.startswith(b'{"schemaVersion"')


def _signature_tag(digest: str) -> str:
    return f"{digest.replace(':', '-')}.sig"
