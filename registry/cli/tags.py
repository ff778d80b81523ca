"""`registry tag`: how tags moved, and one of them put back to where it was."""

import asyncio
import time
from collections.abc import Sequence

from registry.changes import TagMoved
from registry.cli.audit import note_change
from registry.cli.content import Target, by, opened
from registry.errors import RegistryError
from registry.names import Tag
from registry.settings import Settings
from storage.digest import Digest
from storage.errors import ManifestMissing, PreconditionFailed, StorageError
from storage.history import KEPT, Move
from storage.store import Store

_SHORT = len("sha256:") + 12  # characters of a digest that tell it from others


def history(settings: Settings, target: Target, limit: int) -> list[Move]:
    """The last moves of a tag, or of all tags of a repository. Raises StorageError if there are none."""
    tag = _tag(target) if target.reference else None
    with opened(settings) as store:
        found = asyncio.run(store.names.listings.moves(target.repository, tag, limit=limit))
    if not found:
        raise StorageError(f"no move of a tag is recorded for {_named(target)}")
    return found


def rows(moves: Sequence[Move]) -> list[tuple[str, ...]]:
    """For people: when, tag, from, to, who; digests are shortened."""
    return [(when(move), move.tag, _short(move.old), _short(move.new), move.who or "-") for move in moves]


def as_object(move: Move) -> dict[str, object]:
    """For programs."""
    old, new = (str(digest) if digest else None for digest in (move.old, move.new))
    return {"at": when(move), "tag": move.tag, "from": old, "to": new, "who": move.who}


def when(move: Move) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(move.at))


def restore(settings: Settings, target: Target, to: str | None) -> str:
    """Move a tag to `to`, else to what it named before its last move, and say so.

    Raises StorageError if that can't be; PreconditionFailed if the tag moved meanwhile.
    """
    with opened(settings) as store:
        old, new = asyncio.run(_restore(store, target, _tag(target), to))
    note_change(settings, "tag restore", TagMoved(target.repository, _tag(target), old, new))
    if old == new:
        return f"{_named(target)} names {new} already"
    return f"{_named(target)} names {new} again" + (f", no longer {old}" if old else "")


async def _restore(store: Store, target: Target, tag: Tag, to: str | None) -> tuple[Digest | None, Digest]:
    """What it named, and what it names now."""
    moves = await store.names.listings.moves(target.repository, tag, limit=KEPT)
    digest = _chosen(moves, to) if to else _before(moves, target)
    last = moves[0].new if moves else None

    def unmoved(_tag: str, old: Digest | None, _new: Digest | None) -> None:
        if not to and old != last:  # another has moved it since
            raise PreconditionFailed(f"tag {tag}", wanted=f"only {last}", found=old)

    try:
        old = await store.names.manifests.move_tag(
            target.repository, tag, digest, file_size=store.blobs.size, check=unmoved, who=by("tag restore")
        )
    except ManifestMissing:
        raise StorageError(
            f"{target.repository} does not have the manifest {digest} any more: push it again"
        ) from None
    return old, digest


def _before(moves: Sequence[Move], target: Target) -> Digest:
    if not moves:
        raise StorageError(f"no move of {_named(target)} is recorded: say to which digest, with --to")
    if moves[0].old is None:
        raise StorageError(
            f"{_named(target)} was not there before its last move: give --to DIGEST, or remove it with "
            f"registry rm {_named(target)}"
        )
    return moves[0].old


def _chosen(moves: Sequence[Move], to: str) -> Digest:
    """A digest, or one of the history by its beginning. Raises InvalidDigest."""
    known = {digest for move in moves for digest in (move.old, move.new) if digest}
    matching = [digest for digest in known if len(to) >= _SHORT and str(digest).startswith(to)]
    return matching[0] if len(matching) == 1 else Digest.parse(to)


def _tag(target: Target) -> Tag:
    if not isinstance(target.reference, str):
        raise RegistryError(f"name one tag, such as {target.repository}:latest")
    return target.reference


def _named(target: Target) -> str:
    return f"{target.repository}:{target.reference}" if target.reference else target.repository


def _short(digest: Digest | None) -> str:
    return str(digest)[:_SHORT] if digest else "-"
