"""What must hold after a death or a failure, and after going on from there."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from registry.fsck import read
from registry.names import RepositoryName, Tag
from registry.registry import Registry
from registry.repository import Repository
from storage.check import check
from storage.digest import Digest
from storage.errors import DigestMismatch, StorageError, UploadMissing
from storage.store import Store
from tests.crash.arena import Arena
from tests.crash.evidence import Names, Seen, look, names_in
from tests.crash.operations import Operation, World

EVERY = -1.0  # idle seconds that every session exceeds, also one begun in this very second


async def go_on(
    store: Store,
    arena: Arena,
    operation: Operation,
    after: Seen,
    *,
    acked: bool,
    distrusted: bool = False,
    cut: bool = False,
) -> list[str]:
    """Everything is as it must be; the operation can be repeated; expiry leaves nothing behind.

    `distrusted`: an fsync has failed, after which a session's bytes may be thrown away. `cut`: the power has
    failed, which an upload session need not outlive, nor its end; what it holds then may be anything.
    """
    world = World(store, arena.session)
    seen = look(arena.root)
    problems = [
        *await unsound(world, seen),
        *_name_problems(seen, arena, operation, after, acked=acked),
        *([] if cut else _session_problems(seen, arena, operation, after, acked, distrusted)),
    ]
    try:
        await _repeat(operation, world, cut=cut)
    except Exception as error:
        problems.append(f"repeating it failed: {error!r}")
    await world.registry.expire_uploads(EVERY)
    await store.fetches.expire(EVERY)
    seen = look(arena.root)
    problems += seen.problems
    if seen.names != after.names:
        problems.append(f"repeated, {difference(seen.names, after.names)}")
    if seen.waiting or seen.sessions:
        problems.append(f"expiry left {sorted(seen.waiting)}")
    return problems


async def unsound(world: World, seen: Seen) -> list[str]:
    """What the bare files, fsck and a client that pulls everything have to complain about."""
    report = await check(world.store, read=read)
    return [
        *seen.problems,
        *(f"{finding.kind} {finding.subject}: {finding.message}" for finding in report.findings),
        *[problem async for problem in _read_all(world.registry, seen.names)],
    ]


def close(store: Store, after: Seen) -> list[str]:
    store.close()
    return ["closing changed the names"] if names_in(store.layout.root) != after.names else []


async def _repeat(operation: Operation, world: World, *, cut: bool) -> None:
    try:
        await operation.again(world)
    except (UploadMissing, DigestMismatch):
        if not cut:
            raise
        await operation.anew(world)


def _name_problems(
    seen: Seen, arena: Arena, operation: Operation, after: Seen, *, acked: bool
) -> Iterator[str]:
    """An acknowledged operation is there; another is there as a whole, or not at all."""
    if acked and seen.names != after.names:
        yield f"acknowledged, but {difference(seen.names, after.names)}"
    elif operation.gradual and is_between(seen.names, arena.before.names, after.names):
        return
    elif seen.names not in (arena.before.names, after.names):
        yield f"half of it can be seen: {difference(seen.names, after.names)}"


def _session_problems(
    seen: Seen, arena: Arena, operation: Operation, after: Seen, acked: bool, distrusted: bool
) -> Iterator[str]:
    if acked:
        if sorted(seen.sessions.values()) != sorted(after.sessions.values()):
            yield "acknowledged, but the upload sessions are others"
        return
    held = seen.sessions.get(arena.session)
    if held is None:
        if not distrusted and (seen.names != after.names or arena.session in after.sessions):
            yield "the upload session is lost, and its bytes with it"
    elif not (held.startswith(arena.before.sessions[arena.session]) and operation.grows.startswith(held)):
        yield f"the upload session holds {len(held)} bytes that nobody sent in this order"


def is_between(found: Names, before: Names, after: Names) -> bool:
    """Whether some of the names that have to come or go have done so, and no other."""
    # Whether a manifest has a tag is left out: what belonged to one that went counts as untagged then.
    found, before, after = (
        replace(names, manifests=frozenset(row[:-1] for row in names.manifests))
        for names in (found, before, after)
    )
    return all(
        getattr(before, kind) & getattr(after, kind)
        <= getattr(found, kind)
        <= getattr(before, kind) | getattr(after, kind)
        for kind in ("links", "manifests", "edges", "tags")
    )


def difference(found: Names, wanted: Names) -> str:
    parts = []
    for kind in ("links", "manifests", "edges", "tags"):
        have, want = getattr(found, kind), getattr(wanted, kind)
        if have != want:
            parts.append(f"{kind}: {sorted(want - have)} missing, {sorted(have - want)} too many")
    return "; ".join(parts)


async def _read_all(registry: Registry, names: Names) -> AsyncIterator[str]:
    """What a client that pulls everything would complain about."""
    for name, digest, *_ in names.links:
        try:
            repository = _repository(registry, name)
            size = await repository.blob_size(_digest(digest))
            async with repository.blob(_digest(digest), size) as blob:
                pieces = [piece async for piece in blob.chunks(0, blob.size)]
        except StorageError as error:
            yield f"{name} cannot serve {digest}: {error!r}"
            continue
        if hashlib.sha256(b"".join(pieces)).hexdigest() != _digest(digest).encoded:
            yield f"{digest} reads as other bytes"
    for name, digest, *_ in names.manifests:
        try:
            repository = _repository(registry, name)
            await repository.manifest_bytes(await repository.manifest_row(_digest(digest)))  # verifies them
        except StorageError as error:
            yield f"{name} cannot serve {digest}: {error!r}"
    for name, tag, digest in names.tags:
        try:
            row = await _repository(registry, name).manifest_row(Tag(str(tag)))
        except StorageError as error:
            yield f"{name} cannot serve {tag}: {error!r}"
            continue
        if row.digest != _digest(digest):
            yield f"{name}:{tag} leads to {row.digest}, not {digest}"


def _repository(registry: Registry, name: str | int) -> Repository:
    return Repository(registry, RepositoryName(str(name)))


def _digest(text: str | int) -> Digest:
    return Digest.parse(str(text))
