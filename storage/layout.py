"""The only module that builds a path.

    ROOT/format                  the layout's version; an unknown one stops the start
    ROOT/blobs/sha256/ab/<hex>   mode 0400; complete and correct from the instant the name exists
    ROOT/uploads/<uuid4>         a session's bytes; its length is its offset
    ROOT/uploads/<uuid4>.new     a second name on its way to blobs/; meaningless after a crash
    ROOT/fetches/<name>          a blob on its way from elsewhere into a repository; locked by who fetches it.
                                 An empty one may be of a manifest that some worker is asking for
    ROOT/fetches/<name>.size     how many bytes it will have; there once they have begun to come
    ROOT/fetches/<name>.new      as of a session
    ROOT/quarantine/             bytes that failed verification
    ROOT/index.db                SQLite: every name that people gave (plus -wal and -shm)
    ROOT/index.db.new            an index on its way to that name; meaningless after a crash
    ROOT/index.db.bad-<time>     one that could not be read, put aside by `registry reindex`
    ROOT/write.lock              flock: one writer of the index at a time; holds the number of its changes
    ROOT/gc.lock                 flock: one collector at a time; a backup holds it too
    ROOT/evict.lock              flock: one evictor at a time, beside a collector; a backup holds it too
    ROOT/serving.lock            flock, shared by every process that serves
    ROOT/ballast                 32 MiB of nothing, given up when the disk is full
    ROOT/fsck                    where a check is, or was interrupted; locked by it (plus fsck.new)
    ROOT/scrub                   where the scrub is; locked by the process that does it (plus scrub.new)
    ROOT/origin                  what this root is a copy of; without `format` beside it, an unfinished one
    ROOT/htpasswd                the users: names and bcrypt hashes; its being there turns access control on
    ROOT/secrets/                0700; made when it is first needed
    ROOT/secrets/tls-*           of --tls-self-signed: the authority and the certificate that it signed, with
                                 their keys; tls-ca.crt is what clients are given
    ROOT/secrets/<name>.key      0400; 32 random bytes, made once, that all processes share
    ROOT/secrets/robots.json     0600; robot tokens: names, scopes and digests of their secrets
    ROOT/degraded                there after a failed fsync; `registry fsck --repair` removes it

The root itself is 0700. The 256 shards of each algorithm are made once, when the root is; in a lean store
(`serve --ephemeral`), each when it gets its first blob.
"""

import hashlib
import os
import re
from dataclasses import dataclass

from storage.digest import ALGORITHMS, Digest
from storage.errors import InvalidDigest, UploadMissing

FORMAT = "oci-registry 1\n"
SHARDS = tuple(f"{number:02x}" for number in range(256))
INSTALLING = ".new"
ANNOUNCED = ".size"

_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_KEY = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layout:
    root: str

    def _at(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    @property
    def format(self) -> str:
        return self._at("format")

    @property
    def uploads(self) -> str:
        return self._at("uploads")

    @property
    def fetches(self) -> str:
        return self._at("fetches")

    @property
    def quarantine(self) -> str:
        return self._at("quarantine")

    @property
    def index(self) -> str:
        return self._at("index.db")

    @property
    def new_index(self) -> str:
        return self._at("index.db.new")

    def bad_index(self, moment: str) -> str:
        return self._at(f"index.db.bad-{moment}")

    @property
    def origin(self) -> str:
        return self._at("origin")

    @property
    def write_lock(self) -> str:
        return self._at("write.lock")

    @property
    def gc_lock(self) -> str:
        return self._at("gc.lock")

    @property
    def evict_lock(self) -> str:
        return self._at("evict.lock")

    @property
    def serving_lock(self) -> str:
        return self._at("serving.lock")

    @property
    def ballast(self) -> str:
        return self._at("ballast")

    @property
    def degraded(self) -> str:
        return self._at("degraded")

    @property
    def fsck(self) -> str:
        return self._at("fsck")

    @property
    def scrub(self) -> str:
        return self._at("scrub")

    @property
    def htpasswd(self) -> str:
        return self._at("htpasswd")

    @property
    def secrets(self) -> str:
        return self._at("secrets")

    @property
    def robots(self) -> str:
        return self._at("secrets", "robots.json")

    @property
    def tls_authority(self) -> str:
        return self._at("secrets", "tls-authority.pem")

    @property
    def tls_ca(self) -> str:
        return self._at("secrets", "tls-ca.crt")

    @property
    def tls_served(self) -> str:
        return self._at("secrets", "tls-server.pem")

    def key(self, name: str) -> str:
        """Raises ValueError for a name that none of ours is."""
        if not _KEY.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a key")
        return self._at("secrets", f"{name}.key")

    def folders(self) -> list[str]:
        """Every folder of the tree, parents first."""
        shards = [os.path.join(folder, shard) for folder in self._algorithms() for shard in SHARDS]
        return [*self.trunk(), *shards]

    def trunk(self) -> list[str]:
        """Those that are no shards."""
        return [self._at("blobs"), *self._algorithms(), self.uploads, self.fetches, self.quarantine]

    def _algorithms(self) -> list[str]:
        return [self._at("blobs", name) for name in ALGORITHMS]

    def blob(self, digest: Digest) -> str:
        """Raises InvalidDigest: a digest that a manifest may name need not be one that a file can have."""
        if not digest.supported:
            raise InvalidDigest(str(digest), "no bytes are kept under this algorithm")
        return self._at("blobs", digest.algorithm, digest.encoded[:2], digest.encoded)

    def quarantined(self, digest: Digest, suffix: str) -> str:
        return self._at("quarantine", f"{digest.algorithm}-{digest.encoded}.{suffix}")

    def upload(self, upload: str) -> str:
        """Raises UploadMissing for anything but a canonical UUID of version 4."""
        if not _UUID4.fullmatch(upload):
            raise UploadMissing(upload)
        return self._at("uploads", upload)

    def fetch(self, repository: str, digest: Digest) -> str:
        """By the repository too, of which only a hash fits: each has to be given the blob for itself."""
        owner = hashlib.sha256(repository.encode()).hexdigest()[:32]
        return self._at("fetches", f"{digest.algorithm}-{digest.encoded}-{owner}")
