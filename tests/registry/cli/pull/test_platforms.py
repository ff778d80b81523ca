"""Platforms: what they are called, and what of an index is for them."""

import platform

import pytest

from registry.cli.pull.platforms import (
    Platform,
    PlatformInvalid,
    choose,
    make_platform,
    own_platform,
    parse_platform,
)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/v7", "linux/arm"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/armv6l", "linux/arm/v6"),
        ("linux/armhf", "linux/arm"),
        ("windows/amd64", "windows/amd64"),
        ("linux/riscv64", "linux/riscv64"),
    ],
)
def test_names(written: str, found: str) -> None:
    assert str(parse_platform(written)) == found


@pytest.mark.parametrize("written", ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/a b", "all"])
def test_what_is_no_platform(written: str) -> None:
    with pytest.raises(PlatformInvalid, match="expected OS/ARCH"):
        parse_platform(written)


@pytest.mark.parametrize(
    ("system", "machine", "own"),
    [
        ("Linux", "x86_64", "linux/amd64"),
        ("Darwin", "arm64", "linux/arm64"),
        ("Windows", "AMD64", "windows/amd64"),
        ("Linux", "armv7l", "linux/arm"),
    ],
)
def test_this_machine(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, own: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert str(own_platform()) == own


def offers(*written: str) -> list[Platform | None]:
    """As an index may have them: the usual variant said outright, or not."""
    return [make_platform(*each.split("/")) if each else None for each in written]


MANY = offers(
    "linux/amd64", "linux/arm/v5", "linux/arm/v7", "linux/arm64/v8", "windows/amd64", "unknown/unknown"
)


@pytest.mark.parametrize(
    ("offered", "wanted", "places"),
    [
        (MANY, ["linux/amd64"], [0]),
        (MANY, ["linux/amd64/v3"], [0]),
        (MANY, ["linux/arm"], [2]),
        (MANY, ["linux/arm/v6"], [1]),
        (MANY, ["linux/arm64"], [3]),
        (MANY, ["windows/amd64", "linux/amd64", "linux/x86_64"], [0, 4]),
        (MANY, [], [0, 1, 2, 3, 4, 5]),
        (offers("linux/amd64/v1", "linux/amd64/v3"), ["linux/amd64/v4"], [1]),
        (offers("linux/amd64/v2"), ["linux/amd64/v2"], [0]),
        (offers("linux/amd64", "linux/amd64"), ["linux/amd64"], [0]),
        (offers("", ""), ["linux/amd64"], [0, 1]),
        (offers("", "linux/amd64"), ["linux/amd64"], [1]),
        ([], ["linux/amd64"], []),
    ],
)
def test_what_is_chosen(offered: list[Platform | None], wanted: list[str], places: list[int]) -> None:
    assert choose(offered, [parse_platform(each) for each in wanted]) == places


@pytest.mark.parametrize("wanted", ["linux/s390x", "darwin/amd64", "linux/arm64/v9"])
def test_what_is_not_there(wanted: str) -> None:
    with pytest.raises(LookupError, match=f"nothing for {wanted} in it, but for linux/amd64, linux/arm, "):
        choose(MANY, [parse_platform(wanted)])
