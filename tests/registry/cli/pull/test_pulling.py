"""Images pulled from a scripted cache: what is asked for, what is verified, and how what breaks goes on."""

import threading
from collections.abc import Sequence

import pytest

from registry.cli.pull.images import parse_image
from registry.cli.pull.login import Login
from registry.cli.pull.platforms import Platform, parse_platform
from registry.cli.pull.pulling import Progress, Pull, Pulled
from registry.cli.pull.server import Server
from storage.digest import Digest
from tests import builders
from tests.registry.cli.pull.stand import Fault, Stand, standing

AMD = [parse_platform("linux/amd64")]
LARGE = builders.blob(1_000_000)
USER = Login("ci", "secret")


class Meter:
    def __init__(self) -> None:
        self.total = self.done = 0

    def expect(self, total: int) -> None:
        self.total = total

    def add(self, count: int) -> None:
        self.done += count


def pull(
    stand: Stand,
    *images: str,
    platforms: Sequence[Platform] = AMD,
    login: Login | None = None,
    jobs: int = 4,
    meter: Meter | None = None,
) -> dict[str, Pulled]:
    meter = meter or Meter()
    work = Pull(Server(stand.url, login=login), platforms, Progress(meter.expect, meter.add), pause=0.001)
    found = {str(each.image): each for each in work.run([parse_image(each) for each in images], jobs)}
    assert not [each for each in threading.enumerate() if each.name.startswith("pull")]
    return found


@pytest.mark.parametrize("jobs", [1, 8])
def test_whole_images(jobs: int) -> None:
    with standing(Stand(upstreams=("docker.io", "ghcr.io"))) as stand:
        raw = stand.add("library/alpine:latest", LARGE, b"small")
        stand.add("owner/app:v1", b"other")
        meter = Meter()
        found = pull(stand, "alpine", "ghcr.io/owner/app:v1", jobs=jobs, meter=meter)
    alpine = found["docker.io/library/alpine:latest"]
    assert (alpine.digest, alpine.error) == (Digest.of(raw), "")
    assert alpine.size == alpine.here == len(raw) + 1_000_005 + len(b'{"seed": "library/alpine:latest"}')
    assert found["ghcr.io/owner/app:v1"].error == ""
    assert meter.done == meter.total == sum(map(len, stand.blobs.values()))
    assert {target.partition("?")[2] for target, _ in stand.seen if "owner" in target} == {"ns=ghcr.io"}
    assert len(stand.seen) == 2 + len(stand.blobs)


def test_what_two_images_of_a_repository_share_is_fetched_once() -> None:
    with standing(Stand()) as stand:
        stand.add("library/a:v1", LARGE, seed="1")
        stand.add("library/a:v2", LARGE, seed="2")
        meter = Meter()
        found = pull(stand, "a:v1", "a:v2", meter=meter)
        assert stand.count(str(Digest.of(LARGE))) == 1
        assert meter.done == meter.total == sum(map(len, stand.blobs.values()))
    assert [each.size > len(LARGE) for each in found.values()] == [True, True]


@pytest.mark.parametrize(
    ("status", "here"),
    [("oci-registry; hit", True), ("oci-registry; fwd=miss; stored", False), ("", None), ("other", None)],
)
def test_what_was_there(status: str, here: bool | None) -> None:
    with standing(Stand(status=status)) as stand:
        stand.add("library/a:latest", b"layer")
        (found,) = pull(stand, "a").values()
    assert found.here == {True: found.size, False: 0, None: None}[here]


def index_of(stand: Stand) -> None:
    children = [
        builders.descriptor(
            stand.add(f"library/many:{name}", name.encode()),
            builders.OCI_IMAGE,
            platform={"os": "linux", "architecture": name},
        )
        for name in ("amd64", "arm64")
    ]
    stand.keep("library/many:latest", builders.index(children), builders.OCI_INDEX)


@pytest.mark.parametrize(
    ("platforms", "layers"),
    [
        (["linux/amd64"], {b"amd64"}),
        (["linux/arm64", "linux/amd64"], {b"amd64", b"arm64"}),
        ([], {b"amd64", b"arm64"}),
    ],
)
def test_platforms(platforms: list[str], layers: set[bytes]) -> None:
    with standing(Stand()) as stand:
        index_of(stand)
        (found,) = pull(stand, "many", platforms=[parse_platform(each) for each in platforms]).values()
        assert found.error == ""
        for each in (b"amd64", b"arm64"):
            assert stand.count(str(Digest.of(each))) == (each in layers)


def test_a_platform_that_is_not_there() -> None:
    with standing(Stand()) as stand:
        index_of(stand)
        stand.add("library/fine:latest", b"fine")
        found = pull(stand, "many", "fine", platforms=[parse_platform("linux/s390x")])
    assert "nothing for linux/s390x in it, but for linux/amd64, linux/arm64" in (
        found["docker.io/library/many:latest"].error
    )
    assert found["docker.io/library/fine:latest"].error == ""


LAYER = str(Digest.of(LARGE))


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        ([Fault(LAYER, cut=300_000)], ["", "bytes=300000-"]),
        ([Fault(LAYER, cut=0)], ["", ""]),
        ([Fault(LAYER, cut=300_000), Fault(LAYER, cut=100_000)], ["", "bytes=300000-", "bytes=400000-"]),
        ([Fault(LAYER, cut=300_000), Fault(LAYER, whole=True)], ["", "bytes=300000-"]),
        ([Fault(LAYER, status=503, times=3)], [""] * 4),
        ([Fault(LAYER, status=429, fields={"Retry-After": "0"})], ["", ""]),
    ],
    ids=["cut", "at once", "twice", "no range", "503", "429"],
)
def test_what_breaks_goes_on(faults: list[Fault], ranges: list[str]) -> None:
    with standing(Stand(faults=faults)) as stand:
        stand.add("library/a:latest", LARGE)
        meter = Meter()
        (found,) = pull(stand, "a", meter=meter).values()
        assert found.error == ""
        assert [given for target, given in stand.seen if LAYER in target] == ranges
        assert meter.done == meter.total


def test_many_breaks_of_one_that_gets_on() -> None:
    with standing(Stand(faults=[Fault(LAYER, cut=100_000, times=9)])) as stand:
        stand.add("library/a:latest", LARGE)
        (found,) = pull(stand, "a").values()
    assert found.error == ""


@pytest.mark.parametrize(
    ("fault", "says", "times"),
    [
        (Fault(LAYER, cut=0, times=99), "ended 1000000 bytes too early", 5),
        (Fault(LAYER, status=429, fields={"Retry-After": "0"}, times=99), "scripted 429", 5),
        (Fault(LAYER, status=502), "scripted 502", 1),
        (Fault(LAYER, flip=True), "of 1000000 bytes came as", 1),
        (Fault(LAYER, fields={"Content-Length": "2"}), "came as 2 bytes", 1),
    ],
    ids=["cut", "429", "502", "other bytes", "short"],
)
def test_what_is_given_up(fault: Fault, says: str, times: int) -> None:
    with standing(Stand(faults=[fault])) as stand:
        stand.add("library/a:latest", LARGE)
        (found,) = pull(stand, "a").values()
        assert says in found.error
        assert stand.count(LAYER) == times


def test_a_manifest_that_is_another() -> None:
    with standing(Stand(faults=[Fault("/manifests/", flip=True)])) as stand:
        stand.add("library/a:latest")
        (found,) = pull(stand, "a").values()
    assert "came as sha256:" in found.error
    assert found.digest is None


def test_no_such_upstream() -> None:
    with standing(Stand()) as stand:
        stand.add("owner/app:latest")
        (found,) = pull(stand, "ghcr.io/owner/app").values()
    assert found.error == (
        f"{stand.url} fetches nothing from ghcr.io: add an [[upstream]] with name = 'ghcr.io' to its "
        "settings, or start it with --mirror ghcr.io"
    )


def test_no_such_image() -> None:
    with standing(Stand()) as stand:
        (found,) = pull(stand, "absent").values()
    assert found.error == "scripted 404"


def test_nobody_there() -> None:
    with standing(Stand()) as stand:
        pass
    (found,) = pull(stand, "a").values()
    assert f"{stand.url} does not answer: " in found.error


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_a_login(scheme: str) -> None:
    with standing(Stand(login=("ci", "secret"), scheme=scheme)) as stand:
        stand.add("library/a:latest", b"layer")
        (found,) = pull(stand, "a", login=USER, jobs=1).values()
        assert found.error == ""
        assert stand.count("/token") == (scheme == "Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
@pytest.mark.parametrize(
    ("login", "says"),
    [(None, "wants a login that may pull this: add --username"), (Login("ci", "typo"), "refuses the login")],
)
def test_a_login_that_is_refused(scheme: str, login: Login | None, says: str) -> None:
    with standing(Stand(login=("ci", "secret"), scheme=scheme)) as stand:
        stand.add("library/a:latest", b"layer")
        (found,) = pull(stand, "a", login=login).values()
    assert says in found.error
    assert "typo" not in found.error


@pytest.mark.parametrize("realm", ["http://tokens.example/token", "ftp://127.0.0.1/", "nowhere"])
def test_a_password_goes_nowhere_else(realm: str) -> None:
    with standing(Stand(login=("ci", "secret"), realm=realm)) as stand:
        (found,) = pull(stand, "a", login=USER).values()
    assert "sends logins to" in found.error


def test_who_stops_early_leaves_no_thread() -> None:
    with standing(
        Stand(faults=[Fault("/blobs/", status=503, fields={"Retry-After": "60"}, times=99)])
    ) as stand:
        stand.add("library/slow:latest", LARGE)
        stand.manifests["library/fast/manifests/latest"] = builders.OCI_INDEX, builders.index([])
        work = Pull(Server(stand.url), AMD, Progress(lambda _: None, lambda _: None))
        images = [parse_image("slow"), parse_image("fast")]
        running = work.run(images, 4)
        assert str(next(running).image) == "docker.io/library/fast:latest"
        running.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("pull")]


def test_who_stops_while_images_wait_for_their_turn_is_told_of_no_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with standing(Stand(faults=[Fault("/blobs/", status=503, times=99)])) as stand:
        stand.add("library/slow:latest", LARGE)
        work = Pull(Server(stand.url), AMD, Progress(lambda _: None, lambda _: None), pause=60)
        running = work.run([parse_image(each) for each in ("b", "slow", "c", "d", "e")], 1)
        assert str(next(running).image) == "docker.io/library/b:latest"
        running.close()
    assert not caplog.records


def test_a_manifest_that_breaks_off_is_asked_for_again() -> None:
    with standing(Stand(faults=[Fault("/manifests/", cut=20)])) as stand:
        stand.add("library/a:latest", b"layer")
        (found,) = pull(stand, "a").values()
        assert (found.error, stand.count("/manifests/")) == ("", 2)
