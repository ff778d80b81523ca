"""What the fuzzers of credentials begin with; see seeds.py."""

import json
from collections.abc import Mapping, Sequence

from tests.fuzz.credentials import NOW, SIGNED

_CLAIMS = {
    "iss": "https://ci.test",
    "aud": ["registry.test", "other"],
    "sub": "repo:acme/app",
    "exp": NOW + 60,
    "nbf": NOW - 60,
    "iat": NOW,
    "org": "acme",
    "team": ["a", 7, True],
    "access": [{"type": "repository", "name": "a/b", "actions": ["pull", "*"]}],
}
_HASH = b"$2y$05$" + b"a" * 53
_SECRET = b"ocir_01234567_" + b"0" * 64 + b"49bd5ab5"
_ROBOT = {
    "name": "ci",
    "id": "01234567",
    "digest": "0" * 64,
    "scopes": ["repository:ci/*:pull,push", "registry:catalog:*"],
    "created": NOW,
    "expires": None,
}
_N = "u" * 342 + "w"  # of 2048 bits
_KEYS = [
    {"kty": "RSA", "n": _N, "e": "AQAB", "kid": "a", "use": "sig", "alg": "RS256"},
    {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "key_ops": ["verify"],
    },
    {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {
        "kty": "oct",
        "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    },
]

SEEDS: Mapping[str, Sequence[bytes]] = {
    "forwarded": [
        b"1.2.3.4",
        b"for=1.2.3.4;by=x",
        b'for="[::1]:1";x="',
        b'a="\\";b="',
        b"10.0.0.2, 10.0.0.3",
        b"[::ffff:1.2.3.4]",
    ],
    "log_line": [b"scope=a&service=b", b"account=x&%00=\x1b[31m", b"ns=\x7f\xff\n"],
    "own_token": [SIGNED, SIGNED.rpartition(b".")[0], b"a.b.c"],
    "jwt": [
        b'{"alg":"RS256","typ":"JWT","kid":"a"}\n{"iss":"https://ci.test"}\nsignature',
        b'{"alg":"none"}\n{}\n',
        b'{"alg":"HS256","crit":["b64"],"b64":false,"jwk":{}}\n{}\nx',
        SIGNED,
    ],
    "claims": [kind + json.dumps(_CLAIMS).encode() for kind in (b"0", b"1")],
    "credentials": [b"YWxpY2U6c2VjcmV0", b"\nalice:secret", b"\nalice:pass:w\xc3\xb6rd", b"\n:"],
    "users_file": [
        b"alice:" + _HASH + b"\nbob:" + _HASH + b":more\n# comment\n\nnew comer:" + _HASH + b"\n",
        b"alice:plain\r\nalice:" + _HASH + b"\x0b\x85",
    ],
    "robots_file": [
        json.dumps({"robots": [_ROBOT, {**_ROBOT, "name": "b", "expires": NOW}]}).encode(),
        b'{"robots":[]}',
    ],
    "secret": [_SECRET, b"ocir_"],
    "key_set": [json.dumps({"keys": [key]}).encode() for key in _KEYS]
    + [json.dumps({"keys": _KEYS}).encode()],
    "address": [b"https://ci.test/keys", b"http://127.0.0.1:80/", b"http://localhost", b"http://[::1]:1/a?b"],
}

_JSON = [
    b'"',
    b'":',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"null",
    b"true",
    b"1e999",
    b"Infinity",
    b"-1",
    b"9" * 19,
    b"[" * 50,
]
_CLAIM_WORDS = [
    *(
        f'"{name}"'.encode()
        for name in (*_CLAIMS, "type", "name", "actions", "delete", "registry", "catalog")
    ),
    *(
        b'"https://ci.test"',
        b'"registry.test"',
        b'"a/*"',
        b'"\\u202e"',
        b'"\\u0000"',
        str(NOW).encode(),
        b"[[]]",
    ),
]

WORDS: Mapping[str, Sequence[bytes]] = {
    "forwarded": [
        b"for=",
        b"proto=",
        b"host=",
        b'"',
        b"\\",
        b",",
        b";",
        b"=",
        b"10.0.0.2",
        b"1.2.3.4:5",
        b"[::1]",
        b"unknown",
        b" ",
    ],
    "log_line": [
        b"&",
        b"=",
        b";",
        b"?",
        b"#",
        b"ns=",
        b"scope=",
        b"password",
        b"%",
        b'"',
        b"\\",
        b"\x1b",
        b"\x9b",
        b"\r\n",
    ],
    "own_token": [b".", b"=", b"eyJhbGciOiJub25lIn0", b"_", b"-", b"\n", b" ", b"\xff"],
    "jwt": [
        *_JSON,
        b"\n",
        b'"alg"',
        b'"RS256"',
        b'"kid"',
        b'"typ"',
        b'"at+jwt"',
        b'"crit"',
        b'"none"',
        b"=",
        b".",
    ],
    "claims": [*_JSON, *_CLAIM_WORDS, b"0", b"1"],
    "credentials": [b":", b"\n", b"=", b"==", b"\0", b"\xff", b"YQ", b" ", b"-", b"_"],
    "users_file": [
        b":",
        b"\n",
        b"\r",
        b"\x0b",
        b"\x1c",
        b"\xc2\x85",
        b"#",
        b" ",
        _HASH,
        b"new comer",
        b"alice",
        b"\0",
        b"\xff",
    ],
    "robots_file": [
        *_JSON,
        *(f'"{name}"'.encode() for name in (*_ROBOT, "robots", "repository:*:*", "registry:a:*")),
    ],
    "secret": [b"ocir_", b"_", b"0", b"\n", "\u0660".encode()],
    "key_set": [
        *_JSON,
        *(
            f'"{name}"'.encode()
            for name in ("keys", "kty", "RSA", "EC", "OKP", "n", "e", "crv", "x", "y", "alg", "kid")
        ),
        *(
            b'"P-256"',
            b'"P-521"',
            b'"secp256k1"',
            b'"Ed448"',
            b'"AQAB"',
            b'"AA"',
            b'""',
            b'"="',
            b'"\\u00e9"',
        ),
    ],
    "address": [
        *(
            b"http://",
            b"https://",
            b"localhost",
            b"127.0.0.1",
            b"[::1]",
            b"[",
            b"]",
            b"@",
            b":",
            b"/",
            b"\\",
            b"?",
            b"#",
        ),
        *(b"0x7f.1", b"2130706433", b"127.1", b"%", b".", b"\xb9", b"::ffff:127.0.0.1", b"99999"),
    ],
}
