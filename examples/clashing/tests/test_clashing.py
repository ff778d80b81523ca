import urllib.request

import pytest

import registry
import storage
from oci_registry_testing import CannotStart, Registry


def test_the_fixture_takes_the_form_that_works(oci_registry: Registry) -> None:
    pushed = oci_registry.push_image("team/app:v1")
    with urllib.request.urlopen(f"{oci_registry.url}/v2/team/app/manifests/v1") as answer:
        assert answer.headers["Docker-Content-Digest"] == pushed.digest
    assert oci_registry.isolated
    assert [each.path for each in oci_registry.requests] == ["/v2/team/app/manifests/v1"]
    assert (registry.NAMES, storage.SHELVES) == (["team/app"], 3)


def test_the_other_form_says_why_it_cannot() -> None:
    with pytest.raises(CannotStart, match=r"`import storage` means .*clashing.storage here.*isolated=True"):
        Registry().start()
