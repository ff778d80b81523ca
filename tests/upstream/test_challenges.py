"""What an upstream's WWW-Authenticate asks for."""

import time

import pytest

from registry.upstream.challenges import Challenge, read_challenges

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'


@pytest.mark.parametrize(
    ("value", "challenges"),
    [
        (
            HUB,
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ("BASIC", [("basic", {})]),
        ('Basic Realm = "a\\"b" , charset=UTF-8', [("basic", {"realm": 'a"b', "charset": "UTF-8"})]),
        ('Negotiate, Bearer realm="r", Basic realm="b"',
         [("negotiate", {}), ("bearer", {"realm": "r"}), ("basic", {"realm": "b"})]),
        ('Bearer realm="a",realm="b"', [("bearer", {"realm": "a"})]),
        ('Bearer realm="a', [("bearer", {})]),
        ("", []),
        ('"x"', []),
        ("x" * 9000, []),
    ],
)  # fmt: skip
def test_challenges(value: str, challenges: list[tuple[str, dict[str, str]]]) -> None:
    assert read_challenges([value]) == tuple(Challenge(*each) for each in challenges)


def test_several_fields() -> None:
    assert [each.scheme for each in read_challenges(["Basic", HUB])] == ["basic", "bearer"]


@pytest.mark.parametrize("unit", [" ", ",", "a ", 'a="', "a=b,", "\\", 'a="\\'])
def test_reading_takes_no_time(unit: str) -> None:
    began = time.process_time()
    read_challenges(["Bearer " + unit * (8000 // len(unit))])
    assert time.process_time() - began < 0.5
