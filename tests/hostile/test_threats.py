"""Every threat of the table is tried, and every test here tries one."""

import ast
import re
from pathlib import Path

from tests.hostile.threats import THREATS

PROJECT = Path(__file__).parents[2]
NUMBERED = re.compile(r"test_t(\d\d)_\w+")


def found_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def here() -> set[str]:
    modules = set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)}
    return {name for path in modules for name in found_in(path)}


def test_all_forty_threats_are_tried() -> None:
    tried = {int(found[1]) for name in here() if (found := NUMBERED.fullmatch(name))}
    assert sorted(THREATS) == list(range(1, 41))
    assert tried == set(THREATS)


def test_every_test_here_names_its_threat() -> None:
    assert [name for name in here() if not NUMBERED.fullmatch(name)] == []


def test_the_tests_elsewhere_are_there() -> None:
    for threat in THREATS.values():
        for named in threat.also:
            path, _, name = named.partition("::")
            found = found_in(PROJECT / path)
            assert found if name == "*" else name in found, named
