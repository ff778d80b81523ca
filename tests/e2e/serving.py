"""A live `registry serve` on a folder of its own."""

import contextlib
import json
import re
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADDRESS = re.compile(r"(https?)://(127\.0\.0\.1:[1-9]\d*)")
START_SECONDS = 60.0
STOP_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Server:
    host: str  # 127.0.0.1:PORT, the form that clients take in image names
    root: Path
    log: Path

    def stored(self) -> frozenset[str]:
        """The hex names of all blobs on disk: what deduplication is judged by."""
        return frozenset(path.name for path in (self.root / "blobs").glob("*/*/*"))

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """The access log's lines of all requests answered so far, from the given one on."""
        # A line is written after its answer: this request's own line shows that the earlier ones are there.
        marker = f"/v2/?ns={uuid.uuid4()}"  # other values the log does not show
        answers(f"http://{self.host}", marker)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            lines = [line for line in self.log.read_text().splitlines(keepends=True) if line.startswith("{")]
            entries = [json.loads(line) for line in lines if line.endswith("\n")]
            if any(entry["target"] == marker for entry in entries):
                return [entry for entry in entries if not entry["target"].startswith("/v2/?")][since:]
            time.sleep(0.02)
        raise AssertionError(f"the access log does not show {marker}:\n{tail(self.log)}")


@contextlib.contextmanager
def serve(folder: Path, *flags: str, module: str = "registry") -> Iterator[Server]:
    """Serve until the block ends; then SIGTERM must end the process with exit code 0."""
    root, log = folder / "root", folder / "serve.log"
    command = [sys.executable, "-m", module, "serve", "--root", str(root)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0", *flags],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        yield Server(await_host(process, log), root, log)
        process.terminate()
        code = process.wait(STOP_SECONDS)
        if code != 0:
            raise AssertionError(f"SIGTERM ended the server with exit code {code}:\n{tail(log)}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def await_host(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the server prints, once it answers there."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = ADDRESS.search(log.read_text(errors="replace"))
        if found and answers(f"{found[1]}://{found[2]}"):
            return found[2]
        time.sleep(0.02)
    raise AssertionError(f"the server did not start within {START_SECONDS:.0f} s:\n{tail(log)}")


def answers(url: str, target: str = "/v2/") -> bool:
    try:
        with urllib.request.urlopen(
            f"{url}{target}", timeout=5, context=ssl._create_unverified_context()
        ) as reply:
            return bool(reply.status == 200)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except ssl.SSLError as error:
        return error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    except OSError:  # nobody listens, or a worker that has the connection has not started yet
        return False


def tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
