-- Every name that people gave. Digests are kept once, in their binary form (Digest.binary), and everything
-- else refers to them by integer: two million links take half the room.

CREATE TABLE repositories (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL UNIQUE
);

-- One row for each digest that is held or named. state: 0 missing (no bytes: absent, lost or quarantined),
-- 1 present. Only a row that is present has a file.
CREATE TABLE blobs (
    id       INTEGER PRIMARY KEY,
    digest   BLOB NOT NULL UNIQUE,
    size     INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    state    INTEGER NOT NULL
);

-- A blob is visible in a repository only through its link.
CREATE TABLE links (
    repository  INTEGER NOT NULL REFERENCES repositories,
    blob        INTEGER NOT NULL REFERENCES blobs,
    PRIMARY KEY (repository, blob)
) WITHOUT ROWID;
CREATE INDEX links_blob ON links (blob);

-- subject and digest are binary digests, so that a subject may be absent and pages have a lasting order.
-- untagged: when the last tag moved away; NULL while tagged, and for one that was only pushed by digest.
CREATE TABLE manifests (
    repository     INTEGER NOT NULL REFERENCES repositories,
    blob           INTEGER NOT NULL REFERENCES blobs,
    digest         BLOB NOT NULL,
    media_type     TEXT NOT NULL,
    artifact_type  TEXT NOT NULL,
    subject        BLOB,
    size           INTEGER NOT NULL,
    annotations    TEXT NOT NULL,
    pushed         INTEGER NOT NULL,
    untagged       INTEGER,
    UNIQUE (repository, blob)
);
CREATE INDEX manifests_blob ON manifests (blob);
CREATE INDEX manifests_subject ON manifests (repository, subject, artifact_type, digest)
    WHERE subject IS NOT NULL;

-- What a manifest's bytes name. kind: 1 config, 2 layer, 3 child. optional: it was accepted, or deleted, as one
-- that may be absent (foreign layers, --sparse); all others must be there, and fsck says so where they are not.
CREATE TABLE edges (
    repository  INTEGER NOT NULL REFERENCES repositories,
    parent      INTEGER NOT NULL,
    child       INTEGER NOT NULL REFERENCES blobs,
    kind        INTEGER NOT NULL,
    optional    INTEGER NOT NULL,
    PRIMARY KEY (repository, parent, child, kind),
    FOREIGN KEY (repository, parent) REFERENCES manifests (repository, blob) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX edges_child ON edges (child, repository);

CREATE TABLE tags (
    repository  INTEGER NOT NULL REFERENCES repositories,
    name        TEXT NOT NULL,
    manifest    INTEGER NOT NULL,
    moved       INTEGER NOT NULL,
    PRIMARY KEY (repository, name),
    FOREIGN KEY (repository, manifest) REFERENCES manifests (repository, blob)
) WITHOUT ROWID;
CREATE INDEX tags_manifest ON tags (repository, manifest);

-- hashed: the digest of the session's first hashed_size bytes, trusted only in the same boot.
CREATE TABLE uploads (
    id           TEXT PRIMARY KEY,
    repository   TEXT NOT NULL,
    owner        TEXT NOT NULL,
    algorithm    TEXT NOT NULL,
    started      INTEGER NOT NULL,
    hashed       BLOB,
    hashed_size  INTEGER,
    boot         TEXT
) WITHOUT ROWID;
