"""docs/clients.md and docs/testing.md have the scenarios, the clients and the verbs that there are."""

import re
import shlex

from oci_registry_testing.scenarios import SCENARIOS, Verdict, names, parse
from oci_registry_testing.scenarios.__main__ import chosen, read_options
from oci_registry_testing.scenarios.client import VERBS
from tests.client_kit import BEGIN, CLIENTS, END, PAGE, write

TESTING = PAGE.parent / "testing.md"


def table() -> list[list[str]]:
    part = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    return [re.split(r" \| ", line.strip("| ")) for line in part.splitlines() if line.startswith("| ")]


def test_the_table_is_of_all_clients_in_all_scenarios() -> None:
    head, _, *rows = table()
    assert head[2:] == [f"`{name}`" for name in CLIENTS]
    assert set(CLIENTS) == set(names())
    assert [row[:2] for row in rows] == [[each.name, each.about] for each in SCENARIOS]
    cells = {cell.partition(":")[0].strip("*") for row in rows for cell in row[2:]}
    assert cells <= {each.value for each in Verdict}


def test_every_verdict_is_explained() -> None:
    text = PAGE.read_text().partition(BEGIN)[0]
    assert all(f"{each.value}" in text for each in Verdict)


def test_a_table_takes_the_place_of_the_one_before() -> None:
    assert write(f"a\n{BEGIN}old\n{END}b\n", f"{BEGIN}new\n{END}") == f"a\n{BEGIN}new\n{END}b\n"


def test_the_client_that_is_shown_can_be_read() -> None:
    (text,) = re.findall(r"^```toml\n(# mine.toml.*?)^```", TESTING.read_text(), re.MULTILINE | re.DOTALL)
    assert set(parse("mine", text).commands) == set(VERBS)


def test_the_commands_that_are_shown_are_understood() -> None:
    shown = re.findall(r"^python -m registry\.testing\.scenarios (.*)", TESTING.read_text(), re.MULTILINE)
    for line in shown:
        options = read_options(shlex.split(line))
        assert options.list or chosen(options)
    assert len(shown) == 3
