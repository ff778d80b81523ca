"""Places in a listing that tell nothing."""

import pytest

from registry.api.cursors import Cursors
from registry.api.errors import PageInvalid

KEY = b"k" * 32
NAME = "secret/merger"


def test_what_is_sealed_is_opened_again_by_any_worker() -> None:
    for name in ("", "a", NAME, "x" * 255):
        sealed = Cursors(KEY).seal(name)
        assert Cursors(KEY).open(sealed) == name
        assert len(name) < 8 or name not in sealed
        assert Cursors(KEY).seal(name) != sealed


def test_a_name_is_itself() -> None:
    assert Cursors(KEY).open(NAME) == NAME


@pytest.mark.parametrize(
    "text",
    [
        "~",
        "~AAAA",
        "~!!!",
        "~é",
        Cursors(b"another").seal(NAME),
        Cursors(KEY).seal(NAME)[:-2],
        Cursors(KEY).seal(NAME)[:-2] + "AA",
        "~" + Cursors(KEY).seal(NAME)[:0:-1],
    ],
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(PageInvalid):
        Cursors(KEY).open(text)
