"""Words that try to be more than a name, a tag, a digest or an upload's id; each as it is in a path."""


def _words(text: str) -> list[str]:
    return text.split()


NAMES = [
    *_words(r"""
    .. . ../.. a/.. ../a a/../b a/./b a//b /a a/ ./a ... a/.../b %2e%2e a%2f..%2fb a%2Fb a%5cb a%5Cb
    ..%5c a\b a%00 %00 a%00b a%0a a%0d%0a %0aa a%09 a%20b a%7f a%25 a%252fb %c0%ae%c0%ae %c0%af
    %e2%80%ae %ef%bc%8f é %c3%a9 %d9%a3 a%ff a%e2%84%aa A a/B -a a- .a a. _a a_ a..b a___b a._b a+b
    a:b a@b a~b a$b a;b a,b a&b a=b a*b a'b a"b a<b a|b a`b (a) [a] {a} a!b _catalog a/_catalog
    _uploads blobs%2fsha256 % %4 %zz
    """),
    *("a" * 256, "a/" * 127 + "aa", "a/" * 500 + "a", "a" * 7000),
]
TAGS = [
    *_words(r"""
    .. . .a -a %2e%2e a%2fb ..%2f..%2fetc a%5cb a%00 a%0a a%0d%0aX:y %20 a%20b é %c3%a9 a%ff a+b a@b
    a~ a;b a=b a,b a* $a %25 a%25b <script> a%3Cb a'b a"b a|b (a) [a] {a} a! a&b a\b +
    """),
    *("a" * 129, "a" * 5000),
]
ZEROS = "0" * 64
DIGESTS = [
    *(
        "sha256:" + text
        for text in (ZEROS[1:], ZEROS + "0", "A" * 64, "g" * 64, ZEROS + "%0a", "0" * 5000, "0" * 32)
    ),
    *(
        text + ZEROS
        for text in ("SHA256:", "sha512:", "sha256::", "sha256:sha256:", "sha256%20:", "sha256%253a")
    ),
    *(
        "sha512:" + "F" * 128,
        "md5:" + "0" * 32,
        "sha1:" + "0" * 40,
        "sha384:" + "0" * 96,
        "sha256:" + "٠" * 64,
    ),
    *("sha256:", ":", "sha256:../x", "sha256:..%2fx", "sha256:%00", "x:y", "sha256+b64:abc", "sha256:%d9%a0"),
    *("%73ha256:" + ZEROS[1:], "sha256%3a" + ZEROS[1:]),
]
UPLOADS = [
    *_words("""
    .. x %2e%2e ..%2f..%2fformat a%5cb %00 format index.db é %c3%a9
    00000000-0000-4000-8000-000000000000%0a 00000000-0000-1000-8000-000000000000
    00000000-0000-4000-7000-000000000000 00000000-0000-4000-8000-00000000000G
    00000000-0000-4000-8000-000000000000.new {00000000-0000-4000-8000-000000000000}
    0000000000004000800000000000000
    """),
    *("0" * 36, "0" * 5000),
]

# Names that look like parts of other routes, or like files of the store; all are allowed.
ROUTE_WORDS = _words("""
    a a/b a/blobs a/blobs/uploads a/manifests a/tags a/tags/list a/referrers blobs blobs/uploads
    manifests manifests/manifests tags tags/list tags/list/x referrers v2 v2/a uploads index.json
    index.db healthz a/blobs/sha256 blobs/sha256/00 format quarantine
    """)
