"""Key sets: what of them is used, and for which algorithms."""

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from registry.auth.public_keys import KeysUnavailable, is_installed, read_keys
from tests.auth.issuing import key_for, key_set, published

RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
USED = published(key_for("RS256"), "good")


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (USED, RSA),
        (USED | {"use": "sig", "key_ops": ["verify"], "x5c": ["MIIB"], "x5u": "http://evil.example"}, RSA),
        (USED | {"alg": "PS256"}, {"PS256"}),
        (published(key_for("ES256")), {"ES256"}),
        (published(key_for("ES384")), {"ES384"}),
        (published(key_for("EdDSA")), {"EdDSA"}),
    ],
)
def test_what_a_key_may_verify(key: dict[str, object], algorithms: set[str]) -> None:
    (found,) = read_keys(key_set(key))
    assert found.algorithms == algorithms
    assert found.kid == key.get("kid")
    assert not found.key.is_private


def test_a_private_half_is_not_used() -> None:
    (found,) = read_keys(key_set(key_for("RS256").as_dict(private=True)))
    assert not found.key.is_private


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ", "kid": "x"},
        USED | {"use": "enc"},
        USED | {"use": ["sig"]},
        USED | {"key_ops": ["encrypt"]},
        USED | {"key_ops": "verify"},
        USED | {"alg": "HS256"},
        USED | {"alg": "ES256"},
        USED | {"alg": None},
        USED | {"kid": 7},
        USED | {"kty": "EC"},
        USED | {"kty": None},
        USED | {"n": None},
        USED | {"n": ""},
        USED | {"n": "!"},
        USED | {"n": "AQAB"},
        USED | {"e": "AA"},
        USED | {"n": "_" * 2000},
        published(key_for("ES256")) | {"crv": "P-384"},
        published(key_for("ES256")) | {"crv": "P-111"},
        published(key_for("ES256")) | {"crv": ["P-256"]},
        published(key_for("ES256")) | {"y": "AAAA"},  # not on the curve
        published(ECKey.generate_key("P-521")),
        published(OKPKey.generate_key("X25519")),
        published(OKPKey.generate_key("Ed25519")) | {"x": "AAAA"},
    ],
)
def test_keys_that_are_left_out(key: dict[str, object]) -> None:
    assert [found.kid for found in read_keys(key_set(key, USED))] == ["good"]
    with pytest.raises(KeysUnavailable, match="none of the 1 keys"):
        read_keys(key_set(key))


@pytest.mark.filterwarnings("ignore:Key size")  # the library's, while the test makes the key
def test_short_keys_are_left_out() -> None:
    with pytest.raises(KeysUnavailable):
        read_keys(key_set(published(RSAKey.generate_key(1024))))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [1]}',
        b'{"keys": [], "keys": []}',
        b"<html></html>",
        b"[" * 100_000,
        key_set(*[USED] * 101),
    ],
)
def test_sets_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(KeysUnavailable, match="key"):
        read_keys(body)


def test_the_library_is_there() -> None:
    assert is_installed()
