import hashlib
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.digest import ALGORITHMS, Digest, new_hasher
from storage.errors import InvalidDigest

HEX = "0123456789abcdef" * 4
KNOWN = [f"sha256:{HEX}", f"sha512:{HEX * 2}"]
OTHER = ["blake3:abc", "sha384:AB_c-=", "multihash+base58:Qmx", "a.b_c-d:0", "a:" + "b" * 253]


@pytest.mark.parametrize("text", KNOWN)
def test_supported(text: str) -> None:
    digest = Digest.parse(text)
    assert str(digest) == text
    assert digest.supported
    assert digest == Digest.parse_any(text)


@pytest.mark.parametrize("text", OTHER)
def test_of_another_algorithm(text: str) -> None:
    digest = Digest.parse_any(text)
    assert str(digest) == text
    assert not digest.supported
    with pytest.raises(InvalidDigest, match="unsupported algorithm; this registry has sha256, sha512"):
        Digest.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        f":{HEX}",
        HEX,
        "sha256:baddigeststring",
        f"sha256:{HEX[1:]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256:{HEX}\n",
        f"\nsha256:{HEX}",
        f" sha256:{HEX}",
        f"sha256 :{HEX}",
        f"sha256:{HEX[1:]}\n",
        f"sha256:{HEX[1:]}٣",
        f"sha256:{HEX[1:]}g",
        f"sha256:{HEX}:{HEX}",
        f"sha256::{HEX}",
        f"sha512:{HEX}",
        f"sha512:{HEX * 2}0",
        "sha256:../../../etc/passwd",
        "sha256:..",
        "sha256:%2e%2e",
        f"sha256/{HEX}",
        "blake3:a/b",
        "blake3:..",
        "blake3:a\n",
        "blake3\n:a",
        "blake3:",
        "bläke:a",
        "a٣:b",
        "a:٣",
        "a++b:c",
        "+a:b",
        "a+:b",
        "../a:b",
        "a:" + "b" * 254,
        "a" * 254 + ":b",
    ],
)
def test_no_digests(text: str) -> None:
    for parse in (Digest.parse, Digest.parse_any):
        with pytest.raises(InvalidDigest, match="is not a digest"):
            parse(text)


@pytest.mark.parametrize(("algorithm", "encoded"), [("sha256", ""), ("a:b", "c"), ("a", "b:c"), ("", "")])
def test_no_way_around_the_check(algorithm: str, encoded: str) -> None:
    with pytest.raises(InvalidDigest):
        Digest(algorithm, encoded)


@pytest.mark.parametrize("text", ["a.b" * 1_390_000 + ":%", "a:" + "b" * 4_000_000, "a" * 4_000_000])
def test_a_long_text_costs_little(text: str) -> None:
    start = time.thread_time()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidDigest) as caught:
            Digest.parse_any(text)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(text)
    finally:
        tracemalloc.stop()
    assert time.thread_time() - start < 0.1
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [b"", b"{}", bytes(1000)])
def test_of_bytes(algorithm: str, data: bytes) -> None:
    digest = Digest.of(memoryview(data), algorithm)
    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    hasher = new_hasher(algorithm)
    for byte in data:
        hasher.update(bytes([byte]))
    assert Digest(algorithm, hasher.hexdigest()) == digest


def test_of_bytes_by_default() -> None:
    assert Digest.of(b"{}").algorithm == "sha256"


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "", "blake3"])
def test_no_hasher(algorithm: str) -> None:
    with pytest.raises(InvalidDigest, match="unsupported algorithm"):
        new_hasher(algorithm)


@pytest.mark.parametrize(("text", "length"), [(KNOWN[0], 33), (KNOWN[1], 65), ("blake3:abc", 11)])
def test_the_binary_form_is_short(text: str, length: int) -> None:
    assert len(Digest.parse_any(text).binary) == length


def test_the_binary_form_never_changes() -> None:
    # Rows on disk hold it: these bytes are a format.
    assert Digest.parse(KNOWN[0]).binary == b"\x01" + bytes.fromhex(HEX)
    assert Digest.parse(KNOWN[1]).binary == b"\x02" + bytes.fromhex(HEX * 2)
    assert Digest.parse_any("blake3:abc").binary == b"\x00blake3:abc"


_DIGESTS = st.one_of(
    st.builds(Digest.of, st.binary(max_size=8), st.sampled_from(list(ALGORITHMS))),
    st.from_regex(r"[a-z0-9]{1,6}([.+_-][a-z0-9]{1,3}){0,2}:[a-zA-Z0-9=_-]{1,20}", fullmatch=True)
    .filter(lambda text: text.split(":")[0] not in ALGORITHMS)
    .map(Digest.parse_any),
)


@given(_DIGESTS)
def test_round_trips(digest: Digest) -> None:
    assert Digest.from_binary(digest.binary) == digest
    assert Digest.parse_any(str(digest)) == digest


@given(_DIGESTS, _DIGESTS)
def test_the_binary_form_tells_digests_apart(one: Digest, other: Digest) -> None:
    assert (one.binary == other.binary) is (one == other)
    assert (hash(one) == hash(other)) or one != other


@given(st.lists(_DIGESTS))
def test_the_order_is_by_algorithm_then_hash(digests: list[Digest]) -> None:
    assert sorted(digests) == sorted(digests, key=lambda digest: (digest.algorithm, digest.encoded))


@given(st.text() | st.text(alphabet="sha256:012abcABC+._-=/\n").map("sha256:".__add__))
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    try:
        digest = Digest.parse_any(text)
    except InvalidDigest:
        return
    assert str(digest) == text
    assert text.isascii()
    assert text.isprintable()
    assert "/" not in text
