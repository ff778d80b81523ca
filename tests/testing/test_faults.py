"""Which requests a fault hits: by what they are, by how many came before, and by a seed."""

from collections.abc import Iterator

import pytest

from registry.testing.effects import Cut, Delay, Refuse
from registry.testing.fault_file import FaultsInvalid, describe, parse, read
from registry.testing.faults import Fault, Faults
from registry.testing.targets import Target, target_of

GET_BLOB = Target("GET", "/v2/team/app/blobs/sha256:aa", "blob", "team/app", "sha256:aa")
OTHER_BLOB = Target("GET", "/v2/team/app/blobs/sha256:bb", "blob", "team/app", "sha256:bb")


@pytest.mark.parametrize(
    ("fault", "fits"),
    [
        (Fault(Refuse()), True),
        (Fault(Refuse(), method="GET"), True),
        (Fault(Refuse(), method=("PUT", "GET")), True),
        (Fault(Refuse(), method="HEAD"), False),
        (Fault(Refuse(), route="blob"), True),
        (Fault(Refuse(), route=("manifest", "tags")), False),
        (Fault(Refuse(), repository="team/*"), True),
        (Fault(Refuse(), repository=("other", "*/app")), True),
        (Fault(Refuse(), repository="team"), False),
        (Fault(Refuse(), method="GET", route="manifest", repository="*"), False),
    ],
)
def test_what_a_fault_fits(fault: Fault, fits: bool) -> None:
    assert fault.fits(GET_BLOB) is fits


@pytest.mark.parametrize(
    ("headers", "fits"),
    [
        ([(b"content-length", b"99")], False),
        ([(b"content-length", b"100")], True),
        ([(b"transfer-encoding", b"chunked")], True),
        ([(b"content-length", b"many")], False),
        ([], False),
    ],
)
def test_a_fault_may_be_for_long_bodies_alone(headers: list[tuple[bytes, bytes]], fits: bool) -> None:
    path = "/v2/a/blobs/uploads/0"
    target = target_of({"method": "PUT", "path": path, "raw_path": path.encode(), "headers": headers})
    assert target.route == "upload"
    assert Fault(Refuse(), route="upload", at_least=100).fits(target) is fits
    assert Fault(Refuse(), route="upload").fits(target)


@pytest.mark.parametrize(
    ("fault", "hit"),
    [
        (Fault(Refuse()), [1, 2, 3, 4, 5, 6]),
        (Fault(Refuse(), nth=1), [1]),
        (Fault(Refuse(), nth=3), [3]),
        (Fault(Refuse(), nth=2, times=3), [2, 3, 4]),
        (Fault(Refuse(), times=2), [1, 2]),
        (Fault(Refuse(), probability=0), []),
    ],
)
def test_how_many_are_hit(fault: Fault, hit: list[int]) -> None:
    assert [number for number in range(1, 7) if fault.happens(number)] == hit


def test_a_probability_is_kept_and_its_seed_repeats_it() -> None:
    def hits(seed: int) -> list[int]:
        return [n for n in range(1, 2001) if Fault(Refuse(), probability=0.25, seed=seed).happens(n)]

    assert hits(1) == hits(1)
    assert hits(1) != hits(2)
    assert 420 < len(hits(1)) < 580


def test_requests_that_do_not_fit_are_not_counted() -> None:
    faults = Faults([Fault(Refuse(), route="manifest", nth=1)])
    assert faults.hitting(GET_BLOB) == []
    assert faults.hitting(Target("GET", "/v2/a/manifests/v1", "manifest", "a", "v1")) == [Refuse()]


def test_each_path_may_count_for_itself() -> None:
    together, apart = Faults([Fault(Refuse(), nth=1)]), Faults([Fault(Refuse(), nth=1, per_path=True)])
    targets = (GET_BLOB, OTHER_BLOB, GET_BLOB)
    assert [len(together.hitting(target)) for target in targets] == [1, 0, 0]
    assert [len(apart.hitting(target)) for target in targets] == [1, 1, 0]


def test_a_probability_chooses_among_paths_too() -> None:
    """Each of these is the first of its path: not all of them are hit, nor none."""
    faults = Faults([Fault(Refuse(), nth=1, per_path=True, probability=0.5)])
    targets = [Target("GET", f"/v2/team/app/blobs/sha256:{number:064}", "blob") for number in range(200)]
    hits = [len(faults.hitting(target)) for target in targets]
    assert 60 < sum(hits) < 140
    assert [len(faults.hitting(target)) for target in targets] == [0] * 200


def test_all_that_hit_happen_and_are_written_down(caplog: pytest.LogCaptureFixture) -> None:
    slow, cut = Fault(Delay(0.5)), Fault(Cut(after=3), method="GET")
    faults = Faults([slow, Fault(Refuse(), nth=2), cut])
    with caplog.at_level("INFO", "registry"):
        assert faults.hitting(GET_BLOB) == [Delay(0.5), Cut(after=3)]
    assert [(fired.fault, fired.method, fired.path) for fired in faults.fired] == [
        (slow, "GET", GET_BLOB.path),
        (cut, "GET", GET_BLOB.path),
    ]
    assert f"fault: GET {GET_BLOB.path}: Delay(seconds=0.5)" in caplog.messages


def test_faults_may_change() -> None:
    faults = Faults([Fault(Refuse(), nth=2)])
    faults.hitting(GET_BLOB)
    faults.add(Fault(Delay()))
    assert faults.hitting(GET_BLOB) == [Refuse(), Delay()]  # the first has gone on counting
    faults.replace([Fault(Refuse(), nth=1)])
    assert faults.hitting(GET_BLOB) == [Refuse()]
    faults.clear()
    assert faults.hitting(GET_BLOB) == []


def test_a_request_that_comes_while_they_change_is_not_counted_for_the_new_ones() -> None:
    faults = Faults([Fault(Delay())])

    def slowly() -> Iterator[Fault]:
        assert faults.hitting(GET_BLOB) == [Delay()]
        yield Fault(Refuse(), nth=1)

    faults.replace(slowly())
    assert faults.hitting(GET_BLOB) == [Refuse()]


FILE = """
[[fault]]
do = "refuse"
status = 429
retry_after = 2
method = "GET"
route = ["blob", "manifest"]
repository = "team/*"
nth = 1
times = 2
per_path = true
at_least = 5

[[fault]]
do = "cut"
after = 1000
probability = 0.5
seed = 7
"""
READ = (
    Fault(
        Refuse(429, 2),
        method=("GET",),
        route=("blob", "manifest"),
        repository=("team/*",),
        nth=1,
        times=2,
        per_path=True,
        at_least=5,
    ),
    Fault(Cut(after=1000), probability=0.5, seed=7),
)


def test_a_file_says_the_same_as_python() -> None:
    assert parse(FILE) == READ


def test_what_is_described_can_be_read_again() -> None:
    assert read({"fault": [describe(fault) for fault in READ]}) == READ


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "not TOML"),
        ("x = " + "[" * 10_000, "not TOML: too many brackets"),
        (f'[[fault]]\ndo = "cut"\nafter = {"9" * 5000}', "not TOML"),
        ("x = 1", "nothing beside"),
        ("fault = 1", "a list of tables"),
        ("[[fault]]\nnth = 1", "entry 1"),
        ('[[fault]]\ndo = "explode"', "one of refuse, delay, drip"),
        ('[[fault]]\ndo = "cut"\nstatus = 500', "out of after, sending only"),
        ('[[fault]]\ndo = "half"\nafter = 1', "expected nothing"),
        ('[[fault]]\ndo = "refuse"\nstatus = 200', "a whole number from 400 to 599"),
        ('[[fault]]\ndo = "cut"\nroute = "blobs"', "one of ping, catalog"),
        ('[[fault]]\ndo = "cut"\nmethod = "get"', "one of GET"),
        ('[[fault]]\ndo = "cut"\nprobability = 2', "a number from 0 to 1"),
        ('[[fault]]\ndo = "cut"\nper_path = 1', "true or false"),
        ('[[fault]]\ndo = "refuse"\ncode = 1', "in capitals"),
        ('[[fault]]\ndo = "cut"\nrepositories = "*"', "did you mean repository?"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(FaultsInvalid) as raised:
        parse(text)
    assert said in str(raised.value)
