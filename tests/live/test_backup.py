"""Backups beside a server that takes pushes, moves of tags and deletes all the while."""

import http.client
import json
import random
import subprocess
import sys
import threading
from pathlib import Path

from storage.digest import Digest
from tests.builders import OCI_CONFIG, OCI_IMAGE, descriptor, image
from tests.crash.evidence import look
from tests.crash.ledger import TIMEOUT, Client, Ledger
from tests.live.servers import PROJECT, running

BACKUPS, CLIENTS = 6, 3


def registry(*arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "registry", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def push(host: str, number: int) -> str:
    """An image that nobody deletes; its digest, once it is acknowledged."""
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
    config = b'{"number":%d}' % number
    raw = image(descriptor(config, OCI_CONFIG), [])
    for method, path, body in (
        ("POST", f"/v2/kept/blobs/uploads/?digest={Digest.of(config)}", config),
        ("PUT", f"/v2/kept/manifests/n{number}", raw),
    ):
        connection.request(method, path, body, {"Content-Type": OCI_IMAGE})
        reply = connection.getresponse()
        assert reply.status == 201, reply.read()
        reply.read()
    connection.close()
    return str(Digest.of(raw))


def test_every_backup_is_sound_and_has_what_came_before(tmp_path: Path) -> None:
    folder, ledger, stop = tmp_path / "backup", Ledger(), threading.Event()

    def work(client: Client) -> None:
        connection = http.client.HTTPConnection(client.host, timeout=TIMEOUT)
        while not stop.is_set():
            client.push_image(connection)
        connection.close()

    with running(tmp_path / "root", "--no-access-log", "--workers", "2") as live:
        clients = [Client(live.host, number, ledger, random.Random(number)) for number in range(CLIENTS)]
        threads = [threading.Thread(target=work, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        try:
            for number in range(BACKUPS):
                digest = push(live.host, number)
                told = json.loads(registry("backup", str(folder), "--root", str(live.root), "--json"))
                assert told["lost"] == []
                seen = look(str(folder))
                assert not seen.problems, seen.problems[:5]
                assert ("kept", f"n{number}", digest) in seen.names.tags
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not ledger.refused
    assert ledger.acked.total() > 10 * BACKUPS
    assert "\nsound\n" in registry("fsck", "--root", str(folder))
    registry("restore", str(folder), "--root", str(tmp_path / "again"))
    with running(tmp_path / "again", "--no-access-log") as live:
        assert push(live.host, BACKUPS - 1) == digest
