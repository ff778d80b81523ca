import urllib.error

import pytest
from deployer import NotFound, resolve

from oci_registry_testing import Registry, make_index


def test_a_tag_is_resolved(oci_registry: Registry) -> None:
    pushed = oci_registry.push_image("team/app:v1", {"etc/motd": "hello\n"})
    assert resolve(oci_registry.url, "team/app", "v1") == pushed.digest
    assert [(each.method, each.status) for each in oci_registry.requests] == [("HEAD", 200)]


def test_an_index_counts_as_one(oci_registry: Registry) -> None:
    index = make_index()
    oci_registry.push("team/app:v1", index)
    assert resolve(oci_registry.url, "team/app", "v1") == index.digest


def test_a_tag_that_is_not_there_is_told(oci_registry: Registry) -> None:
    with pytest.raises(NotFound, match="team/app:v2"):
        resolve(oci_registry.url, "team/app", "v2")


def test_a_login_is_sent(oci_registry_auth: Registry) -> None:
    pushed = oci_registry_auth.push_image("team/app:v1")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        resolve(oci_registry_auth.url, "team/app", "v1")
    assert resolve(oci_registry_auth.url, "team/app", "v1", oci_registry_auth.login) == pushed.digest
    assert [each.who for each in oci_registry_auth.requests] == ["", "ann"]


@pytest.mark.oci_registry(faults=[{"do": "refuse", "status": 429, "retry_after": 0, "nth": 1, "times": 2}])
def test_a_busy_registry_is_asked_again(oci_registry: Registry) -> None:
    pushed = oci_registry.push_image("team/app:v1")
    assert resolve(oci_registry.url, "team/app", "v1") == pushed.digest
    assert [each.status for each in oci_registry.requests] == [429, 429, 200]


@pytest.mark.oci_registry(faults=[{"do": "refuse", "status": 429, "retry_after": 0}])
def test_it_gives_up_in_the_end(oci_registry: Registry) -> None:
    with pytest.raises(urllib.error.HTTPError, match="429"):
        resolve(oci_registry.url, "team/app", "v1")
    assert len(oci_registry.fired) == 3


@pytest.mark.oci_registry(profile="ghcr")
def test_it_works_at_ghcr(oci_registry: Registry) -> None:
    pushed = oci_registry.push_image("team/app:v1")
    assert resolve(oci_registry.url, "team/app", "v1") == pushed.digest
