"""Facts say what was wrong and what was expected, in a text of bounded length."""

import pytest

from registry.errors import (
    ConditionInvalid,
    ManifestTooLarge,
    NameInvalid,
    RegistryError,
    TagImmutable,
    TagInvalid,
)

ENDLESS = "x" * 100_000


@pytest.mark.parametrize(
    ("fact", "says"),
    [
        (NameInvalid("A/b", "it is wrong"), ("'A/b' is not a repository name", "it is wrong")),
        (TagInvalid("-x"), ("'-x' is not a tag", "1 to 128 of A-Z a-z 0-9")),
        (ManifestTooLarge(4096), ("larger than 4096 bytes",)),
        (ConditionInvalid("If-Match", "x"), ("If-Match is 'x'", "expected * or quoted digests")),
        (
            TagImmutable("team/app:v1", "*:v*", "sha256:12"),
            ("team/app:v1 is immutable", "'*:v*'", "sha256:12", "push another"),
        ),
        (NameInvalid(ENDLESS, "it is long"), ("it is long",)),
        (TagInvalid(ENDLESS), ("is not a tag",)),
        (ConditionInvalid("If-Match", ENDLESS), ("quoted digests",)),
    ],
)
def test_messages(fact: RegistryError, says: tuple[str, ...]) -> None:
    for words in says:
        assert words in str(fact)
    assert len(str(fact)) < 400


def test_control_characters_are_shown_escaped() -> None:
    for fact in (
        NameInvalid("a\x1b[31m\n", "no"),
        TagInvalid("a\r\nb"),
        ConditionInvalid("If-Match", "\x07"),
    ):
        assert str(fact).isprintable()


def test_a_limit_is_a_number_too() -> None:
    assert ManifestTooLarge(7).limit == 7
