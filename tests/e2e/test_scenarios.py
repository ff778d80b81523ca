"""What docs/clients.md says of clients is what they do: those that are quick are asked again."""

import pytest

from oci_registry_testing.scenarios import SCENARIOS, load, report, run_all
from tests.e2e.clients import search_path
from tests.e2e.conftest import Require
from tests.oci_registry_testing.scenarios.test_page import table

pytestmark = pytest.mark.e2e

QUICK = ("crane", "oras", "regctl", "skopeo")


@pytest.mark.parametrize("name", QUICK)
def test_it_is_as_the_page_says(name: str, require: Require, monkeypatch: pytest.MonkeyPatch) -> None:
    client = require(name)
    for variable, value in {**client.environment, "PATH": search_path()}.items():
        monkeypatch.setenv(variable, value)
    outcomes = run_all([load(name)], SCENARIOS, jobs=4)
    head, _, *rows = table()
    place = head.index(f"`{name}`")
    said = {row[0]: row[place] for row in rows}
    found = {each.scenario.name: report.cell(each, "**{}**") for each in outcomes}
    assert found == said
