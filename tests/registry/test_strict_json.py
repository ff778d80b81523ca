import json
import math
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.strict_json import MAX_DEPTH, MAX_TOKENS, Json, JsonInvalid, key_table, loads, miscased


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": [1, -2.5, true, null, "x"]}', {"a": [1, -2.5, True, None, "x"]}),
        (b" \t\r\n[]\n", []),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"123456789012345678901", math.inf),
        (b"-0", 0),
        (rb'"\ud83d\ude00"', "😀"),
        ('"😀ſ"'.encode(), "😀ſ"),
        (rb'"\\ud800"', r"\ud800"),
        (b'{"":{"":1}}', {"": {"": 1}}),
    ],
)
def test_accepted(raw: bytes, value: Json) -> None:
    assert loads(raw) == value


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{}{}", "Extra data"),
        (b"{} x", "Extra data"),
        (b"[1,]", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b"// no\n{}", "not JSON"),
        (b"01", "Extra data"),
        (b"+1", "not JSON"),
        (b"1.", "Extra data"),
        (b"0x10", "Extra data"),
        ("٣".encode(), "not JSON"),
        (b"NaN", "NaN is no value"),
        (b"[Infinity]", "Infinity is no value"),
        (b'{"a":-Infinity}', "-Infinity is no value"),
        (b'"a\x00b"', "not JSON"),
        (b'"a\nb"', "not JSON"),
        (rb'"\x41"', "not JSON"),
        (rb'"\u00g0"', "not JSON"),
        (b'{"a":1,"a":1}', "'a' is twice"),
        (b'[{"x":{"a":1,"b":2,"\\u0061":1}}]', "'a' is twice"),
        (b"\xef\xbb\xbf{}", "BOM"),
        ("{}".encode("utf-16"), "not UTF-8"),
        ("{}".encode("utf-16-le"), "not JSON"),
        ("{}".encode("utf-32-be"), "not JSON"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"\xc0\xaf"', "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'"\xf4\x90\x80\x80"', "not UTF-8"),
        (rb'"\ud800"', "surrogate"),
        (rb'"\uDFFF"', "surrogate"),
        (rb'["\ude00\ud83d"]', "surrogate"),
        (rb'{"\ud83d":1}', "surrogate"),
        (rb'"\ud83d\\ude00"', "surrogate"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deeper than 32"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "deeper than 32"),
        (b"[" * 100_000 + b"]" * 100_000, "deeper than 32"),
        (b"[" * 100_000, "deeper than 32"),
        (b'{"a":' * 100_000, "deeper than 32"),
        (b"[" + b"1," * MAX_TOKENS + b"1]", "more than 200000"),
        (b'"' + b"{[," * 66_667 + b'"', "more than 200000"),
    ],
)
def test_refused(raw: bytes, why: str) -> None:
    with pytest.raises(JsonInvalid, match=why):
        loads(raw)


def test_the_deepest_and_the_longest() -> None:
    assert loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) != []
    longest = loads(b"[" + b"1," * (MAX_TOKENS - 1) + b"1]")
    assert isinstance(longest, list)
    assert len(longest) == MAX_TOKENS


@pytest.mark.parametrize(
    ("key", "is_miscased"),
    [
        ("layers", False),
        ("os.version", False),
        ("layer", False),
        ("layerss", False),
        ("ﬂayers", False),
        ("Layers", True),
        ("LAYERS", True),
        ("layerſ", True),
        ("Oſ.Verſion", True),
        ("toKen", True),  # the kelvin sign
        ("TO\u212aEN", True),
        ("l\u0430yers", False),  # a Cyrillic letter is another letter to everyone
        ("x" * 1_000_000, False),
    ],
)
def test_keys_that_differ_in_case_only(key: str, is_miscased: bool) -> None:
    table = key_table("layers", "os.version", "token")
    assert miscased(["other", key], table) == (key if is_miscased else None)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES, st.booleans())
def test_reads_back_what_was_written(value: Json, escaped: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(st.binary() | st.text(alphabet='{}[]",:\\ud8e019.-+tfnaulsrie ').map(str.encode))
def test_raises_nothing_else(raw: bytes) -> None:
    try:
        value = loads(raw)
    except JsonInvalid:
        return
    assert (
        json.loads(raw.decode(), parse_int=lambda digits: int(digits) if len(digits) < 21 else math.inf)
        == value
    )


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"[" + b"{}," * 99_000 + b"{}]", id="objects"),
        pytest.param(b"[" + b"[]," * 99_000 + b"[]]", id="lists"),
        pytest.param(b"[" + b"1234567890123456789," * 199_000 + b"1]", id="integers"),
        pytest.param(b"[" + b"0.12345678901234567," * 199_000 + b"1]", id="floats"),
        pytest.param(b"1" * 4_190_000, id="one integer"),
        pytest.param(b"0." + b"1" * 4_190_000, id="one float"),
        pytest.param(b"[" + rb'"\ud83d\ude00",' * 199_000 + b"1]", id="escapes"),
        pytest.param(
            "{{{}}}".format(",".join(f'"{number}😀":"{"x" * 8}"' for number in range(150_000))).encode(),
            id="keys",
        ),
    ],
)
def test_four_megabytes_cost_little(raw: bytes) -> None:
    assert len(raw) <= 4 * 2**20
    # CPU time of this thread: other work on the machine does not count. Measured: at most 0.12 s, 55 MB.
    start = time.thread_time()
    loads(raw)
    assert time.thread_time() - start < 1
    tracemalloc.start()
    try:
        loads(raw)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
