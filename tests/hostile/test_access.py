"""Two users and their repositories: what neither may do in the other's, by whatever way it is asked."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from storage.digest import Digest
from tests.builders import OCI_IMAGE, descriptor, image, index
from tests.hostile.attacking import Fields, Line, refused, require_small, require_sound, resident, stored
from tests.live.measuring import ninety_ninth, require_alike
from tests.live.servers import PROJECT, Live, running
from tests.live.wire import Answer

PASSWORDS = {"alice": "alices password", "bob": "bobs password", "carol": "carols password", "dave": "daves"}
RULES = """
anonymous = "none"

[[access]]
repositories = ["a/*"]
users = ["alice", "dave"]
actions = ["*"]

[[access]]
repositories = ["b/*"]
users = ["bob"]
actions = ["*"]

[[access]]
repositories = ["shared/*"]
users = ["carol"]
actions = ["pull", "create"]

[[access]]
repositories = ["shared/*"]
users = ["alice"]
actions = ["*"]
"""
SECRET = b"a blob of alice's that nobody else may read"
MANIFEST = image(layers=[descriptor(SECRET)])


def registry(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "registry", *command],
        cwd=PROJECT,
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def set_password(root: Path, user: str, password: str, verb: str = "add") -> None:
    done = registry("user", verb, user, "--password-stdin", "--root", str(root), text=password)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("access")
    root, settings = folder / "root", folder / "registry.toml"
    settings.write_text(RULES)
    for user, password in PASSWORDS.items():
        set_password(root, user, password)
    with running(root, "--config", str(settings)) as server:
        before = {worker: resident(worker) for worker in server.workers()}
        with as_user(server, "alice") as alice:
            push(alice, "a/x", SECRET)
            assert alice.put("a/x", "latest", MANIFEST).status == 201
        yield server
        require_small(server, before)
    require_sound(root)


class User(Line):
    """Shows the same credentials with every request, whoever it is for."""

    def __init__(self, host: str, authorization: str, source: str = "") -> None:
        super().__init__(host, source)
        self.authorization = authorization

    def ask(self, method: str, target: str, body: bytes = b"", headers: Fields = ()) -> Answer:
        given = dict(headers)
        shown = {"Authorization": self.authorization} if self.authorization else {}
        return super().ask(method, target, body, {**shown, **given})

    def put(self, repository: str, reference: str, body: bytes) -> Answer:
        return self.ask("PUT", f"/v2/{repository}/manifests/{reference}", body)

    def __enter__(self) -> "User":
        return self


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def as_user(live: Live, name: str) -> User:
    return User(live.host, basic(name, PASSWORDS[name]) if name else "")


def push(user: User, repository: str, data: bytes) -> None:
    for each in (b"{}", data):
        answer = user.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={Digest.of(each)}", each)
        assert answer.status == 201, answer


# -- T11, T12: reads and mounts -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bob", "carol", ""])
def test_t11_bytes_that_are_here_are_not_everybodys(closed: Live, name: str) -> None:
    """Straight, and through a repository of one's own that does not hold them."""
    digest, manifest = Digest.of(SECRET), Digest.of(MANIFEST)
    with as_user(closed, "alice") as alice, as_user(closed, name) as other:
        assert alice.ask("GET", f"/v2/a/x/blobs/{digest}").body == SECRET  # may be given again, to her
        status, code = (403, "DENIED") if name else (401, "UNAUTHORIZED")
        for method in ("GET", "HEAD"):
            for place in (f"blobs/{digest}", f"manifests/{manifest}", "manifests/latest", "tags/list"):
                refused(other.ask(method, f"/v2/a/x/{place}"), status, code, method=method)
        refused(other.ask("GET", f"/v2/a/x/referrers/{manifest}"), status, code)
        if name != "bob":
            return
        for method in ("GET", "HEAD"):
            refused(other.ask(method, f"/v2/b/y/blobs/{digest}"), 404, "BLOB_UNKNOWN", method=method)
            refused(
                other.ask(method, f"/v2/b/y/manifests/{manifest}"), 404, "MANIFEST_UNKNOWN", method=method
            )
        push(other, "b/y", b"bobs own")
        for body in (MANIFEST, index([descriptor(MANIFEST, OCI_IMAGE)]), image(descriptor(SECRET))):
            refused(other.put("b/y", "stolen", body), 400, "MANIFEST_BLOB_UNKNOWN")


def test_t11_nothing_outlives_a_delete(closed: Live) -> None:
    """Neither an answer that was kept nor one that it was not there."""
    data = b"deleted in one repository, kept in another"
    with as_user(closed, "alice") as alice:
        target = f"/v2/a/gone/blobs/{Digest.of(data)}"
        for _ in range(2):
            refused(alice.ask("GET", target), 404, "BLOB_UNKNOWN")
        push(alice, "a/gone", data)
        push(alice, "a/kept", data)
        for _ in range(3):
            assert alice.ask("GET", target).body == data
        assert alice.ask("DELETE", target).status == 202
        for method in ("GET", "HEAD", "GET"):
            refused(alice.ask(method, target), 404, "BLOB_UNKNOWN", method=method)
        assert alice.ask("GET", f"/v2/a/kept/blobs/{Digest.of(data)}").body == data


def test_t11_a_catalog_shows_only_what_may_be_read(closed: Live) -> None:
    """T4's second half."""

    def repositories(user: User) -> list[str]:
        found: list[str] = json.loads(user.ask("GET", "/v2/_catalog").body)["repositories"]
        return found

    with as_user(closed, "bob") as bob, as_user(closed, "alice") as alice, as_user(closed, "") as nobody:
        push(bob, "b/y", b"bobs own")
        assert "b/y" in repositories(bob)
        assert all(name.startswith("b/") for name in repositories(bob))
        assert "a/x" in repositories(alice)
        assert "b/y" not in repositories(alice)
        refused(nobody.ask("GET", "/v2/_catalog"), 401, "UNAUTHORIZED")


VARYING = {"date", "x-request-id", "location", "docker-upload-uuid"}


def looks(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    fixed = {name: value for name, value in answer.headers.items() if name not in VARYING}
    return answer.status, fixed, answer.body


def test_t12_a_mount_of_what_may_not_be_read_is_one_of_what_never_was(closed: Live) -> None:
    """By its answer, and by its time; nothing is mounted."""
    digest, absent = Digest.of(SECRET), Digest.of(b"never pushed")
    sources = ("&from=a/x", "&from=a/none", "&from=none", "", "&from=", "&from=A")
    with as_user(closed, "bob") as bob:
        answers = [
            looks(bob.ask("POST", f"/v2/b/y/blobs/uploads/?mount={each}{source}"))
            for each in (digest, absent)
            for source in sources
        ]
        assert all(answer == answers[0] for answer in answers), answers
        assert answers[0][0] == 202
        refused(bob.ask("GET", f"/v2/b/y/blobs/{digest}"), 404, "BLOB_UNKNOWN")

        def measure() -> tuple[list[float], list[float]]:
            here: list[float] = []
            nowhere: list[float] = []
            for _ in range(40):
                for each, found in ((digest, here), (absent, nowhere)):
                    began = time.perf_counter()
                    bob.ask("POST", f"/v2/b/y/blobs/uploads/?mount={each}&from=a/x")
                    found.append(time.perf_counter() - began)
            return here, nowhere

        require_alike(measure, 2)


def test_t12_a_mount_needs_both_rights(closed: Live) -> None:
    digest = Digest.of(SECRET)
    with as_user(closed, "alice") as alice, as_user(closed, "carol") as carol:
        refused(alice.ask("POST", f"/v2/b/y/blobs/uploads/?mount={digest}&from=a/x"), 403, "DENIED")
        assert carol.ask("POST", f"/v2/shared/x/blobs/uploads/?mount={digest}&from=a/x").status == 202
        for source in ("&from=a/x", ""):
            mounted = alice.ask("POST", f"/v2/shared/m{len(source)}/blobs/uploads/?mount={digest}{source}")
            assert mounted.status == 201
            assert alice.ask("GET", mounted.headers["location"]).body == SECRET


# -- T13, T14: writes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 10, 11])
def test_t13_who_may_only_create_moves_no_tag_by_another_name(closed: Live, count: int) -> None:
    repository = f"shared/t{count}"
    first, other = image(annotations={"n": "1"}), image(annotations={"n": "2"})
    with as_user(closed, "alice") as alice, as_user(closed, "carol") as carol:
        push(alice, repository, b"{}")
        assert alice.put(repository, "taken", first).status == 201
        fresh = [f"new{number}" for number in range(count)]
        asked = "&".join(f"tag={tag}" for tag in [*fresh[: count // 2], "taken", *fresh[count // 2 :]])
        for reference in (f"{Digest.of(other)}?{asked}", f"other?{asked}", "taken"):
            refused(carol.put(repository, reference, other), 403, "DENIED")
        assert json.loads(alice.ask("GET", f"/v2/{repository}/tags/list").body)["tags"] == ["taken"]
        assert alice.ask("GET", f"/v2/{repository}/manifests/taken").body == first
        refused(alice.ask("GET", f"/v2/{repository}/manifests/{Digest.of(other)}"), 404, "MANIFEST_UNKNOWN")
        query = "&".join(f"tag={tag}" for tag in fresh)
        assert carol.put(repository, f"{Digest.of(other)}?{query}", other).status == 201
        assert (
            carol.put(repository, f"{Digest.of(first)}?tag=taken", first).status == 201
        )  # where it is already
        refused(carol.ask("DELETE", f"/v2/{repository}/manifests/taken"), 403, "DENIED")


def test_t14_with_deletes_off_nothing_goes(tmp_path: Path) -> None:
    """CVE-2026-41888: one gate for tags, manifests and blobs."""
    with running(tmp_path / "root", "--no-delete") as server, User(server.host, "") as line:
        push(line, "base", SECRET)
        assert line.put("base", "latest", MANIFEST).status == 201
        before = stored(server.root)
        for target in ("manifests/latest", f"manifests/{Digest.of(MANIFEST)}", f"blobs/{Digest.of(SECRET)}"):
            for _ in range(2):
                answer = line.ask("DELETE", f"/v2/base/{target}")
                refused(answer, 405, "UNSUPPORTED")
                assert "DELETE" not in answer.headers["allow"]
        assert stored(server.root) == before
        assert json.loads(line.ask("GET", "/v2/base/tags/list").body)["tags"] == ["latest"]
        assert line.ask("GET", "/v2/base/manifests/latest").body == MANIFEST
        assert line.ask("GET", f"/v2/base/blobs/{Digest.of(SECRET)}").body == SECRET


# -- T15: sessions ------------------------------------------------------------------------------------------


def test_t15_a_session_is_its_users(closed: Live) -> None:
    """To another with the same rights it is one that never was."""
    with as_user(closed, "alice") as alice, as_user(closed, "dave") as dave, as_user(closed, "bob") as bob:
        session = alice.ask("POST", "/v2/a/x/blobs/uploads/").headers["location"]
        assert alice.ask("PATCH", session, b"alice").status == 202
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            query = f"?digest={Digest.of(b'alice')}"
            refused(dave.ask(method, session + query, b"x"), 404, "BLOB_UPLOAD_UNKNOWN")
            refused(bob.ask(method, session + query, b"x"), 403, "DENIED")
            moved = session.replace("/a/x/", "/b/y/")
            refused(bob.ask(method, moved + query, b"x"), 404, "BLOB_UPLOAD_UNKNOWN")
            assert alice.ask("GET", session).headers["range"] == "0-4"
        assert alice.ask("PUT", f"{session}?digest={Digest.of(b'alice')}").status == 201


def forgotten(user: User) -> None:
    """Wait until a credential that was taken back is good for nothing: two seconds or so."""
    deadline = time.monotonic() + 20
    while (answer := user.ask("GET", "/v2/")).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    refused(answer, 401, "UNAUTHORIZED")


def test_t15_a_right_that_is_taken_away_ends_its_uploads(closed: Live) -> None:
    set_password(closed.root, "eve", "eves password")
    with User(closed.host, basic("eve", "eves password")) as eve, as_user(closed, "dave") as dave:
        refused(eve.ask("POST", "/v2/a/x/blobs/uploads/"), 403, "DENIED")
        token = bearer(dave, "repository:a/x:pull,push")
        session = dave.ask("POST", "/v2/a/x/blobs/uploads/").headers["location"]
        with User(closed.host, token) as holder:
            assert holder.ask("PATCH", session, b"before").status == 202
            set_password(closed.root, "dave", "another", "passwd")
            try:
                forgotten(holder)
                forgotten(dave)
                for user in (dave, holder):
                    refused(user.ask("PATCH", session, b"after"), 401, "UNAUTHORIZED")
                    refused(user.ask("GET", session), 401, "UNAUTHORIZED")
            finally:
                set_password(closed.root, "dave", PASSWORDS["dave"], "passwd")
    assert registry("user", "rm", "eve", "--root", str(closed.root)).returncode == 0


# -- T27: tokens --------------------------------------------------------------------------------------------


def bearer(user: User, scope: str) -> str:
    answer = user.ask("GET", f"/token?service=oci-registry&scope={scope}")
    assert answer.status == 200, answer
    return f"Bearer {json.loads(answer.body)['token']}"


def encode(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def resealed(head: dict[str, Any], claims: dict[str, Any], key: bytes = b"") -> str:
    signed = f"{encode(head)}.{encode(claims)}"
    return f"{signed}.{encode(hmac.digest(key, signed.encode(), hashlib.sha256))}"


HS = {"alg": "HS256", "typ": "JWT"}
HOOKS = "http://127.0.0.1/keys"
HEADS: dict[str, dict[str, Any]] = {  # in front of what was sealed under another
    "alg none": {"alg": "none", "typ": "JWT"},
    "alg NonE": {"alg": "NonE", "typ": "JWT"},
    "no alg": {"typ": "JWT"},
    "RS256": {"alg": "RS256", "typ": "JWT"},
    "HS512": {"alg": "HS512", "typ": "JWT"},
    "crit": {**HS, "crit": ["exp"], "exp": 0},
    "kid": {**HS, "kid": "../../dev/null"},
    "another order": {"typ": "JWT", "alg": "HS256"},
    "jwk": {**HS, "jwk": {"kty": "oct", "k": encode(b"mine")}},
    "jku and x5u": {**HS, "jku": HOOKS, "x5u": HOOKS},
    "x5c": {**HS, "x5c": ["MIIB"]},
}
WIDER: dict[str, dict[str, Any]] = {  # claims that were not sealed
    "another user": {"sub": "alice"},
    "more rights": {"access": [{"type": "repository", "name": "a/x", "actions": ["pull", "push"]}]},
    "never ending": {"exp": 2**40},
    "another audience": {"aud": "x"},
    "a refresh token": {"access": None},
    "groups": {"groups": ["admins"]},
}
Forge = Callable[[str, str, str], str]


def headed(own: dict[str, Any]) -> Forge:
    return lambda _, claims, seal: f"{encode(own)}.{claims}.{seal}"


def sealed_by_itself(own: dict[str, Any]) -> Forge:
    return lambda _, claims, seal: resealed(own, decode(claims), b"mine")


def claiming(more: dict[str, Any]) -> Forge:
    return lambda head, claims, seal: f"{head}.{encode({**decode(claims), **more})}.{seal}"


FORGED: dict[str, Forge] = {
    **{f"head: {name}": headed(own) for name, own in HEADS.items()},
    **{f"own key: {name}": sealed_by_itself(own) for name, own in HEADS.items()},
    **{f"claims: {name}": claiming(more) for name, more in WIDER.items()},
    "alg none without a seal": lambda _, claims, seal: f"{encode(HEADS['alg none'])}.{claims}.",
    "an empty key": lambda _, claims, seal: resealed(HS, decode(claims)),
    "a key of zeros": lambda _, claims, seal: resealed(HS, decode(claims), bytes(32)),
    "no seal": lambda head, claims, seal: f"{head}.{claims}.",
    "two parts": lambda head, claims, seal: f"{head}.{claims}",
    "four parts": lambda head, claims, seal: f"{head}.{claims}.{seal}.{seal}",
    "a seal of zeros": lambda head, claims, seal: f"{head}.{claims}.{encode(bytes(32))}",
    "a seal cut short": lambda head, claims, seal: f"{head}.{claims}.{seal[:-2]}",
    "a seal with padding": lambda head, claims, seal: f"{head}.{claims}.{seal}==",
    "five parts": lambda head, claims, seal: "e30.e30.e30.e30.e30",
    "nothing": lambda head, claims, seal: "",
    "dots": lambda head, claims, seal: "..",
    "deep": lambda head, claims, seal: f"{head}.{encode(b'[' * 5000)}.{seal}",
    "long": lambda head, claims, seal: f"{head}.{'A' * 20_000}.{seal}",
}  # fmt: skip


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_t27_a_forged_token_is_none(closed: Live, forge: Forge) -> None:
    with as_user(closed, "bob") as bob:
        real = bearer(bob, "repository:b/y:pull,push").removeprefix("Bearer ")
    head, claims, seal = real.split(".")
    forged = forge(head, claims, seal)
    assert forged != real
    with User(closed.host, f"Bearer {forged}") as thief, User(closed.host, f"Bearer {real}") as holder:
        for target in ("/v2/", "/v2/b/y/tags/list", "/v2/a/x/manifests/latest", "/v2/_catalog"):
            answer = thief.ask("GET", target)
            refused(answer, 401, "UNAUTHORIZED")
            assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert thief.ask("POST", "/v2/b/y/blobs/uploads/").status == 401
        assert thief.ask("GET", "/token?service=oci-registry&scope=repository:a/x:pull").status == 401
        assert holder.ask("GET", "/v2/").status == 200
        assert holder.ask("POST", "/v2/b/y/blobs/uploads/").status == 202


def test_t27_a_token_is_for_what_it_was_made(closed: Live) -> None:
    """What was asked for and may not be is left out; what was not asked for is not in it."""
    with as_user(closed, "alice") as alice:
        token = bearer(alice, "repository:a/x:pull%20repository:b/y:pull,push")
    with User(closed.host, token) as holder:
        assert holder.ask("GET", "/v2/a/x/manifests/latest").status == 200
        for method, target in (
            ("POST", "/v2/a/x/blobs/uploads/"),
            ("DELETE", "/v2/a/x/manifests/latest"),
            ("GET", "/v2/shared/x/tags/list"),
            ("GET", "/v2/b/y/tags/list"),
            ("POST", "/v2/b/y/blobs/uploads/"),
        ):
            answer = holder.ask(method, target)
            assert answer.status in (401, 403), (method, target, answer)
        assert holder.ask("GET", "/token?service=oci-registry&scope=repository:a/x:push").status == 401
    two = [("Authorization", token), ("Authorization", basic("bob", PASSWORDS["bob"]))]
    with Line(closed.host) as line:
        refused(line.ask("GET", "/v2/a/x/tags/list", headers=two), 401, "UNAUTHORIZED")


# -- T25, T26, T28: passwords -------------------------------------------------------------------------------


def test_t25_two_hundred_bad_logins_hold_nobody_up(closed: Live) -> None:
    """From elsewhere: who guesses waits, and is told so; a good user does not notice."""

    def guess(number: int) -> int:
        with User(closed.host, basic("alice", f"guess {number}"), source=f"127.0.1.{number % 4 + 1}") as line:
            answer = line.ask("GET", "/v2/")
            if answer.status == 429:
                refused(answer, 429, "TOOMANYREQUESTS")
                assert 1 <= int(answer.headers["retry-after"]) <= 60
            return answer.status

    with as_user(closed, "bob") as bob, ThreadPoolExecutor(20) as pool:
        assert bob.ask("GET", "/v2/").status == 200
        guessing = [pool.submit(guess, number) for number in range(200)]
        found: list[float] = []
        while not all(each.done() for each in guessing) or len(found) < 50:
            began = time.monotonic()
            assert bob.ask("GET", "/v2/b/y/tags/list").status in (200, 404)
            found.append(time.monotonic() - began)
            time.sleep(0.005)
    statuses = [each.result() for each in guessing]
    assert set(statuses) <= {401, 429}
    assert statuses.count(401) <= 60
    assert ninety_ninth(found) < 0.5, sorted(found)[-5:]


ODD_PASSWORDS = ("p" * 72, "p" * 73, "p" * 5000, "alices password\0", "\0", "", "é" * 37, "\U0001f600" * 20)


@pytest.mark.parametrize("number", range(len(ODD_PASSWORDS)))
def test_t25_no_password_is_an_error_of_ours(closed: Live, number: int) -> None:
    source = f"127.0.2.{number + 1}"
    for user in ("alice", "nobody", "", "x" * 300, "a\0b"):
        with User(closed.host, basic(user, ODD_PASSWORDS[number]), source=source) as line:
            refused(line.ask("GET", "/v2/"), {401, 429}, {"UNAUTHORIZED", "TOOMANYREQUESTS"})


UNREADABLE = (
    *("Basic", "Basic ", "Basic !!!!", "Basic YWxpY2U=", "Basic é", "Digest x", "Bearer", "Negotiate x", "x"),
    "basic " + "A" * 9000,
)


@pytest.mark.parametrize("shown", UNREADABLE)
def test_t25_what_is_no_credential_is_a_401(closed: Live, shown: str) -> None:
    with User(closed.host, shown, source="127.0.3.1") as line:
        refused(line.ask("GET", "/v2/"), 401, "UNAUTHORIZED")


def test_t25_a_new_password_is_the_only_one(closed: Live) -> None:
    set_password(closed.root, "frank", "the old one")
    with (
        User(closed.host, basic("frank", "the old one")) as old,
        User(closed.host, basic("frank", "a new one")) as new,
    ):
        assert old.ask("GET", "/v2/").status == 200
        set_password(closed.root, "frank", "a new one", "passwd")
        forgotten(old)
        assert new.ask("GET", "/v2/").status == 200
        assert registry("user", "rm", "frank", "--root", str(closed.root)).returncode == 0
        forgotten(new)


@pytest.mark.parametrize("again", [False, True], ids=["for the first time", "for the second time"])
def test_t26_a_name_that_is_nobodys_takes_as_long_and_is_told_the_same(closed: Live, again: bool) -> None:
    """Also by a password that has been wrong before, which nobody checks anew."""
    told = []
    numbers = count(1 + 100 * again)  # 20 in each attempt

    def measure() -> tuple[list[float], list[float]]:
        known: list[float] = []
        unknown: list[float] = []
        for number in islice(numbers, 20):
            for name, found in (("alice", known), ("mallory", unknown)):
                with User(closed.host, basic(name, f"guess {number}"), source=f"127.0.4.{number}") as line:
                    if again:
                        assert line.ask("GET", "/v2/").status == 401
                    began = time.perf_counter()
                    answer = line.ask("GET", "/v2/")
                    found.append(time.perf_counter() - began)
                    told.append(looks(answer))
        return known, unknown

    require_alike(measure, 2 if again else 1.25)
    assert told[0][0] == 401
    assert all(each == told[0] for each in told)


FORWARDED = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP")


@pytest.mark.parametrize("header", FORWARDED)
def test_t28_no_header_makes_a_client_another(closed: Live, header: str) -> None:
    source = f"127.0.5.{FORWARDED.index(header) + 1}"
    statuses = []
    with User(closed.host, basic("carol", "guess"), source=source) as line:
        for number in range(14):
            address = (
                f"for=198.51.100.{number}" if header == "Forwarded" else f"198.51.100.{number}, 127.0.0.1"
            )
            line.authorization = basic("carol", f"{header} {number}")
            statuses.append(line.ask("GET", "/v2/", headers={header: address}).status)
    assert statuses[:10] == [401] * 10
    assert statuses[10:] == [429] * 4


# -- T39: what a start allows -------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "registry.example", "::ffff:0.0.0.0", ""])
def test_t39_no_start_is_open_to_others_unasked(tmp_path: Path, host: str) -> None:
    done = registry("serve", "--host", host, "--port", "0", "--root", str(tmp_path / "root"))
    assert done.returncode == 2
    if host:
        for flag in ("--anonymous pull", "--anonymous push", "registry user add", "127.0.0.1"):
            assert flag in done.stderr
    assert not (tmp_path / "root").exists()


def test_t39_a_new_root_has_no_account_and_listens_on_loopback(tmp_path: Path) -> None:
    with running(tmp_path / "root") as server:
        assert registry("user", "list", "--root", str(server.root)).stdout.strip() == ""
        assert server.host.startswith("127.0.0.1:")
        assert not [path for path in server.root.rglob("*") if path.name in ("htpasswd", "robots")]
    shown = registry("config", "--json", "--root", str(tmp_path / "root"))
    assert shown.returncode == 0
    assert "127.0.0.1" in shown.stdout
