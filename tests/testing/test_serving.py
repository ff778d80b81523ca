"""`registry serve --profile P --faults F`: the same for clients in any language."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.live.servers import running

FAULTS = '[[fault]]\ndo = "cut"\nafter = 5\nroute = "ping"\nnth = 3\n'


def test_a_server_behaves_and_fails_as_it_is_told(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(FAULTS.replace("after = 5\n", ""))
    flags = ("--profile", "ghcr", "--faults", str(file), "--no-access-log")
    with running(tmp_path / "root", *flags) as live, httpx.Client(base_url=f"http://{live.host}") as client:
        # The server's start has asked once; small answers that were given before are watched too.
        assert client.get("/v2/").status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/v2/")
        assert client.get("/v2/a/referrers/sha256:" + "0" * 64).status_code == 404
        assert client.delete("/v2/a/manifests/v1").status_code == 405
        state = client.put("/_test/faults", json={"fault": [{"do": "refuse", "status": 500}]}).json()
        assert [each["path"] for each in state["fired"]] == ["/v2/"]
        assert client.get("/v2/").status_code == 500
    said = live.said()
    assert "behaves as  ghcr, for tests" in said
    assert f"http://{live.host}/_test/faults" in said
    assert "profile ghcr: DELETE /v2/a/manifests/v1: 405" in said
    assert "fault: GET /v2/: Cut(after=0, sending=False)" in said
    assert "fault: GET /v2/: Refuse(status=500, retry_after=-1, code='')" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--profile", "ghrc"], "did you mean ghcr?"),
        (["--profile", "none.toml"], "cannot be read"),
        (["--faults", "none.toml"], "none.toml cannot be read"),
        (["--profile", "dev", "--workers", "2"], "in one process: leave out workers = 2"),
        (["--faults", "-", "--workers", "2"], "in one process"),
    ],
)
def test_what_cannot_be_read_stops_the_start(tmp_path: Path, flags: list[str], said: str) -> None:
    command = [sys.executable, "-m", "registry", "serve", "--ephemeral", "--port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
