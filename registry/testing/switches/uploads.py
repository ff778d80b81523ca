"""How blobs come in."""

from collections import OrderedDict

from registry.testing.exchange import Ask, Head, Reply, error
from registry.testing.switches.switch import Switch

_MOST_SESSIONS = 4096  # that are remembered for one that was cut short


class NoSinglePost(Switch):
    """The session is opened, and the body let go by (distribution-spec, "Single POST")."""

    def amend(self, ask: Ask) -> None:
        if ask.target.route == "uploads" and ask.query("mount") is None:
            ask.drop_query("digest")


class NoMount(Switch):
    def amend(self, ask: Ask) -> None:
        if ask.target.route == "uploads":
            ask.drop_query("mount", "from")


class NoAnonymousMount(Switch):
    def amend(self, ask: Ask) -> None:
        if ask.target.route == "uploads" and ask.query("from") is None:
            ask.drop_query("mount")


class NoChunks(Switch):
    """What comes as a whole, in one PATCH or PUT without Content-Range, is taken."""

    async def refuse(self, ask: Ask) -> Reply | None:
        if ask.target.route == "upload" and ask.header("content-range"):
            return error(400, "UNSUPPORTED", "this registry takes no chunks: send the blob as a whole")
        return None


class ChunkMaximum(Switch):
    def __init__(self, most: int) -> None:
        self._most = most

    async def refuse(self, ask: Ask) -> Reply | None:
        if ask.target.route != "upload" or _chunk(ask) <= self._most:
            return None
        return error(416, "BLOB_UPLOAD_INVALID", f"the chunk is larger than {self._most} bytes: send less")


class ChunkMinimum(Switch):
    """Says so in OCI-Chunk-Min-Length; a smaller one can only be the last."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._ended: OrderedDict[str, None] = OrderedDict()

    async def refuse(self, ask: Ask) -> Reply | None:
        target = ask.target
        if target.route != "upload" or target.method != "PATCH" or not ask.header("content-range"):
            return None
        if target.reference in self._ended:
            return error(400, "SIZE_INVALID", f"a chunk before this one had less than {self._least} bytes")
        if _chunk(ask) < self._least:
            self._ended[target.reference] = None
            if len(self._ended) > _MOST_SESSIONS:
                self._ended.popitem(last=False)
        return None

    def alter(self, ask: Ask, head: Head) -> Reply | None:
        if ask.target.route == "uploads" and head.status == 202:
            head.set("oci-chunk-min-length", str(self._least))
        return None


class ChunkStatus(Switch):
    def __init__(self, status: int) -> None:
        self._status = status

    def alter(self, ask: Ask, head: Head) -> Reply | None:
        is_chunk = ask.target.method == "PATCH" and ask.header("content-range")
        if ask.target.route == "upload" and is_chunk and head.status == 202:
            head.status = self._status
        return None


class NoCancel(Switch):
    async def refuse(self, ask: Ask) -> Reply | None:
        if ask.target.route == "upload" and ask.target.method == "DELETE":
            return error(405, "UNSUPPORTED", "an upload cannot be cancelled here", Allow="GET, PATCH, PUT")
        return None


def _chunk(ask: Ask) -> int:
    """Bytes of a chunk; none of what is no chunk: a stream has no length before its end."""
    length = ask.header("content-length") if ask.header("content-range") else ""
    return int(length) if length.isdecimal() else 0
