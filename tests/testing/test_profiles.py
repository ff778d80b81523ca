"""The files of profiles: what they may say, what is said of a mistake, and that each claim has its source."""

import re
from pathlib import Path

import pytest

from registry.settings import Settings
from registry.testing.profiles import ALLOWED, SWITCHES, Key, Profile, ProfileInvalid, load, names, parse

PAGE = Path(__file__).parents[2] / "docs" / "profiles.md"
SOURCE = re.compile(r"https://\S+|docs/profiles\.md#\S+")
TABLE = re.compile(r"<!-- profiles.*?-->\n(.*?)<!-- end of profiles -->", re.DOTALL)
MEANINGS = re.compile(r"<!-- switches.*?-->\n(.*?)<!-- end of switches -->", re.DOTALL)


def test_those_that_were_asked_for_are_there() -> None:
    wanted = "strict dev 1.0 distribution-2.8 docker-hub ghcr ecr gar quay artifactory"
    assert set(names()) == set(wanted.split())


@pytest.mark.parametrize("name", names())
def test_every_claim_has_a_source_and_says_something(name: str) -> None:
    profile = load(name)
    assert profile.name == name
    assert profile.title
    assert profile.about.endswith(".")
    assert set(profile.sources) == set(profile.switches) | set(profile.settings)
    assert all(SOURCE.match(source) for source in profile.sources.values())
    assert all(value != SWITCHES[switch].normal for switch, value in profile.switches.items())


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "Mine"\n[switches]\nmount = false\nmanifest_cap = "1MiB"\ntag_delete = 404\n'
        "[settings]\ndelete = false\n"
    )
    profile = load(str(file))
    assert (profile.name, profile.title, profile.sources) == ("mine", "Mine", {})
    assert profile.switches == {"mount": False, "manifest_cap": 2**20, "tag_delete": 404}
    assert profile.settings == {"delete": False}
    assert profile.written("switches") == {"mount": False, "manifest_cap": "1MiB", "tag_delete": 404}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "not TOML"),
        ("x = " + "[" * 10_000, "not TOML: too many brackets"),
        (f"[switches]\nmanifest_cap = {'9' * 5000}", "not TOML"),
        ("switch = 1", "expected title, about, switches and settings"),
        ("switches = 1", "switches is no table"),
        ("[switches]\nmounts = false", "did you mean mount?"),
        ("[switches]\nfrobnicate = false", "known are referrers"),
        ("[switches]\nmount = 1", "expected true or false"),
        ('[switches]\nchunk_minimum = "many"', "expected bytes"),
        ("[switches]\ntag_delete = 500", "400, 403, 404, 405"),
        ('[switches]\npull_limit = "often"', 'such as "100/6h"'),
        ('[switches]\naccept = "any"', '"lenient", "strict"'),
        ("[settings]\nport = -1", "a whole number"),
        ("[settings]\nprofile = 'dev'", "which there is not"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(ProfileInvalid) as raised:
        parse("mine", text)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("ghrc", "did you mean ghcr?"), ("nexus", "known are 1.0,"), ("/none/mine.toml", "cannot be read")],
)
def test_a_profile_that_is_not_there(name: str, said: str) -> None:
    with pytest.raises(ProfileInvalid) as raised:
        load(name)
    assert said in str(raised.value)


def test_the_settings_can_be_taken_over() -> None:
    profile = parse("mine", '[settings]\nimmutable_tags = ["*:v*"]\nquota = [{bytes = "1MB"}]\n')
    assert Settings("/", **profile.settings).immutable_tags == ("*:v*",)


def written(profile: Profile, switch: str) -> str:
    value = profile.written("switches")[switch]
    return str(value).lower() if isinstance(value, bool) else str(value)


def profiles_table() -> str:
    """Profile by switch, each claim a link to its source."""
    profiles = [load(name) for name in names()]
    used = [switch for switch in SWITCHES if any(switch in profile.switches for profile in profiles)]
    rows = []
    for switch in used:
        cells = []
        for profile in profiles:
            source = SOURCE.match(profile.sources.get(switch, ""))
            link = source[0].rstrip(";").removeprefix("docs/profiles.md") if source else ""
            cells.append(f"[{written(profile, switch)}]({link})" if link else "")
        rows.append(f"| `{switch}` | " + " | ".join(cells) + " |")
    head = "| Switch | " + " | ".join(f"`{profile.name}`" for profile in profiles) + " |"
    return "\n".join([head, "|---" * (len(profiles) + 1) + "|", *rows, ""])


def switches_table() -> str:
    rows = [
        f"| `{key.name}` | {_normal(key)} | {key.help} | {key.kind.expected} |" for key in SWITCHES.values()
    ]
    return "\n".join(["| Switch | Normally | Of | Takes |", "|---|---|---|---|", *rows, ""])


def _normal(key: Key) -> str:
    if key.kind is ALLOWED:
        return "true"
    unlimited = key.normal in (0, None) and not isinstance(key.normal, bool)
    return "no limit" if unlimited else str(key.normal).lower()


def test_the_page_has_every_claim_with_its_source() -> None:
    found = TABLE.search(PAGE.read_text())
    assert found
    assert found[1] == profiles_table()


def test_the_page_has_every_switch() -> None:
    found = MEANINGS.search(PAGE.read_text())
    assert found
    assert found[1] == switches_table()


def test_the_page_tells_what_each_profile_is() -> None:
    text = PAGE.read_text()
    for name in names():
        assert f"- `{name}`: {load(name).title}. {load(name).about}" in text.replace("\n  ", " ")
