"""`registry du`: sums for people, and in bytes for programs."""

import asyncio
import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from storage.digest import Digest
from storage.store import Store, open_store
from tests.storage.fetching import fetch_image
from tests.storage.pushing import allow, edge, push_blob, push_manifest

SHARED, OWN, LOOSE = bytes(40_000), bytes(2_000), bytes(70)
IMAGE, OTHER = b"image", b"other image"


@pytest.fixture
def root(tmp_path: Path) -> str:
    """a with an image and another that lost its tag, and a loose blob; b with the first image."""
    folder = str(tmp_path / "root")
    with closing(open_store(folder, durable=False)) as store:
        asyncio.run(_fill(store))
    return folder


async def _fill(store: Store) -> None:
    for repository in "ab":
        await push_blob(store, repository, SHARED)
        await push_manifest(store, repository, IMAGE, [edge(SHARED)], ["x"])
    await push_blob(store, "a", OWN)
    await push_manifest(store, "a", OTHER, [edge(OWN)], ["y", "z"])
    await store.names.manifests.remove_tag("a", "z", check=allow)
    await push_blob(store, "a", LOOSE)


def run(root: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["du", *arguments, "--root", root], prog_name="registry")


def test_repositories_for_people(root: str) -> None:
    result = run(root)
    assert result.exit_code == 0
    lines = [line.split("  ") for line in result.stdout.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["REPOSITORY", "TAGS", "LOGICAL", "STORED", "ONLY HERE", "SHARED", "RECLAIMABLE"],
        ["a", "2", "42.0 kB", "42.1 kB", "2.1 kB", "40.0 kB", "70 B"],
        ["b", "1", "40.0 kB", "40.0 kB", "0 B", "40.0 kB", "0 B"],
        ["all, on disk", "3", "82.0 kB", "42.1 kB", "2.1 kB", "40.0 kB", "70 B"],
    ]


def test_repositories_for_programs(root: str) -> None:
    found = json.loads(run(root, "--json").stdout)
    own, image = len(OWN + OTHER), len(SHARED + IMAGE)
    loose = len(LOOSE)
    assert found["repositories"][0] == {
        "name": "a",
        "tags": 2,
        "logical": own + image,
        "stored": own + image + loose,
        "only_here": own + loose,
        "shared": image,
        "reclaimable": loose,
    }
    assert found["total"] == {
        "tags": 3,
        "logical": own + 2 * image,
        "stored": own + image + loose,
        "only_here": own + loose,
        "shared": image,
        "unheld": 0,
        "reclaimable": loose,
        "fetched": 0,
    }


def test_tags(root: str) -> None:
    lines = [line.split() for line in run(root, "a").stdout.splitlines()]
    assert lines == [
        ["TAG", "SIZE", "ONLY", "SHARED"],
        ["x", "40.0", "kB", "0", "B", "40.0", "kB"],
        ["y", "2.0", "kB", "2.0", "kB", "0", "B"],
    ]
    found = json.loads(run(root, "a", "--json").stdout)
    size = len(OWN + OTHER)
    assert found["name"] == "a"
    assert found["tags"][1] == {
        "name": "y",
        "digest": str(Digest.of(OTHER)),
        "size": size,
        "only": size,
        "shared": 0,
    }


@pytest.mark.parametrize(("untagged", "reclaimable"), [("never", 0), ("30d", 0), ("0", len(OWN + OTHER))])
def test_what_lost_its_tag_counts_as_the_settings_say(root: str, untagged: str, reclaimable: int) -> None:
    with closing(open_store(root, durable=False)) as store:
        asyncio.run(store.names.manifests.remove_tag("a", "y", check=allow))
        sql = "UPDATE manifests SET pushed = pushed - 10, untagged = untagged - 10"
        asyncio.run(store.database.write(lambda connection: connection.execute(sql).rowcount))
    for given in (
        ["--untagged", untagged],
        ["--retention", f'[{{repositories=["*"], untagged="{untagged}"}}]'],
    ):
        total = json.loads(run(root, "--json", *given).stdout)["total"]
        assert total["reclaimable"] == reclaimable + len(LOOSE)


@pytest.mark.parametrize(
    ("name", "code", "says"), [("absent", 1, "repository absent is not here"), ("UPPER", 2, "'UPPER'")]
)
def test_mistakes(root: str, name: str, code: int, says: str) -> None:
    result = run(root, name)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr


# -- quotas ----------------------------------------------------------------------------------------------

QUOTAS = (
    '[{bytes = "1MB", tags = 4}, {repositories = ["a"], each = true, tags = 2},'
    ' {repositories = ["c*"], tags = 1}]'
)


def test_quotas_for_people(root: str) -> None:
    lines = run(root, "--quota", QUOTAS).stdout.partition("\n\n")[2].splitlines()
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    assert cells == [
        ["QUOTA OF", "KIND", "USED", "LIMIT"],
        ["a", "tags", "2", "2"],
        ["the registry", "bytes", "82.1 kB", "1.0 MB"],
        ["the registry", "tags", "3", "4"],
        ["c* together", "tags", "0", "1"],
    ]


def test_quotas_for_programs(root: str) -> None:
    held = 2 * len(SHARED + IMAGE) + len(OWN + OTHER + LOOSE)
    assert json.loads(run(root, "--json").stdout)["quotas"] == []
    assert json.loads(run(root, "--json", "--quota", QUOTAS).stdout)["quotas"][1] == {
        "name": "the registry",
        "limit": {"bytes": 10**6, "tags": 4},
        "used": {"bytes": held, "tags": 3},
    }


# -- what upstreams have ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """With an image of an upstream beside, that has one layer of its own. For tests that change nothing."""
    root = str(tmp_path_factory.mktemp("mixed") / "root")
    with closing(open_store(root, durable=False)) as store:
        asyncio.run(_fill(store))
        asyncio.run(fetch_image(store, "@docker.io/library/c", b"fetched", [SHARED, b"layer"], ["x"]))
    return root


def test_what_upstreams_have_is_apart(mixed: str) -> None:
    lines = run(mixed).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["REPOSITORY", "a", "b", "all,", "12"]
    assert lines[-1] == "12 B of it is of other registries: see registry cache status"
    lines = run(mixed, "--cached").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["REPOSITORY", "docker.io/library/c", "all,", "12"]
    found = json.loads(run(mixed, "--cached", "--json").stdout)
    assert [each["name"] for each in found["repositories"]] == ["docker.io/library/c"]
    assert found["total"]["fetched"] == len(b"fetchedlayer")


def test_tags_of_what_upstreams_have(mixed: str) -> None:
    (tag,) = json.loads(run(mixed, "docker.io/library/c", "--cached", "--json").stdout)["tags"]
    assert (tag["name"], tag["size"], tag["only"]) == ("x", 40_012, 12)
    assert run(mixed, "docker.io/library/c").exit_code == 1
    assert run(mixed, "a", "--cached").exit_code == 1


def test_a_list_of_what_upstreams_have(mixed: str) -> None:
    def listed(*arguments: str) -> list[str]:
        result = CliRunner().invoke(cli, ["ls", *arguments, "--root", mixed], prog_name="registry")
        assert result.exit_code == 0
        return [line.split()[0] for line in result.stdout.splitlines()[1:]]

    assert listed() == ["a", "b"]
    assert listed("--cached") == ["docker.io/library/c"]
    assert listed("--cached", "docker.io/library/c") == ["x"]
