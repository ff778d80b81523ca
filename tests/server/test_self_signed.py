"""The certificate that the registry makes: what it is good for, when it is made anew, what is told."""

import datetime
import os
import ssl
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from registry.server import issuing
from registry.server.issuing import Pair, issue
from registry.server.self_signed import DAYS, Kept, SelfSigned, machine_name, names_of, trust_steps
from registry.server.tls import context
from registry.settings import ConfigError, Settings
from storage.files import Files
from storage.layout import Layout
from storage.secrets import Secrets
from tests.certificates import openssl
from tests.server.test_tls import handshake

NAMES = ("localhost", "127.0.0.1", "::1", "registry.lan")
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class World:
    def __init__(self, folder: Path) -> None:
        self.layout = Layout(str(folder / "root"))

    def keep(
        self, names: tuple[str, ...] = NAMES, machine: str = "", now: datetime.datetime = NOW
    ) -> tuple[Kept, Pair, Pair]:
        """What is told, the authority, and the server's certificate, as the files have them."""
        kept = self.own(names, machine, now).keep()
        return kept, self.read(self.layout.tls_authority), self.read(self.layout.tls_served)

    def own(
        self, names: tuple[str, ...] = NAMES, machine: str = "", now: datetime.datetime = NOW
    ) -> SelfSigned:
        secrets = Secrets(Files(self.layout.degraded), self.layout)
        return SelfSigned(secrets, self.layout, names, machine, lambda: now)

    def read(self, path: str) -> Pair:
        found = issuing.read(Path(path).read_bytes())
        assert found
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def reach(kept: Kept, name: str) -> None:
    """As a client that trusts the authority and nothing else. Raises ssl.SSLCertVerificationError."""
    server = context(Settings(root="/", tls_cert=kept.served, tls_key=kept.served))
    assert server
    handshake(server, ssl.create_default_context(cafile=kept.authority), name)


@pytest.mark.parametrize("name", [*NAMES, "vm7"])
def test_clients_that_trust_the_authority_get_in(world: World, name: str) -> None:
    kept, authority, _ = world.keep(machine="vm7")
    reach(kept, name)
    assert kept.names == (*NAMES, "vm7")
    assert kept.fingerprint == authority.fingerprint
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", kept.authority, kept.served)


@pytest.mark.parametrize("name", ["registry.example", "127.0.0.2"])
def test_and_by_no_other_name(world: World, name: str) -> None:
    kept, _, _ = world.keep()
    with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|not valid for"):
        reach(kept, name)


@pytest.mark.parametrize("name", ["bank.example", "lan", "evilregistry.lan", "192.0.2.1"])
def test_the_authority_can_sign_for_nothing_else(world: World, tmp_path: Path, name: str) -> None:
    kept, authority, _ = world.keep()
    forged = issue(authority, [name], NOW, 30)
    served = tmp_path / "forged.pem"
    served.write_bytes(forged.private + forged.public)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        reach(replace(kept, served=str(served)), name)


def test_nor_make_another_authority(world: World, tmp_path: Path) -> None:
    kept, _, _ = world.keep()
    made = tmp_path / "below.pem"
    openssl(
        *("req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"),
        *("-subj", "/CN=below", "-addext", "basicConstraints=critical,CA:TRUE", "-out", str(made)),
        *("-CA", world.layout.tls_authority, "-CAkey", world.layout.tls_authority),
        *("-keyout", str(tmp_path / "below.key")),
    )
    below = issuing.read((tmp_path / "below.key").read_bytes() + made.read_bytes())
    assert below
    forged = issue(below, ["localhost"], NOW, 30)
    served = tmp_path / "forged.pem"
    served.write_bytes(forged.private + forged.public + below.public)
    with pytest.raises(ssl.SSLCertVerificationError, match="path length constraint exceeded"):
        reach(replace(kept, served=str(served)), "localhost")


def test_only_the_owner_can_read_them(world: World) -> None:
    world.keep()
    folder = world.layout.secrets
    modes = {name: stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) for name in os.listdir(folder)}
    assert modes == {"tls-authority.pem": 0o600, "tls-ca.crt": 0o600, "tls-server.pem": 0o600}
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert b"PRIVATE" not in Path(world.layout.tls_ca).read_bytes()


def test_a_restart_changes_nothing(world: World) -> None:
    world.keep()
    before = {
        name: os.stat(os.path.join(world.layout.secrets, name)) for name in os.listdir(world.layout.secrets)
    }
    world.keep(now=NOW + 300 * DAY)
    for name, there in before.items():
        assert os.stat(os.path.join(world.layout.secrets, name)).st_ino == there.st_ino


@pytest.mark.parametrize(
    "now", [NOW + (DAYS - 29) * DAY, NOW + 800 * DAY, datetime.datetime(1971, 1, 1, tzinfo=datetime.UTC)]
)
def test_a_certificate_that_ends_soon_or_has_not_begun_is_made_anew(
    world: World, now: datetime.datetime
) -> None:
    """And the clients see nothing of it."""
    _, authority, served = world.keep()
    _, authority_then, served_then = world.keep(now=now)
    assert authority_then == authority
    assert served_then != served
    assert served_then.certificate.not_valid_before_utc <= now
    assert issuing.lasts(served_then, now, DAYS - 2)
    lasts = served_then.certificate.not_valid_after_utc - served_then.certificate.not_valid_before_utc
    assert lasts < 398 * DAY


def test_an_authority_that_has_not_begun_is_made_anew(world: World) -> None:
    """The clock was ahead when it was made: no client takes it."""
    _, authority, _ = world.keep(now=NOW + 400 * DAY)
    kept, authority_then, _ = world.keep()
    assert authority_then != authority
    reach(kept, "localhost")


def test_an_authority_never_ends_before_what_it_signs(world: World, caplog: pytest.LogCaptureFixture) -> None:
    _, authority, _ = world.keep()
    _, authority_then, served_then = world.keep(now=NOW + 3300 * DAY)
    assert authority_then != authority
    assert served_then.certificate.not_valid_after_utc < authority_then.certificate.not_valid_after_utc
    assert "clients have to trust it anew" in caplog.text


def test_other_names_in_the_settings_need_another_authority(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    _, authority, served = world.keep()
    kept, same, fewer = world.keep(NAMES[:3])
    assert (same, fewer, kept.names) == (authority, served, NAMES[:3])
    assert not caplog.records
    kept, other, _ = world.keep((*NAMES, "192.0.2.7"))
    assert other != authority
    reach(kept, "192.0.2.7")
    assert "clients have to trust it anew" in caplog.text


def test_two_servers_with_other_names_do_not_swap_authorities_for_ever(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.own().keep()
    _, authority, served = world.keep((*NAMES[:3], "192.0.2.7"))
    caplog.clear()
    world.own().renew()
    [record] = caplog.records
    assert "give both the same tls_names" in record.getMessage()
    assert (world.read(world.layout.tls_authority), world.read(world.layout.tls_served)) == (
        authority,
        served,
    )


def test_nor_certificates(world: World) -> None:
    _, _, served = world.keep()
    world.own(NAMES[:3], "vm7").renew()
    world.own((*NAMES, "eu.registry.lan")).renew()
    assert world.read(world.layout.tls_served) == served


def test_what_ends_soon_is_renewed_while_it_serves(world: World) -> None:
    _, authority, _ = world.keep()
    later = NOW + (DAYS - 29) * DAY
    world.own(now=later).renew()
    assert world.read(world.layout.tls_authority) == authority
    assert issuing.lasts(world.read(world.layout.tls_served), later, DAYS - 2)


def test_a_name_below_one_that_it_has_needs_none(world: World) -> None:
    _, authority, _ = world.keep()
    kept, same, _ = world.keep((*NAMES, "eu.registry.lan"))
    assert same == authority
    reach(kept, "eu.registry.lan")


def test_a_container_of_another_name_is_no_reason(world: World) -> None:
    _, authority, _ = world.keep(machine="0a1b2c")
    kept, same, _ = world.keep(machine="3d4e5f")
    assert same == authority
    assert kept.names == NAMES


@pytest.mark.parametrize("name", ["tls_authority", "tls_ca", "tls_served"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"half"])
def test_a_damaged_file_is_made_anew(world: World, name: str, content: bytes) -> None:
    world.keep()
    path = Path(getattr(world.layout, name))
    path.write_bytes(path.read_bytes()[:200] if content == b"half" else content)
    kept, _, _ = world.keep()
    reach(kept, "localhost")


ELSEWHERE = {
    "without our extensions": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "a curve that nobody has": ("ec", "-pkeyopt", "ec_paramgen_curve:prime239v1"),
    "RSA": ("rsa:2048",),
}


@pytest.mark.parametrize("key", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("name", ["tls_authority", "tls_served"])
def test_a_file_that_was_made_elsewhere_is_replaced(
    world: World, tmp_path: Path, name: str, key: tuple[str, ...]
) -> None:
    world.keep()
    made = tmp_path / "made.pem"
    openssl(
        *("req", "-x509", "-nodes", "-newkey", *key, "-days", "3000", "-subj", "/CN=localhost"),
        *("-out", str(made), "-keyout", str(tmp_path / "made.key")),
    )
    path = Path(getattr(world.layout, name))
    path.write_bytes((tmp_path / "made.key").read_bytes() + made.read_bytes())
    kept, _, _ = world.keep()
    reach(kept, "localhost")


def test_a_name_that_no_certificate_can_have() -> None:
    settings = Settings(root="/", tls_names=("registry..lan",))
    with pytest.raises(ConfigError, match=r"registry\.\.lan"):
        names_of(settings)


@pytest.mark.parametrize(
    ("host", "given", "names"),
    [
        ("127.0.0.1", (), NAMES[:3]),
        ("0.0.0.0", ("Registry.LAN.",), NAMES),
        ("::", (), NAMES[:3]),
        ("fe80::1%eth0", ("192.0.2.7", "192.0.2.7"), (*NAMES[:3], "fe80::1", "192.0.2.7")),
        ("registry.lan", (), NAMES),
    ],
)
def test_names(host: str, given: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert names_of(Settings(root="/", host=host, tls_names=given)) == names


def test_a_machine_whose_name_can_be_in_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Ann's laptop")
    assert machine_name() == ""


@pytest.mark.parametrize(
    ("host", "where"),
    [("127.0.0.1", "127.0.0.1:5000"), ("0.0.0.0", "registry.lan:5000"), ("::1", "[::1]:5000")],
)
def test_the_steps_have_the_real_address(host: str, where: str) -> None:
    steps = "\n".join(trust_steps(Kept("/r/ca.crt", "AB:CD", "/r/s.pem", NAMES), host, 5000))
    for part in (
        "/r/ca.crt",
        "AB:CD",
        f"/etc/docker/certs.d/{where}/ca.crt",
        f"/etc/containers/certs.d/{where}/ca.crt",
        f"/etc/containerd/certs.d/{where}/ca.crt, and beside it, hosts.toml:",
        f'[host."https://{where}"]',
    ):
        assert part in steps


def test_without_the_library_the_start_names_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from registry.server.self_signed import require_library\n"
        "from registry.config import ConfigError\n"
        "try: require_library()\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'oci-registry[tls]'" in done.stdout


def test_who_does_not_ask_for_it_does_not_pay() -> None:
    program = "import registry.server.serve, sys; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
