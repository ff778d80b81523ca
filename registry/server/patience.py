"""How long a client may keep the server waiting: a rate that holds however unevenly the bytes come."""


class Patience:
    """Waiting uses it up, bytes bring it back, and it is never more than at the beginning.

    So whoever brings `rate` bytes a second while he is waited for, on average over `seconds`, is never left;
    whoever brings nothing has `seconds`, and at half the rate it takes twice as long. Only the time in which
    the server has nothing else to do is to be told: hashing and a slow disk are no fault of the client's.
    """

    __slots__ = ("_most", "_rate", "left")

    def __init__(self, seconds: float, rate: float) -> None:
        self._most, self._rate = seconds, rate
        self.left = seconds

    def waited(self, seconds: float) -> None:
        # Never below nothing: what a late look finds has come while nobody looked.
        self.left = max(0.0, self.left - seconds)

    def brought(self, count: int) -> None:
        self.left = min(self._most, self.left + count / self._rate)

    @property
    def is_over(self) -> bool:
        return self.left <= 0.0
