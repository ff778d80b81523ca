"""What `[[issuers]]` entries say, and what they may not."""

import re
import tomllib
from pathlib import Path

import pytest

from registry.auth.issuer_settings import ISSUERS, Issuer, find_token_server
from registry.config import load
from registry.kinds import Misfit
from registry.settings import ConfigError

TOML = """
[[issuers]]
name = "github"
issuer = "https://token.actions.githubusercontent.com"
audience = "registry.example.com"
groups = ["repository", "ref"]
require = { repository_owner = ["acme", "acme-labs"], repository_id = 7, private = true }

[[issuers]]
name = "hub"
issuer = "auth.example.com"
audience = "registry.example.com"
jwks = "/etc/registry/hub.json"
user = "name"
algorithms = ["ES256", "EdDSA"]
access = true
realm = "https://auth.example.com/token"
"""
GITHUB = Issuer(
    "github",
    "https://token.actions.githubusercontent.com",
    "registry.example.com",
    groups=("repository", "ref"),
    require=(("repository_owner", ("acme", "acme-labs")), ("repository_id", (7,)), ("private", (True,))),
)
HUB = Issuer(
    "hub",
    "auth.example.com",
    "registry.example.com",
    jwks="/etc/registry/hub.json",
    user="name",
    algorithms=("ES256", "EdDSA"),
    access=True,
    realm="https://auth.example.com/token",
    service="registry.example.com",
)


def test_entries_are_read() -> None:
    assert ISSUERS.check(tomllib.loads(TOML)["issuers"]) == (GITHUB, HUB)


BLOCK = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = BLOCK.findall((Path(__file__).parents[2] / "docs" / "access.md").read_text())


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_documentation(number: int, tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(EXAMPLES[number])
    assert load({}, {"HOME": "/home/ann"}, str(file)).settings != load({}, {"HOME": "/home/ann"}).settings


def test_there_are_examples_to_look_at() -> None:
    assert sum("[[issuers]]" in text for text in EXAMPLES) >= 4


def test_the_token_server() -> None:
    assert find_token_server((GITHUB, HUB)) is HUB
    assert find_token_server((GITHUB,)) is None


GOOD = {"name": "ci", "issuer": "https://ci.example", "audience": "here"}
REQUIRES: tuple[object, ...] = ("a", {"a": []}, {"a": [[]]}, {"a": 1.5}, {"": "a"})
SERVER = GOOD | {"access": True, "realm": "https://ci.example/token"}


@pytest.mark.parametrize(
    "entry",
    [
        GOOD,
        GOOD | {"issuer": "http://127.0.0.1:8080"},
        GOOD | {"issuer": "ci", "jwks": "http://localhost:1/keys"},
        GOOD | {"issuer": "ci", "jwks": "keys.json"},
        GOOD | {"groups": [], "require": {}},
        GOOD | {"groups": ["kubernetes.io", "https://acme.example/groups"]},
        SERVER | {"service": "hub"},
    ],
)
def test_good_ones(entry: dict[str, object]) -> None:
    assert ISSUERS.check([entry])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *(
            ({"name": name}, "name")
            for name in ("", "CI", "a:b", "-a", "a-", "a" * 33, "a*", 7, "cert", "token")
        ),
        *(({"issuer": text}, "issuer") for text in ("", "a\nb", 7)),
        *(({"issuer": text}, "jwks, where") for text in ("ci", "http://ci.example", "https://a@b")),
        *(({"audience": text}, "audience") for text in ("", 7, ["here"])),
        *(
            ({"jwks": text}, "jwks")
            for text in ("http://ci.example", "file:///etc/keys", "ftp://a.example", 7)
        ),
        *(({"user": text}, "user") for text in ("", "a=b", "a b", 7)),
        *(({"groups": value}, "groups") for value in ("ref", ["a=b"], [7], ["*"], ["a"] * 17)),
        *(({"require": value}, "require") for value in REQUIRES),
        *(({"algorithms": [name]}, "algorithms") for name in ("HS256", "none", "rs256", "ES512", "")),
        ({"algorithms": []}, "algorithms"),
        ({"access": 1}, "access"),
        ({"access": True}, "realm"),
        ({"access": True, "realm": "http://auth.example"}, "realm"),
        (SERVER | {"groups": ["ref"]}, "no groups"),
        ({"realm": "https://ci.example/token"}, "access = true beside realm"),
        ({"service": "hub"}, "access = true beside service"),
        ({"audiences": "here"}, "did you mean audience?"),
    ],
)
def test_mistakes(change: dict[str, object], says: str) -> None:
    with pytest.raises(Misfit) as caught:
        ISSUERS.check([GOOD | change])
    assert says in f"{caught.value.where}: {caught.value.expected}"


@pytest.mark.parametrize("key", ["name", "issuer", "audience"])
def test_what_every_entry_has(key: str) -> None:
    with pytest.raises(Misfit) as caught:
        ISSUERS.check([{name: value for name, value in GOOD.items() if name != key}])
    assert caught.value.expected.startswith(key)


@pytest.mark.parametrize(
    ("second", "where"),
    [
        ({"issuer": "https://b.example"}, "entry 2: name"),
        ({"name": "b"}, "entry 2: issuer"),
        ({"name": "b", "issuer": "https://b.example"}, "entry 2: access"),
    ],
)
def test_entries_that_do_not_go_together(second: dict[str, object], where: str) -> None:
    with pytest.raises(Misfit) as caught:
        ISSUERS.check([SERVER, SERVER | second])
    assert caught.value.where == where


def test_without_the_library_the_start_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[{name = "ci", issuer = "https://ci.example", audience = "here"}]'
    assert load({"issuers": text}, {"HOME": "/home/ann"}).settings.issuers
    monkeypatch.setattr("registry.consistency.is_installed", lambda: False)
    with pytest.raises(ConfigError, match=r"flag --issuers.*pip install 'oci-registry\[oidc\]'"):
        load({"issuers": text}, {"HOME": "/home/ann"})
    assert load({"issuers": text}, {"HOME": "/home/ann"}, serving=False).settings.issuers
