"""How upstreams are reached: TLS, and nothing loaded before."""

import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from registry.names import Tag
from registry.upstream import transport
from registry.upstream.client import Fetched
from registry.upstream.errors import UpstreamAstray, UpstreamFailed
from storage.digest import Digest
from tests.certificates import make_certificate
from tests.upstream.clients import ACCEPT, APP, connected, taken
from tests.upstream.proxy import Fault, Rule, proxying


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    made = make_certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.cert, made.key)
    return context, str(made.cert)


async def test_tls(certificate: tuple[ssl.SSLContext, str]) -> None:
    context, ca_file = certificate
    async with proxying(tls=context) as proxy:
        proxy.rules.append(Rule(Fault(200, body=b"{}")))
        url = proxy.url.replace("127.0.0.1", "localhost")
        async with connected(url, ca_file=ca_file) as client:
            assert isinstance(await client.manifest(APP, Tag("v1"), ACCEPT), Fetched)
        assert proxy.seen[0].fields["host"] == url.removeprefix("https://")
        async with connected(url) as stranger:
            with pytest.raises(UpstreamFailed, match="certificate verify failed"):
                await stranger.manifest(APP, Tag("v1"), ACCEPT)


async def test_nothing_leads_out_of_tls(certificate: tuple[ssl.SSLContext, str]) -> None:
    context, ca_file = certificate
    async with proxying() as plain, proxying(tls=context) as proxy:
        settings: dict[str, Any] = {"redirects": [plain.host], "realms": [plain.host]}
        async with connected(proxy.url, ca_file=ca_file, **settings) as client:
            realm = f'Bearer realm="{plain.url}/token"'
            for fault in (Fault(307, {"Location": plain.url}), Fault(401, {"WWW-Authenticate": realm})):
                proxy.rules[:] = [Rule(fault)]
                with pytest.raises(UpstreamAstray, match="from https to http"):
                    await taken(client, Digest.of(b""))
        assert plain.connections == 0


def test_a_missing_ca_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        transport.trust(str(tmp_path / "missing.pem"))


def test_the_library_is_loaded_when_needed() -> None:
    code = "import registry.upstream.client, sys; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    assert transport.is_installed()
