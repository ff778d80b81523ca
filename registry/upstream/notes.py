"""What is told of each upstream, for figures: one observer each."""

from typing import Protocol

from registry.upstream.errors import UpstreamError


class Notes(Protocol):
    """Called in the middle of requests, so it must be quick and must not raise."""

    def asked(self) -> None:
        """A request goes out. The login and the redirects that it needs are part of it."""

    def received(self, count: int) -> None:
        """So many bytes of manifests and blobs came in."""

    def answered(self) -> None:
        """It is well, as far as this request shows."""

    def failed(self, error: UpstreamError, rest: float) -> None:
        """It is not, or is no use; it is left alone for so many seconds."""


class Unnoted:
    """For who wants to know nothing."""

    def asked(self) -> None: ...

    def received(self, count: int) -> None: ...

    def answered(self) -> None: ...

    def failed(self, error: UpstreamError, rest: float) -> None: ...
