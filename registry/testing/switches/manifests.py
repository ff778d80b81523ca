"""What manifests are taken, and what can be said along with them."""

from registry.testing.exchange import Ask, Reply, error
from registry.testing.switches.switch import Switch

_DOCKER = "application/vnd.docker.distribution.manifest."


class ManifestCap(Switch):
    def __init__(self, most: int) -> None:
        self._most = most

    async def refuse(self, ask: Ask) -> Reply | None:
        if ask.target.route != "manifest" or ask.target.method != "PUT":
            return None
        length = ask.header("content-length")
        size = int(length) if length.isdecimal() else len(await ask.read(self._most))
        if size > self._most:
            return error(413, "MANIFEST_INVALID", f"the manifest has more than {self._most} bytes")
        return None


class DockerTypesOnly(Switch):
    async def refuse(self, ask: Ask) -> Reply | None:
        if ask.target.route != "manifest" or ask.target.method != "PUT":
            return None
        if ask.header("content-type").startswith(_DOCKER):
            return None
        return error(400, "MANIFEST_INVALID", "only Docker's types of manifests are taken here")


class NoTagParameters(Switch):
    def amend(self, ask: Ask) -> None:
        if ask.target.route == "manifest":
            ask.drop_query("tag")


class NoSha512(Switch):
    async def refuse(self, ask: Ask) -> Reply | None:
        named = (ask.target.reference, ask.query("digest") or "", ask.query("mount") or "")
        if any(each.startswith("sha512:") for each in named):
            return error(400, "DIGEST_INVALID", "digests are by sha256 here")
        return None
