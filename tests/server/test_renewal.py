"""A certificate that changes under a running server: who gets which, and what is said."""

import logging
import os
import shutil
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from registry.server.renewal import Watch
from registry.server.seldom import Seldom
from registry.settings import ConfigError, Settings
from tests.certificates import Certificate, make_authority, make_certificate
from tests.server.test_tls import handshake


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Certificate]:
    folder = tmp_path_factory.mktemp("pairs")
    return make_certificate(folder, "old"), make_certificate(folder, "new")


class World:
    def __init__(self, folder: Path, pairs: tuple[Certificate, Certificate]) -> None:
        self.old, self.new = pairs
        self.puts = 0
        self.used = Certificate(folder / "tls.pem", folder / "tls.key")
        self.put(self.old)
        self.settings = Settings(root="/", tls_cert=str(self.used.cert), tls_key=str(self.used.key))
        self.watch = Watch(self.settings, Seldom())

    def put(self, pair: Certificate) -> None:
        self.put_one(pair.cert, self.used.cert)
        self.put_one(pair.key, self.used.key)

    def put_one(self, source: Path, target: Path) -> None:
        """In place, as `cp` does."""
        shutil.copyfile(source, target)
        self.puts += 1
        os.utime(target, (self.puts, self.puts))  # some file systems count time in steps of 4 ms and more

    def look(self) -> None:
        self.watch.look()
        self.watch.look()  # what has just changed is left until it rests

    def serves(self, pair: Certificate) -> bool:
        try:
            handshake(self.watch.renewed, ssl.create_default_context(cafile=str(pair.cert)))
        except ssl.SSLCertVerificationError:
            return False
        return True


@pytest.fixture
def world(tmp_path: Path, pairs: tuple[Certificate, Certificate]) -> World:
    return World(tmp_path, pairs)


def test_a_new_pair_is_taken(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "registry")
    world.look()
    assert not caplog.records
    world.put(world.new)
    world.look()
    assert (world.serves(world.new), world.serves(world.old)) == (True, False)
    world.look()
    [record] = caplog.records
    assert f"the certificate that is now in {world.used.cert}" in record.getMessage()


def test_handshakes_are_counted_over_all_contexts(world: World) -> None:
    before = world.watch.renewed.current
    world.put(world.new)
    world.look()
    assert world.watch.renewed.current is not before
    assert world.watch.renewed.current.entrance is before.entrance


def test_what_is_being_written_is_left_until_it_rests(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.put_one(world.new.cert, world.used.cert)
    world.watch.look()
    world.put_one(world.new.key, world.used.key)
    world.watch.look()
    assert world.serves(world.old)
    world.watch.look()
    assert world.serves(world.new)
    assert "not taken" not in caplog.text


def half(world: World) -> None:
    world.used.cert.write_bytes(world.new.cert.read_bytes()[:300])


def mismatched(world: World) -> None:
    world.put_one(world.new.cert, world.used.cert)


def gone(world: World) -> None:
    world.used.key.unlink()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(half, "cannot be used"), (mismatched, "is not the key"), (gone, "cannot be read")],
)
def test_what_cannot_serve_is_not_taken(
    world: World, spoil: object, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(spoil)
    spoil(world)
    for _ in range(3):
        world.look()
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "the one before goes on" in record.getMessage()
    assert why in record.getMessage()
    assert world.serves(world.old)
    world.put(world.new)
    world.look()
    assert world.serves(world.new)


@pytest.mark.parametrize("error", [ConfigError("too many open files"), OSError(24, "too many open files")])
def test_what_failed_for_a_moment_is_tried_again(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise error

    world.put(world.new)
    with monkeypatch.context() as short:
        short.setattr("registry.server.renewal.context", fail)
        world.look()
    assert world.serves(world.old)
    assert "too many open files" in caplog.text
    world.watch.look()
    assert world.serves(world.new)


def test_a_link_that_leads_elsewhere_is_a_change(
    tmp_path: Path, pairs: tuple[Certificate, Certificate]
) -> None:
    """As Kubernetes has it: tls.crt → ..data/tls.crt, ..data → ..2026_1, and ..data is what is replaced."""
    for number, pair in enumerate(pairs):
        (tmp_path / f"..{number}").mkdir()
        shutil.copyfile(pair.cert, tmp_path / f"..{number}" / "tls.pem")
        shutil.copyfile(pair.key, tmp_path / f"..{number}" / "tls.key")
    (tmp_path / "..data").symlink_to("..0")
    mounted = Certificate(tmp_path / "tls.pem", tmp_path / "tls.key")
    for file in (mounted.cert, mounted.key):
        file.symlink_to(f"..data/{file.name}")
    watch = Watch(Settings(root="/", tls_cert=str(mounted.cert), tls_key=str(mounted.key)), Seldom())
    (tmp_path / "..data_tmp").symlink_to("..1")
    os.rename(tmp_path / "..data_tmp", tmp_path / "..data")
    watch.look()
    watch.look()
    handshake(watch.renewed, ssl.create_default_context(cafile=str(pairs[1].cert)))


def test_other_authorities_are_a_change_too(world: World, tmp_path: Path) -> None:
    authorities = tmp_path / "clients.pem"
    shutil.copyfile(make_authority(tmp_path).cert, authorities)
    watch = Watch(replace(world.settings, tls_client_ca=str(authorities)), Seldom())
    before = watch.renewed.current
    shutil.copyfile(make_authority(tmp_path, "other").cert, authorities)
    watch.look()
    watch.look()
    assert watch.renewed.current is not before
    assert watch.renewed.current.verify_mode is ssl.CERT_OPTIONAL


def test_a_pair_that_cannot_serve_ends_the_start(world: World) -> None:
    mismatched(world)
    with pytest.raises(ConfigError, match="is not the key"):
        Watch(world.settings, Seldom())
