"""Where a request's content is looked for, and by which names rights are asked for: by names alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from registry.auth.addresses import is_loopback
from registry.errors import RegistryError
from registry.names import JoinedName, RepositoryName
from registry.patterns import matches
from registry.upstream.settings import Upstream
from storage.rows import FETCHED


class NamespaceUnknown(RegistryError):
    """Who asks for another registry's image goes on to that registry itself."""

    def __init__(self, namespace: str) -> None:
        super().__init__(
            f"images of {namespace[:100]!r} are not kept here: it is neither an upstream of this registry "
            "nor a name of its own"
        )


def public_name(kept: str) -> RepositoryName:
    """By which rules name what the index has under this name. Raises NameInvalid."""
    return JoinedName(kept.removeprefix(FETCHED)) if kept.startswith(FETCHED) else RepositoryName(kept)


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository of an upstream, by the name that it has there."""

    upstream: Upstream
    repository: RepositoryName

    @property
    def kept(self) -> RepositoryName:
        """Under which it is in the index: a name that no client can say, so that no push gets there."""
        return JoinedName(f"{FETCHED}{self.upstream.name}/{self.repository}")

    @property
    def public(self) -> RepositoryName:
        """By which rules name it."""
        return JoinedName(f"{self.upstream.name}/{self.repository}")


@dataclass(frozen=True, slots=True)
class Way:
    """`remote` is asked before `local`, what was pushed here. A right to one of `names` is enough."""

    names: tuple[RepositoryName, ...]
    remote: Remote | None = None
    local: RepositoryName | None = None

    @property
    def kept(self) -> RepositoryName:
        """Under which name the index may have it: what was pushed, where that is possible."""
        if self.remote is None or self.local is not None:
            return self.local or self.names[0]
        return self.remote.kept


class Routing:
    """`local` are patterns of names that no upstream is asked for; `url` is where clients find this registry.

    Without upstreams every name is one of our own.
    """

    def __init__(self, upstreams: Sequence[Upstream] = (), local: Sequence[str] = (), url: str = "") -> None:
        self._upstreams = {upstream.name: upstream for upstream in upstreams}
        self._default = next((upstream for upstream in upstreams if upstream.default), None)
        self._local, self._own = local, urlsplit(url).netloc

    def find(self, name: RepositoryName, namespace: str = "") -> Way:
        """`namespace` is what containerd says as `?ns=`. Raises NamespaceUnknown."""
        if not self._upstreams:
            return Way((name,), local=name)
        if namespace and not self._is_own(namespace):
            if namespace not in self._upstreams:
                raise NamespaceUnknown(namespace)
            # The same upstream may be in the path, too: mirrors are set up with either.
            repository = name.removeprefix(f"{namespace}/")
            return self._below(self._upstreams[namespace], repository)
        first, slash, rest = name.partition("/")
        if slash and first in self._upstreams:
            return self._below(self._upstreams[first], rest)
        if self._default is None or matches(self._local, name):
            return Way((name,), local=name)
        return Way((name,), _remote(self._default, name), name)

    def _below(self, upstream: Upstream, repository: str) -> Way:
        said, remote = JoinedName(f"{upstream.name}/{repository}"), _remote(upstream, repository)
        if matches(self._local, said):
            return Way((said,), local=said)
        names = (said,) if said == remote.public else (said, remote.public)
        return Way(names, remote)

    def _is_own(self, namespace: str) -> bool:
        """Clusters on a developer's machine know a registry beside them as one of the machine itself."""
        try:
            host = urlsplit(f"//{namespace}").hostname or ""
        except ValueError:
            return False
        return namespace == self._own or host.endswith(".localhost") or is_loopback(host)


def _remote(upstream: Upstream, repository: str) -> Remote:
    return Remote(upstream, JoinedName(upstream.remote(repository)))
