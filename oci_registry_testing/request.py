"""A request that the registry was sent, as a test asserts on it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """`path` and `query` as they were sent; names of `headers` in lower case, values of one name joined.

    `status` is 0 as long as there is no answer. `bytes` are those of the answer's body, `who` is the user's
    name, empty for nobody's. `time` is when it began, in seconds since 1970.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int
    bytes: int
    who: str
    time: float

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def __str__(self) -> str:
        who = f" by {self.who}" if self.who else ""
        return f"{self.method} {self.target} → {self.status or 'no answer'}, {self.bytes} bytes{who}"
