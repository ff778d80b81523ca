"""What can go wrong in a registry beyond the store's own facts. Nothing here knows of a status code."""


class RegistryError(Exception):
    """The base of all facts below."""


class NameInvalid(RegistryError):
    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{text[:160]!r} is not a repository name: {why}")


class TagInvalid(RegistryError):
    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text[:160]!r} is not a tag: expected 1 to 128 of A-Z a-z 0-9 . _ -, not . or - first"
        )


class ManifestInvalid(RegistryError):
    """The body is no manifest that every client would read alike."""


class ManifestTooLarge(RegistryError):
    def __init__(self, limit: int) -> None:
        super().__init__(f"the manifest is larger than {limit} bytes")
        self.limit = limit


class Unauthenticated(RegistryError):
    """Who asks is unknown, or showed a token that does not reach so far.

    `scope` is what a token would need, as the distribution token specification writes it. `error` is a code
    of RFC 6750, section 3.1, where a token was shown. `account` is the user name of a login that failed, and
    may be anything: people type passwords there.
    """

    def __init__(self, why: str, *, scope: str = "", error: str = "", account: str = "") -> None:
        super().__init__(why)
        self.scope, self.error, self.account = scope, error, account


class TooManyRequests(RegistryError):
    """`retry_after` is in whole seconds; `account` as in Unauthenticated."""

    def __init__(self, why: str, *, retry_after: int, account: str = "") -> None:
        super().__init__(f"{why}: try again in {retry_after} s")
        self.retry_after, self.account = retry_after, account


class Denied(RegistryError):
    """Who asks is known, or cannot become known, and may not."""


class TagImmutable(RegistryError):
    def __init__(self, name: str, pattern: str, named: object) -> None:
        super().__init__(
            f"{name} is immutable here (immutable_tags has {pattern!r}) and stays {named}: push another tag"
        )


class ConditionInvalid(RegistryError):
    def __init__(self, header: str, text: str) -> None:
        super().__init__(f'{header} is {text[:160]!r}: expected * or quoted digests, such as "sha256:..."')


class Unsupported(RegistryError):
    """An operation that this registry, as it is set up, does not offer."""
