"""What a root holds, read by nothing of the product: sqlite3, hashlib and json on the bare files."""

import hashlib
import json
import os
import sqlite3
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

_ALGORITHMS = {1: "sha256", 2: "sha512"}
_PRESENT = 1
_KINDS = {1: "config", 2: "layers", 3: "manifests"}
_FILES = {
    "format",
    "blobs",
    "uploads",
    "fetches",
    "quarantine",
    "ballast",
    "write.lock",
    "gc.lock",
    "evict.lock",
    "origin",
    "serving.lock",
    "secrets",
    "index.db",
    "index.db-wal",
    "index.db-shm",
}

Row = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """Everything that clients can see of repositories, as sets of rows."""

    links: frozenset[Row]
    manifests: frozenset[Row]
    edges: frozenset[Row]
    tags: frozenset[Row]


@dataclass(frozen=True, slots=True)
class Seen:
    """`sessions` are the bytes of the uploads that can be gone on with, by id; `waiting` all that expires."""

    names: Names
    sessions: Mapping[str, bytes]
    waiting: frozenset[str]
    problems: tuple[str, ...]


def look(root: str) -> Seen:
    with closing(_open(root)) as index:
        names, sessions = _names(index), _sessions(index, root)
        problems = (*_file_problems(root), *_index_problems(index, root), *_name_problems(index, root, names))
    waiting = frozenset([*os.listdir(f"{root}/uploads"), *os.listdir(f"{root}/fetches")])
    return Seen(names, sessions, waiting, problems)


def files_below(root: str) -> Iterator[str]:
    """Every file of a root. Not os.walk: with 512 shards to list for each case, that costs too much."""
    folders = [root, f"{root}/uploads", f"{root}/fetches", f"{root}/quarantine"]
    shards = [f"{root}/blobs/{algorithm}/{n:02x}" for algorithm in _ALGORITHMS.values() for n in range(256)]
    for folder in [*folders, *shards]:
        for name in os.listdir(folder):
            if folder is not root or not os.path.isdir(f"{root}/{name}"):
                yield f"{folder}/{name}"


def names_in(root: str) -> Names:
    with closing(_open(root)) as index:
        return _names(index)


def marks_in(root: str) -> dict[str, bool]:
    """Digest → whether a collector has marked it, of all that repositories hold."""
    with closing(_open(root)) as index:
        rows = index.execute(
            "SELECT digest, max(mark IS NOT NULL) FROM (SELECT digest, mark FROM manifests UNION ALL"
            " SELECT digest, mark FROM links JOIN blobs ON blobs.id = blob) GROUP BY digest"
        ).fetchall()
    return {_text(digest): bool(marked) for digest, marked in rows}


def _open(root: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{root}/index.db?mode=ro", uri=True, timeout=5)


def _names(index: sqlite3.Connection) -> Names:
    def rows(sql: str) -> frozenset[Row]:
        found = index.execute(sql).fetchall()
        return frozenset(tuple(_text(v) if isinstance(v, bytes) else v for v in row) for row in found)

    return Names(
        links=rows(
            "SELECT name, digest FROM links JOIN blobs ON blobs.id = blob"
            " JOIN repositories ON repositories.id = repository"
        ),
        manifests=rows(
            "SELECT name, digest, media_type, artifact_type, coalesce(subject, ''), size, annotations,"
            " untagged IS NULL FROM manifests JOIN repositories ON repositories.id = repository"
        ),
        edges=rows(
            "SELECT name, parent.digest, child.digest, kind FROM edges"
            " JOIN blobs AS parent ON parent.id = parent JOIN blobs AS child ON child.id = child"
            " JOIN repositories ON repositories.id = repository"
        ),
        tags=rows(
            "SELECT repositories.name, tags.name, digest FROM tags JOIN blobs ON blobs.id = manifest"
            " JOIN repositories ON repositories.id = repository"
        ),
    )


def _sessions(index: sqlite3.Connection, root: str) -> dict[str, bytes]:
    paths = {upload: f"{root}/uploads/{upload}" for (upload,) in index.execute("SELECT id FROM uploads")}
    return {upload: _read(path) for upload, path in paths.items() if os.path.exists(path)}


def _file_problems(root: str) -> Iterator[str]:
    """Each file under blobs/ is complete, named by its bytes, and can't be written."""
    for stranger in set(os.listdir(root)) - _FILES:
        yield f"{stranger} is in the root"
    for path in files_below(root):
        *_, kind, algorithm, shard, name = path.split("/")
        if kind != "blobs":
            continue
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) != 0o400:
            yield f"{path} has mode {found.st_mode:o}"
        if shard != name[:2] or hashlib.new(algorithm, _read(path)).hexdigest() != name:
            yield f"{path} holds {found.st_size} bytes that hash to something else"


def _index_problems(index: sqlite3.Connection, root: str) -> Iterator[str]:
    for (message,) in index.execute("PRAGMA integrity_check"):
        if message != "ok":
            yield f"the index is damaged: {message}"
    for row in index.execute("PRAGMA foreign_key_check"):
        yield f"a row of {row[0]} refers to no row of {row[2]}"
    for digest, size in index.execute("SELECT digest, size FROM blobs WHERE state = ?", (_PRESENT,)):
        path = _path(root, _text(digest))
        if not os.path.isfile(path):
            yield f"{_text(digest)} is present in the index and has no file"
        elif os.path.getsize(path) != size:
            yield f"{_text(digest)} has {size} bytes in the index and {os.path.getsize(path)} on disk"
    empty = index.execute(
        "SELECT name FROM repositories WHERE id NOT IN (SELECT repository FROM links)"
        " AND id NOT IN (SELECT repository FROM manifests)"
    )
    for (name,) in empty:
        yield f"repository {name} holds nothing"


def _name_problems(index: sqlite3.Connection, root: str, names: Names) -> Iterator[str]:
    """tag → manifest → everything that its bytes name; all of it there, with the right size."""
    states = {_text(digest): state for digest, state in index.execute("SELECT digest, state FROM blobs")}
    held = {(row[0], row[1]) for row in (*names.links, *names.manifests)}
    for name, digest in held:
        if states[str(digest)] != _PRESENT:
            yield f"{name} holds {digest}, which is not present"
    manifests = {(row[0], row[1]) for row in names.manifests}
    for name, tag, digest in names.tags:
        if (name, digest) not in manifests:
            yield f"{name}:{tag} names {digest}, which is no manifest there"
    tags = {(name, tag): digest for name, tag, digest in names.tags}
    last = "SELECT repository, tag, new, max(number) FROM tag_history GROUP BY repository, tag"
    moved = {(name, tag): _text(new) if new else None for name, tag, new, _ in index.execute(last)}
    for name, tag in {*tags, *moved}:
        if tags.get((name, tag)) != moved.get((name, tag)):
            yield f"{name}:{tag} is not where its history says"
    edges: dict[tuple[str | int, str | int], set[Row]] = defaultdict(set)
    for name, parent, *edge in names.edges:
        edges[name, parent].add(tuple(edge))
    for name, digest, media_type, _, subject, size, *_ in names.manifests:
        try:
            raw = _read(_path(root, str(digest)))
            body = json.loads(raw)
        except (OSError, ValueError) as error:
            yield f"manifest {digest} cannot be read: {error}"
            continue
        if (len(raw), body["mediaType"], body.get("subject", {}).get("digest", "")) != (
            size,
            media_type,
            subject,
        ):
            yield f"manifest {digest} says something else than the index"
        named = {(name, digest, each["digest"], number) for number, each in _references(body, foreign=True)}
        if named != {row for row in names.edges if row[:2] == (name, digest)}:
            yield f"manifest {digest} names something else than the index"
        for _, each in _references(body, foreign=False):
            path = _path(root, each["digest"])
            if (name, each["digest"]) not in held:
                yield f"manifest {digest} names {each['digest']}, which {name} does not hold"
            elif not os.path.exists(path) or os.path.getsize(path) != each["size"]:
                yield f"manifest {digest} names {each['digest']}, whose file is not as it says"


def _references(body: dict[str, Any], *, foreign: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, key in _KINDS.items():
        value: Any = body.get(key, [])
        for each in value if isinstance(value, list) else [value]:
            if foreign or "nondistributable" not in each["mediaType"]:
                yield number, each


def _text(digest: bytes) -> str:
    return f"{_ALGORITHMS[digest[0]]}:{digest[1:].hex()}"


def _path(root: str, digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"{root}/blobs/{algorithm}/{encoded[:2]}/{encoded}"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
