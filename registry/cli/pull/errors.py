"""What ends the pull of a manifest or a blob."""


class PullFailed(Exception):
    """Trying again is of no use. The text is for people."""


class Interrupted(PullFailed):
    """It may go on where it was; not before `after` seconds have passed."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


class UpstreamUnknown(PullFailed):
    def __init__(self, host: str, server: str) -> None:
        super().__init__(
            f"{server} fetches nothing from {host}: add an [[upstream]] with name = {host!r} to its "
            f"settings, or start it with --mirror {host}"
        )


class LoginRefused(PullFailed):
    def __init__(self, server: str, *, logged_in: bool) -> None:
        wants = f"{server} wants a login that may pull this: add --username NAME --password-stdin"
        super().__init__(f"{server} refuses the login" if logged_in else wants)
