import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import NameInvalid, TagInvalid
from registry.names import RepositoryName, Tag, parse_public_name, parse_reference
from storage.digest import Digest
from storage.errors import InvalidDigest

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "0",
        "library/ubuntu",
        "a.b_c__d-e---f/g0",
        "a--b",
        "docker.io/library/x",
        "a/blobs/uploads",
        "tags/list/x",
        "manifests/manifests",
        "v2/v2",
        "/".join("a" * 128),
        "a" * 255,
        "a/" * 127 + "a",
    ],
)
def test_repository_names(text: str) -> None:
    name = RepositoryName(text)
    assert name == text
    assert hash(name) == hash(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 256,
        "a/" * 127 + "ab",
        "a\n",
        "\na",
        "a ",
        "a b",
        "A",
        "aB",
        "ä",
        "a\u0131",  # dotless i
        "\u212a",  # the kelvin sign, whose lower case is k
        "٣",
        "a²",
        "a\0",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/..",
        "a/../b",
        "a/./b",
        "a\\b",
        "a%2fb",
        "a:b",
        "a@b",
        "a..b",
        "a._b",
        "a___b",
        "a-_b",
        "a-",
        "-a",
        "_a",
        "a_",
        "a.",
        ".a",
        "a/_b",
        "a/.b",
        "a/b-/c",
        "a-" * 100_000,
    ],
)
def test_no_repository_names(text: str) -> None:
    start = time.thread_time()
    with pytest.raises(NameInvalid, match="is not a repository name"):
        RepositoryName(text)
    assert time.thread_time() - start < 0.1


@pytest.mark.parametrize(
    "text", ["a", "_", "0", "A.b-C_d", "latest", "v1.2.3", "1..2--3__4", "a" * 128, f"sha256-{HEX}.sig"]
)
def test_tags(text: str) -> None:
    assert Tag(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 129,
        ".a",
        "-a",
        "..",
        "a/b",
        "a\\b",
        "../a",
        "a\n",
        "a b",
        "a+b",
        "a%20",
        "a\0",
        "ä",
        "٣",
        "a٣",
        "\u212a",
        "a:b",
        "a@b",
    ],
)
def test_no_tags(text: str) -> None:
    with pytest.raises(TagInvalid, match="is not a tag"):
        Tag(text)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("latest", Tag("latest")),
        (f"sha256-{HEX}", Tag(f"sha256-{HEX}")),
        (HEX, Tag(HEX)),
        (f"sha256:{HEX}", Digest("sha256", HEX)),
        (f"sha512:{HEX * 2}", Digest("sha512", HEX * 2)),
    ],
)
def test_references(text: str, reference: Tag | Digest) -> None:
    found = parse_reference(text)
    assert found == reference
    assert type(found) is type(reference)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", TagInvalid),
        ("a b", TagInvalid),
        ("sha256:", InvalidDigest),
        ("sha256:baddigeststring", InvalidDigest),
        (f"sha256:{HEX}\n", InvalidDigest),
        (f"blake3:{HEX}", InvalidDigest),
        ("a:b:c", InvalidDigest),
        (":", InvalidDigest),
    ],
)
def test_no_references(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_reference(text)


@given(st.text() | st.text(alphabet="ab0._-/", max_size=20))
def test_names_by_a_second_grammar(text: str) -> None:
    # Component by component: alphanumeric runs with single separators between them.
    parts = text.split("/")
    valid = all(
        re.fullmatch("[a-z0-9]+", part[:1])
        and re.fullmatch("[a-z0-9]+", part[-1:])
        and all(run in {".", "_", "__"} or set(run) == {"-"} for run in re.findall("[^a-z0-9]+", part))
        for part in parts
    )
    try:
        assert RepositoryName(text) == text
    except NameInvalid:
        assert not valid
    else:
        assert valid


@pytest.mark.parametrize("text", ["team/app", "docker.io/library/alpine", "registry.corp:5000/a/b"])
def test_names_that_rules_have(text: str) -> None:
    assert parse_public_name(text) == text


@pytest.mark.parametrize(
    "text", ["", "a:b", "a:5000", "a:5000/", "a:5000/B", "a:/b", "a:5000/b:1", "A:5000/b", ":5000/b"]
)
def test_names_that_no_rule_has(text: str) -> None:
    with pytest.raises(NameInvalid):
        parse_public_name(text)
