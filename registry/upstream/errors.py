"""What can come of asking an upstream. No text here holds a secret, or a URL's query, which may be one.

What a client of ours is told of it is up to whoever asks for the client: it may have something older.
"""


class UpstreamError(Exception):
    """The base of the facts below. `name` is the upstream's, as clients and the settings call it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name, self.why = name, why


class UpstreamMissing(UpstreamError):
    """It has no such thing, or none that this registry may see: the two cannot be told apart."""


class UpstreamHeadless(UpstreamMissing):
    """It does not answer this to a HEAD, and says nothing of what it would answer to a GET."""


class UpstreamDenied(UpstreamError):
    """It wants a login that this registry lacks, or refuses the one that it has."""


class UpstreamBusy(UpstreamError):
    """It asks for patience (429), for so many seconds at least."""

    def __init__(self, name: str, why: str, retry_after: float) -> None:
        super().__init__(name, why)
        self.retry_after = retry_after


class UpstreamFailed(UpstreamError):
    """It could not be reached, was too slow, broke off or failed; the same request may succeed later.

    `retry_after` in seconds, where it said so itself or is left alone so long.
    """

    def __init__(self, name: str, why: str, retry_after: float | None = None) -> None:
        super().__init__(name, why)
        self.retry_after = retry_after


class UpstreamForged(UpstreamError):
    """What it sent is not what was asked for, or contradicts itself."""


class UpstreamAstray(UpstreamError):
    """It leads where this registry does not go: a redirect or a realm that nothing in the settings allows."""
