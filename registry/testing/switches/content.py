"""How blobs and manifests are read."""

import re
import secrets
import time
from collections import OrderedDict

from registry.testing.exchange import Ask, Head, Reply, error
from registry.testing.switches.switch import Switch
from registry.testing.targets import CONTENT

_SECONDS = 300.0  # that a link to another host is good for
_MOST_LINKS = 4096
_PORT = re.compile(r":\d+$")  # whatever number a client may have made up
_OTHER = {"127.0.0.1": "localhost", "[::1]": "localhost"}  # for everyone else it is 127.0.0.1
_OWN = ("docker-content-digest", "etag", "cache-control", "x-request-id")


class NoRanges(Switch):
    def amend(self, ask: Ask) -> None:
        if ask.target.route in ("blob", "content"):
            ask.drop_headers("range", "if-range")

    def alter(self, ask: Ask, head: Head) -> Reply | None:
        head.remove("accept-ranges")
        return None


class NoDigestHeader(Switch):
    def alter(self, ask: Ask, head: Head) -> Reply | None:
        head.remove("docker-content-digest")
        return None


class StrictAccept(Switch):
    """OCI's types are there only for who names them; `*/*` names none of them."""

    def alter(self, ask: Ask, head: Head) -> Reply | None:
        if ask.target.route != "manifest" or head.status != 200 or ask.target.method not in ("GET", "HEAD"):
            return None
        media_type = head.get("content-type")
        accepted = {each.partition(";")[0].strip() for each in ask.header("accept").split(",")}
        if not media_type.startswith("application/vnd.oci.") or media_type in accepted:
            return None
        return error(404, "MANIFEST_UNKNOWN", f"found {media_type}, but the Accept header does not name it")


class Redirects(Switch):
    """A GET of a blob leads to a link on another host, which is good for some minutes and needs no login.

    As object stores do, it refuses who logs in on top of that. Where the registry is found as 127.0.0.1 or
    [::1], the other host is localhost, else 127.0.0.1: another name, for clients, and the same server.
    """

    def __init__(self) -> None:
        self._links: OrderedDict[str, tuple[bytes, list[tuple[bytes, bytes]], float]] = OrderedDict()

    async def refuse(self, ask: Ask) -> Reply | None:
        if ask.target.route != "content":
            return None
        if ask.header("authorization"):
            return Reply(400, {"content-type": "text/plain"}, b"Only one auth mechanism allowed\n")
        _, _, until = self._links.get(ask.target.reference, (b"", [], 0.0))
        if ask.target.method not in ("GET", "HEAD") or until < time.monotonic():
            return Reply(403, {"content-type": "text/plain"}, b"The link is unknown, or has expired\n")
        return None

    def amend(self, ask: Ask) -> None:
        if ask.target.route == "content":
            path, login, _ = self._links[ask.target.reference]
            ask.scope.update(path=path.decode("latin-1"), raw_path=path, query_string=b"")
            ask.scope["headers"] = [*ask.scope["headers"], *login]

    def alter(self, ask: Ask, head: Head) -> Reply | None:
        if ask.target.route == "content":
            head.remove(*_OWN)
        elif _pulls(ask) and head.status in (200, 206):
            return Reply(307, {"location": f"{_elsewhere(ask)}{CONTENT}{self._link(ask)}"})
        return None

    def _link(self, ask: Ask) -> str:
        name = secrets.token_urlsafe(16)
        login = [pair for pair in ask.scope["headers"] if pair[0] == b"authorization"]
        self._links[name] = (ask.scope["raw_path"], login, time.monotonic() + _SECONDS)
        if len(self._links) > _MOST_LINKS:
            self._links.popitem(last=False)
        return name


def _pulls(ask: Ask) -> bool:
    return ask.target.route == "blob" and ask.target.method == "GET"


def _elsewhere(ask: Ask) -> str:
    scheme, _, authority = ask.origin.partition("://")
    port = _PORT.search(authority)
    host = authority.removesuffix(port[0]) if port else authority
    return f"{scheme}://{_OTHER.get(host, '127.0.0.1')}{port[0] if port else ''}"
