"""A registry for a test: started, filled, looked into, stopped."""

import asyncio
import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from oci_registry_testing.artifacts import ARTIFACT, Files, make_artifact
from oci_registry_testing.broken import Broken
from oci_registry_testing.content import Content
from oci_registry_testing.images import PLATFORM, LayerLike, make_image
from oci_registry_testing.layouts import read_images
from oci_registry_testing.manifests import OCI_IMAGE, digest_of
from oci_registry_testing.names import Reference, parse_reference
from oci_registry_testing.pushing import Place, Pushed, pushing
from oci_registry_testing.request import Request
from oci_registry_testing.sides import Side, start_beside, start_inside

if TYPE_CHECKING:
    from registry.testing.faults import Fault

Source = str | os.PathLike[str] | Mapping[str, "Content | Files | Sequence[LayerLike]"]
"""A folder or archive of images; or images by reference: whole, by their only layer's files, by layers."""


FaultLike: TypeAlias = "Mapping[str, object] | Fault"
"""A table as docs/faults.md has it, `{"do": "refuse", "status": 503}`; or an object."""


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that happened to a request."""

    fault: Mapping[str, object]
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest that the registry holds, with all its tags."""

    repository: str
    digest: str
    media_type: str
    tags: tuple[str, ...]
    manifest: bytes


class Registry:
    """Empty when it starts, gone without a trace when it stops; on 127.0.0.1, on a port that was free.

    `isolated`: in a process of its own. `users`: names with passwords; then nobody else comes in, unless the
    setting `anonymous` says so. `tls`: HTTPS, by an authority that is in `authority`. `profile`: another
    registry's behaviour, by its name or by a file (docs/profiles.md). `faults`: what goes wrong
    (docs/faults.md). Everything else is a setting of the registry's, such as `delete=False`.
    """

    def __init__(
        self,
        *,
        isolated: bool = False,
        users: Mapping[str, str] | None = None,
        tls: bool = False,
        profile: str = "",
        faults: Sequence[FaultLike] = (),
        **settings: object,
    ) -> None:
        self.isolated = isolated
        self.users = dict(users or {})
        self._wish = {
            "settings": settings,
            "users": self.users,
            "tls": tls,
            "profile": profile,
            "faults": [_plain(fault) for fault in faults],
        }
        self._side: Side | None = None
        self._place: Place | None = None

    # -- its life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Raises CannotStart."""
        if self._side is not None:
            raise RuntimeError("this registry has been started: stop it first, or make another")
        self._side, place = (start_beside if self.isolated else start_inside)(self._wish)
        self._place = Place(**{**place, "door": tuple(place["door"])})

    def stop(self) -> None:
        """No thread, descriptor or file is left. Another stop does nothing."""
        side, self._side = self._side, None
        if side is not None:
            side.stop()

    def restart(self) -> None:
        """Stop and start, with its content and on its port; who connects meanwhile waits."""
        self._running.restart()

    def reset(self) -> None:
        """Empty again, and no request remembered."""
        self._running.reset()

    def fail(self, *faults: FaultLike) -> None:
        """With these faults from now on, in place of those before; without any, with none."""
        self._running.fail([_plain(fault) for fault in faults])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        begun = asyncio.create_task(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(begun)
        except asyncio.CancelledError:
            # The thread goes on all the same, and nobody would stop what it has started.
            (failed,) = await asyncio.gather(begun, return_exceptions=True)
            if failed is None:
                await asyncio.to_thread(self.stop)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    # -- where it is -----------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """HOST:PORT, as it stands in the names of images."""
        return self._at.netloc

    @property
    def port(self) -> int:
        return self._at.port

    @property
    def url(self) -> str:
        """http://HOST:PORT, or https."""
        return f"{self._at.scheme}://{self.host}"

    @property
    def authority(self) -> str:
        """With `tls`: the path of the certificate that clients have to trust, as PEM."""
        if not self._at.authority:
            raise RuntimeError("this registry serves plain HTTP: make it with Registry(tls=True)")
        return self._at.authority

    @property
    def login(self) -> tuple[str, str]:
        """Of the first user: name and password."""
        for name, password in self.users.items():
            return name, password
        raise RuntimeError("this registry has no users: make it with Registry(users={'ann': 'secret'})")

    # -- what is put in: past all rules, and in no record ------------------------------------------------

    def push(self, reference: str, content: Content) -> Pushed:
        """`reference` is REPOSITORY:TAG; REPOSITORY alone pushes by digest."""
        return self._push(_named(reference, content.digest), content)

    def push_image(
        self,
        reference: str,
        *layers: LayerLike,
        platform: str = PLATFORM,
        config: Mapping[str, object] | None = None,
        annotations: Mapping[str, str] | None = None,
        docker: bool = False,
    ) -> Pushed:
        """An image of these layers; see `images.make_image`. Without a tag it gets `latest`."""
        content = make_image(
            *layers, platform=platform, config=config, annotations=annotations, docker=docker
        )
        named = _named(reference, content.digest)
        return self._push(
            named if named.tag else Reference(named.repository, "latest", named.digest), content
        )

    def push_artifact(
        self,
        reference: str,
        files: Files | None = None,
        artifact_type: str = ARTIFACT,
        *,
        subject: Content | Pushed | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Pushed:
        """An artifact of these files; see `artifacts.make_artifact`. Without a tag it is found by digest."""
        about = subject.content if isinstance(subject, Pushed) else subject
        content = make_artifact(files, artifact_type, subject=about, annotations=annotations)
        return self.push(reference, content)

    def seed(self, source: Source, repository: str = "") -> list[Pushed]:
        """All images of an OCI layout or a `docker save` archive, or of a mapping.

        What has no repository of its own in a layout comes into `repository`, by default the file's name.
        """
        if isinstance(source, Mapping):
            return [self.push(name, _content_of(given)) for name, given in source.items()]
        return [self._push(named, content) for named, content in read_images(source, repository)]

    def plant(self, reference: str, manifest: bytes | Broken, media_type: str = OCI_IMAGE) -> str:
        """Serve these bytes as a manifest, whatever they are, and return their digest."""
        data, kind = (
            (manifest.manifest, manifest.media_type)
            if isinstance(manifest, Broken)
            else (manifest, media_type)
        )
        named = _named(reference, digest_of(data))
        text = base64.b64encode(data).decode()
        self._running.plant(named.repository, named.tag, named.digest, text, kind)
        return named.digest

    # -- what it holds, and what it was asked ------------------------------------------------------------

    @property
    def requests(self) -> tuple[Request, ...]:
        """All that clients have made since the start, `reset` or `forget_requests`, in their order."""
        return tuple(Request(**each) for each in self._running.requests())

    @property
    def fired(self) -> tuple[Fired, ...]:
        """Faults that have happened since the start or `reset`, in their order."""
        return tuple(Fired(**each) for each in self._running.fired())

    def forget_requests(self) -> None:
        self._running.forget()

    def manifests(self) -> list[Stored]:
        """Every manifest of every repository, in the order in which they came, those without a tag too."""
        return [
            Stored(
                each["repository"],
                each["digest"],
                each["media_type"],
                tuple(each["tags"]),
                _read(each["path"]),
            )
            for each in self._running.manifests()
        ]

    def blob(self, digest: str) -> bytes:
        """The bytes that are stored, manifests' too. Raises KeyError."""
        path = self._running.blob(digest)
        if path is None:
            raise KeyError(digest)
        return _read(path)

    def _push(self, named: Reference, content: Content) -> Pushed:
        with pushing(self._at) as pusher:
            pusher.push(named.repository, content, *([named.tag] if named.tag else []))
        return Pushed(self.host, named, content)

    @property
    def _running(self) -> Side:
        if self._side is None:
            raise RuntimeError("this registry is not running: use `with Registry() as r:`, or start it")
        return self._side

    @property
    def _at(self) -> Place:
        if self._place is None:
            raise RuntimeError("this registry has not been started: use `with Registry() as r:`")
        return self._place


def _named(reference: str, digest: str) -> Reference:
    named = parse_reference(reference)
    if named.digest and named.digest != digest:
        raise ValueError(f"{reference} names another digest than what is pushed there, which has {digest}")
    return Reference(named.repository, named.tag, digest)


def _content_of(given: "Content | Files | Sequence[LayerLike]") -> Content:
    if isinstance(given, Content):
        return given
    return make_image(given) if isinstance(given, Mapping) else make_image(*given)


def _plain(fault: FaultLike) -> dict[str, Any]:
    if isinstance(fault, Mapping):
        return dict(fault)
    if not hasattr(fault, "effect"):
        raise TypeError(
            f"{fault!r} is no fault: expected a list of tables such as [{{'do': 'refuse', 'status': 503}}]"
        )
    from registry.testing.fault_file import describe  # who has such an object has that module, too

    return describe(fault)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
