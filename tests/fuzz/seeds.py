"""What the fuzzers begin with, by target: good input, words that it is made of, and what has failed once."""

from collections.abc import Mapping, Sequence

from tests.builders import DOCKER_IMAGE, DOCKER_INDEX, OCI_CONFIG, OCI_IMAGE, descriptor, image, index
from tests.fuzz import credential_seeds
from tests.fuzz.targets import CONTENT_TYPES
from tests.server.test_framing import BODIES, MALFORMED

A, B = descriptor(b"{}", OCI_CONFIG), descriptor(b"layer", annotations={"a": "b"}, urls=["https://x.test/"])
WIDE = descriptor(b"wide", algorithm="sha512")
SUBJECT = descriptor(b"subject", OCI_IMAGE, artifactType="application/x")
HEX, LONG = "0123456789abcdef" * 4, "0123456789abcdef" * 8

_MANIFESTS = [
    image(A, [B, WIDE]),
    image(A, [B], subject=SUBJECT, artifact_type="application/x", annotations={"c": "d"}),
    image(A, [descriptor(b"x", data="eA==")], media_type=DOCKER_IMAGE),
    index([SUBJECT, {**SUBJECT, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}]),
    index([SUBJECT], media_type=DOCKER_INDEX),
    b'{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[' + b"]}",
    b'{"schemaVersion":2,"config":null,"layers":null,"manifests":[]}',
]
_SCOPES = [
    "repository:team/app:pull,push",
    "repository:h:5000/a:*",
    "registry:catalog:*",
    "repository(plugin):a:pull",
]

SEEDS: Mapping[str, Sequence[bytes]] = {
    "manifest": [bytes([kind]) + raw for raw in _MANIFESTS for kind in range(len(CONTENT_TYPES))],
    "strict_json": [
        *_MANIFESTS,
        b'{"a":[1,-2.5e3,true,false,null,"\\u00e9\\ud83d\\ude00"]}',
        b"[[[[]]]]",
        b'""',
    ],
    "digest": [
        *(f"sha256:{HEX}".encode(), f"sha512:{LONG}".encode(), b"multihash+base58:QmRZxt2b1FVZPNqd8hs"),
        *(b"a.b_c-d+e:=_-", b"sha256:", b":", b"sha256:../x"),
    ],
    "name": [b"a", b"team/app", b"a.b_c__d---e/f", b"a" * 255, b"v2/blobs/uploads", b"a/b/c/d/e/f/g"],
    "reference": [b"latest", b"_1.2-rc", b"x" * 128, f"sha256:{HEX}".encode(), f"sha256-{HEX}.sig".encode()],
    "path": [
        b"/v2/",
        b"/v2/_catalog",
        f"/v2/team/app/blobs/sha256:{HEX}".encode(),
        b"/v2/team/app/blobs/uploads/",
        b"/v2/team/app/blobs/uploads/00000000-0000-4000-8000-000000000000",
        b"/v2/a/manifests/latest",
        b"/v2/manifests/manifests/manifests",
        b"/v2/a%2dB/tags/list",
        f"/v2/a/referrers/sha512:{LONG}".encode(),
    ],
    "byte_range": [
        bytes([200]) + header
        for header in (
            b"bytes=0-1",
            b"bytes=-5",
            b"bytes=9-",
            b"bytes=0-0,2-3 , -1",
            b"BYTES=1-2,,",
            b"lines=1-2",
        )
    ],
    "content_range": [b"0-0", b"0-1023", b"007-9", b"18446744073709551615-18446744073709551616"],
    "condition": [
        f'"sha256:{HEX}"\n*'.encode(),
        f'W/"sha256:{HEX}", "x"\n'.encode(),
        b'*\n"a","b" , W/"c"',
        b'"a"\n"b"',
    ],
    "scope": [b"\xff" + each.encode() for each in (*_SCOPES, " ".join(_SCOPES))],
    "pattern": [b"ci/* ci/app", b"*a*b*c* aXbYcZ", b"** x", b"a a"],
    "retention": [
        b'[{repositories = ["ci/*"], keep_last = 10, keep_newer = "30d"}]',
        b'[{repositories = ["*"], keep_tags = ["v*"], untagged = "never", keep_pulled = 60}]',
        b"[]",
    ],
    **credential_seeds.SEEDS,
    "chunks": [b"\x03" + body for body, _ in (*BODIES.values(), *MALFORMED.values())],
}

_JSON = [
    *(b'{"', b'":', b'":{', b'":[', b"},{", b"]}", b",", b"null", b"true", b"1e9", b"-0", b"0.5", b"9" * 21),
    *(b"\\u", b"\\ud83d", b"\\u0000", b"NaN", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xff", b"[" * 40, b"{},"),
]
_KEYS = [
    *(
        "mediaType",
        "digest",
        "size",
        "config",
        "layers",
        "layer\u017f",
        "blobs",
        "blob\u017f",
        "manifests",
        "subject",
    ),
    *(
        "Layers",
        "LAYERS",
        "\\u006cayers",
        "con\ufb01g",
        "schemaVersion",
        "annotations",
        "artifactType",
        "platform",
    ),
    *("data", "urls", "\u017fubject", "di\u0261est", "s\u0131ze", "os.features", "variant"),
]
_DIGESTS = [
    b"sha256:",
    b"sha512:",
    HEX.encode(),
    LONG.encode(),
    b"md5:",
    b"+",
    b".",
    b"\n",
    "\u0663".encode(),
    b"%",
]

WORDS: Mapping[str, Sequence[bytes]] = {
    "manifest": [
        *_JSON,
        *(f'"{key}":'.encode() for key in _KEYS),
        *(f'"{key}"'.encode() for key in _KEYS),
        *(f'"{kind}"'.encode() for kind in CONTENT_TYPES),
        *(kind.encode() for kind in CONTENT_TYPES if kind),
    ],
    "strict_json": _JSON,
    "digest": _DIGESTS,
    "name": [b"/", b".", b"__", b"_", b"--", b"..", b"\n", b"\0", b"A", "\u0131".encode(), b"0"],
    "reference": [*_DIGESTS, b".", b"-", b"_", b".sig"],
    "path": [
        *(
            b"/v2/",
            b"/blobs/",
            b"/uploads/",
            b"/manifests/",
            b"/tags/list",
            b"/referrers/",
            b"_catalog",
            b"//",
        ),
        *(
            b"%2f",
            b"%2e",
            b"%5c",
            b"%00",
            b"%0a",
            b"%",
            b"%25",
            b"..",
            b"?",
            b"\xff",
            f"sha256:{HEX}".encode(),
        ),
    ],
    "byte_range": [
        b"bytes=",
        b"-",
        b",",
        b" ",
        b"\t",
        b"0-",
        b"-1",
        b"255",
        b"9" * 19,
        b"9" * 20,
        b"\xb2",
        b"+1",
        b"_",
    ],
    "content_range": [b"-", b"0", b"9" * 19, b"9" * 20, b"bytes ", b"/", b"*", b" ", b"\xb2"],
    "condition": [b'"', b'W/"', b", ", b"*", b"\t", b"\n", f'"sha256:{HEX}"'.encode(), b"w/", b"\\"],
    "scope": [
        b"repository:",
        b"registry:",
        b"catalog",
        b":",
        b",",
        b"pull",
        b"push",
        b"delete",
        b"*",
        b"create",
        b" ",
        b"(",
    ],
    "pattern": [b"*", b" ", b"a", b"/", b"**", b"-", b"\n"],
    "retention": [
        *(
            b"repositories",
            b"keep_last",
            b"keep_tags",
            b"untagged",
            b" = ",
            b"[",
            b"]",
            b"{",
            b"}",
            b'"',
            b"'''",
        ),
        *(b"never", b"1w2d", b"1e9", b"inf", b"1979-05-27", b"0x", b"[" * 2000, b"a." * 1000),
    ],
    **credential_seeds.WORDS,
    "chunks": [
        b"\r\n",
        b"\n",
        b"0\r\n\r\n",
        b"5",
        b";a=b",
        b';a="',
        b"ffffffffffffffff",
        b"0x",
        b"+",
        b"Content-Length: 5",
    ],
}

REGRESSIONS: Mapping[str, Sequence[bytes]] = {
    "address": [b"http://a[::1]/"],  # was taken for this machine
    "path": [b"/v2/p/blobs/uploads/..", b"/v2/p/blobs/uploads/%2e%2e"],  # no session, but a path: a 404
    "retention": [b"[" * 2000],  # a RecursionError of tomllib
    "robots_file": [  # an OverflowError: no integer is infinite
        b'{"robots":[{"name":"a","id":"","digest":"","scopes":[],"created":1e999,"expires":null}]}'
    ],
}
"""What once broke a target: a fuzzer prints the bytes to be added here."""
