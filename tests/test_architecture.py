"""The arrows of ARCHITECTURE.md, held: who may import whom, and who may touch what."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("storage/**/*.py"), *ROOT.glob("registry/**/*.py")])

# From the inside out: a layer may import itself and those before it.
LAYERS = (
    ("storage",),
    (
        *("registry.errors", "registry.strict_json", "registry.kinds", "registry.patterns"),
        *("registry.networks", "registry"),
    ),
    ("registry.retention_rules", "registry.tables", "registry.quotas", "registry.build_caches"),
    ("registry.names", "registry.descriptors", "registry.manifests", "registry.conditions"),
    ("registry.changes", "registry.access", "registry.pulls", "registry.recent", "registry.memory"),
    (
        *("registry.registry", "registry.uploads", "registry.repository", "registry.auth"),
        "registry.sources",
        *("registry.upstream", "registry.cache"),
        *("registry.scrub", "registry.gc", "registry.retention", "registry.policies", "registry.guards"),
        *("registry.builds", "registry.rates", "registry.meters", "registry.trail"),
    ),
    ("registry.fsck", "registry.reindex"),
    ("registry.api",),
    (
        *("registry.dropin", "registry.settings", "registry.consistency", "registry.config"),
        "registry.testing",
    ),
    ("registry.app",),
    ("registry.server",),
    ("registry.testing.served", "registry.testing.starting"),
    ("registry.cli", "registry.__main__"),
)

CHANGES_FILES = {
    *(
        "chmod",
        "chown",
        "fchmod",
        "fchown",
        "fsync",
        "ftruncate",
        "link",
        "makedirs",
        "mkdir",
        "remove",
        "rename",
        "replace",
    ),
    *("rmdir", "symlink", "truncate", "unlink", "utime", "write", "writev", "pwrite"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def os_calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            yield node.attr


def layer(module: str) -> int:
    """The layer of the longest prefix that is listed."""
    found = [
        (len(prefix), number)
        for number, prefixes in enumerate(LAYERS)
        for prefix in prefixes
        if module == prefix or module.startswith(f"{prefix}.")
    ]
    assert found, f"{module} is in no layer: add it to LAYERS where it belongs"
    return max(found)[1]


def own(path: Path) -> list[str]:
    return [name for name in imports(path) if name.split(".")[0] in ("storage", "registry")]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_inwards(path: Path) -> None:
    here = layer(module_name(path))
    outward = [name for name in own(path) if layer(name) > here]
    assert not outward


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("starlette", ("registry.api", "registry.app", "registry.server", "registry.testing")),
        ("uvicorn", ("registry.server",)),
        ("sqlite3", ("storage.database",)),
        ("aiofiles", ("storage.blobs",)),
        ("click", ("registry.__main__", "registry.cli")),
        ("json", ("registry",)),
        ("tempfile", ("storage.files",)),
        ("shutil", ()),
        ("joserfc", ("registry.auth.public_keys",)),
        ("cryptography", ("registry.server.issuing",)),
        ("aiohttp", ("registry.upstream.transport",)),
        ("yarl", ("registry.upstream.transport",)),
    ],
)
def test_a_library_stays_at_home(library: str, homes: tuple[str, ...]) -> None:
    users = {
        module_name(path) for path in MODULES if library in {name.split(".")[0] for name in imports(path)}
    }
    strangers = {
        user for user in users if not any(user == home or user.startswith(f"{home}.") for home in homes)
    }
    assert not strangers


def test_only_files_changes_the_file_system() -> None:
    changing = {module_name(path) for path in MODULES if CHANGES_FILES & set(os_calls(path))}
    assert changing == {"storage.files"}


def test_only_config_reads_the_environment() -> None:
    reading = {module_name(path) for path in MODULES if {"environ", "getenv"} & set(os_calls(path))}
    assert reading <= {"registry.config"}


def test_the_walk_sees_what_it_looks_for(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("import os\nfrom registry.app import build\nos.unlink('x')\n")
    assert set(imports(source)) == {"os", "registry.app", "registry.app.build"}
    assert list(os_calls(source)) == ["unlink"]
    assert layer("storage.files") < layer("registry.api.blobs") < layer("registry.app")


def test_what_a_test_has_in_hands_needs_the_standard_library_alone() -> None:
    """But for pytest in its plugin: anyone's project imports it. The server's half only inside functions."""
    modules = sorted(ROOT.glob("oci_registry_testing/**/*.py"))
    found = {
        (path.stem, name.split(".")[0])
        for path in modules
        for name in at_import(path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, "oci_registry_testing"}
    }
    assert found == {("plugin", "pytest")}


def at_import(path: Path) -> Iterator[str]:
    """What a module imports when it is imported itself; types are not."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
