"""If-Match and If-None-Match as sets of digests, and what they allow."""

import pytest

from registry.conditions import ANY, Condition, parse_condition
from registry.errors import ConditionInvalid
from storage.digest import Digest
from storage.errors import PreconditionFailed

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


@pytest.mark.parametrize(
    ("header", "strong", "weak"),
    [
        (None, set(), set()),
        ("*", {ANY}, {ANY}),
        (" *\t", {ANY}, {ANY}),
        ('"a"', {"a"}, {"a"}),
        ('"*"', {"*"}, {"*"}),
        ('""', {""}, {""}),
        ('"a", "b"', {"a", "b"}, {"a", "b"}),
        ('"a","b"', {"a", "b"}, {"a", "b"}),
        (' "a"\t ,\t"b" ,', {"a", "b"}, {"a", "b"}),
        ('"a,b"', {"a,b"}, {"a,b"}),
        (',"a", ,,\t"b", ,', {"a", "b"}, {"a", "b"}),
        ('W/"a"', {""}, {"a"}),
        ('"a", W/"b"', {"a", ""}, {"a", "b"}),
    ],
)
def test_headers(header: str | None, strong: set[str], weak: set[str]) -> None:
    """A weak tag matches nothing in If-Match, but the header stays a condition."""
    assert parse_condition(header, None) == Condition(match=frozenset(strong))
    assert parse_condition(None, header) == Condition(none_match=frozenset(weak))


UNREADABLE = (
    *(
        "",
        " ",
        ",",
        " , ,",
        "a",
        "'a'",
        '"a',
        'a"',
        '"a" "b"',
        "*, *",
        '*, "a"',
        'w/"a"',
        'W/ "a"',
        '"a b"',
        '"a\x7f"',
    ),
    *('"a"' + "," * 9000, '"' + "a" * 9000 + '"'),
)


@pytest.mark.parametrize("header", UNREADABLE)
def test_unreadable_headers(header: str) -> None:
    for name, headers in (("If-Match", (header, None)), ("If-None-Match", (None, header))):
        with pytest.raises(ConditionInvalid, match=f"^{name} is ") as raised:
            parse_condition(*headers)
        assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("match", "none_match", "allowed"),
    [
        (None, None, {None, ONE, TWO}),
        ("*", None, {ONE, TWO}),
        (None, "*", {None}),
        (f'"{ONE}"', None, {ONE}),
        (None, f'"{ONE}"', {None, TWO}),
        (f'"{ONE}", "{TWO}"', None, {ONE, TWO}),
        (f'W/"{ONE}"', None, set()),
        (None, f'W/"{ONE}"', {None, TWO}),
        ('"*"', None, set()),
        (None, '"*"', {None, ONE, TWO}),
        ("*", f'"{ONE}"', {TWO}),
        ("*", "*", set()),
        ('""', None, set()),
    ],
)
@pytest.mark.parametrize("found", [None, ONE, TWO])
def test_writes(
    match: str | None, none_match: str | None, allowed: set[Digest | None], found: Digest | None
) -> None:
    asked = parse_condition(match, none_match)
    if found in allowed:
        asked.check("tag x", found)
        return
    with pytest.raises(PreconditionFailed) as raised:
        asked.check("tag x", found)
    assert str(raised.value).startswith(f"tag x is {found or 'absent'}, the request allows ")


@pytest.mark.parametrize(
    ("match", "none_match", "answer"),
    [
        (None, None, False),
        (None, "*", True),
        (None, f'"{ONE}"', True),
        (None, f'W/"{ONE}"', True),
        (None, f'"{TWO}"', False),
        ("*", f'"{ONE}"', True),
        (f'"{ONE}"', None, False),
        (f'"{TWO}"', f'"{ONE}"', None),
        (f'"{TWO}"', None, None),
    ],
)
def test_reads(match: str | None, none_match: str | None, answer: bool | None) -> None:
    """None stands for a refusal."""
    asked = parse_condition(match, none_match)
    if answer is None:
        with pytest.raises(PreconditionFailed):
            asked.not_modified(ONE)
    else:
        assert asked.not_modified(ONE) is answer
