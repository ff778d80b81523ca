"""F5: files cut short or changed behind the store's back, writes that end early, calls that are interrupted.

fsck finds what is damaged, nobody is given a file of another size, and a push of the same bytes heals it.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from registry.fsck import read
from storage.check import check
from storage.digest import Digest
from storage.store import Store
from tests.builders import OCI_CONFIG, OCI_IMAGE, blob, descriptor, image
from tests.crash import tiers
from tests.inprocess import connect, opened
from tests.live.servers import running
from tests.live.stories import append, begin, finish, push_image, require_whole
from tests.live.tracing import interrupted

pytestmark = [pytest.mark.crash, pytest.mark.timeout(tiers.pick(ci=120, soak=1800))]

CASES = tiers.pick(ci=100, soak=5_000)
SHORT = tiers.pick(ci=40, soak=1_000)  # pushes
IMAGES = 4
Say = Callable[[str], None]
Change = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def grow(data: bytes, dice: random.Random) -> bytes:
    return data + dice.randbytes(dice.randrange(1, 5_000))


def flip(data: bytes, dice: random.Random) -> bytes:
    """One bit."""
    place = dice.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]


def blank(data: bytes, dice: random.Random) -> bytes:
    """Zeros to the end, as a file system without its last pages has them."""
    start = dice.randrange(len(data))
    return data[:start] + bytes(len(data) - start)


CHANGES: Mapping[str, Change] = {
    "cut": cut,
    "empty": lambda *_: b"",
    "grown": grow,
    "bit": flip,
    "zeros": blank,
}


async def fill(client: httpx.AsyncClient, dice: random.Random) -> dict[str, bytes]:
    """What is to be damaged: GET path → bytes."""
    content: dict[str, bytes] = {}
    for number in range(IMAGES):
        config, layer = json.dumps({"number": number}).encode(), dice.randbytes(dice.randrange(1, 60_000))
        raw = image(descriptor(config, OCI_CONFIG), [descriptor(layer)], annotations={"n": f"{number}"})
        paths = {f"/v2/damaged/blobs/{Digest.of(data)}": data for data in (config, layer)}
        content.update(paths, **{f"/v2/damaged/manifests/t{number}": raw})
    for path in sorted(content):
        await put(client, path, content[path])
    return content


async def put(client: httpx.AsyncClient, path: str, data: bytes) -> None:
    if "/manifests/" in path:
        reply = await client.put(path, content=data, headers={"Content-Type": OCI_IMAGE})
    else:
        digest = path.rpartition("/")[2]
        reply = await client.post("/v2/damaged/blobs/uploads/", params={"digest": digest}, content=data)
    assert reply.status_code == 201, reply.text


def damage(store: Store, data: bytes, new: bytes) -> None:
    path = store.layout.blob(Digest.of(data))
    os.chmod(path, 0o600)
    with open(path, "wb") as file:
        file.write(new)
    os.chmod(path, 0o400)


async def findings(store: Store, *, repair: bool = False) -> set[tuple[str, str]]:
    report = await check(store, read=read, repair=repair)
    return {(finding.kind, finding.subject) for finding in report.findings}


async def test_what_is_damaged_is_found_hidden_and_healed_by_a_push(tmp_path: Path, say: Say) -> None:
    seed, found = tiers.seed(), Counter[str]()
    print(f"CRASH_SEED={seed}")
    dice = random.Random(seed)
    with opened(tmp_path) as store:
        async with connect(store) as client:
            content = await fill(client, dice)
        while found.total() < CASES:
            title, path = dice.choice(list(CHANGES)), dice.choice(list(content))
            data = content[path]
            new = CHANGES[title](data, dice)
            if new == data:
                continue  # zeros over zeros
            damage(store, data, new)
            # Another client each time: one that has been here would be answered from memory, and rightly.
            async with connect(store) as client:
                first_seen_by = dice.choice([require_hidden, require_found])
                await first_seen_by(store, client, path, data, new)
                await findings(store, repair=True)
                for method in ("GET", "HEAD"):
                    assert (await client.request(method, path)).status_code == 404, (title, path)
                await put(client, path, data)
                assert (await client.get(path)).content == data
                assert await findings(store) == set(), (title, path)
            found[title] += 1
    kinds = ", ".join(f"{title} {count}" for title, count in sorted(found.items()))
    say(f"F5, CRASH_SEED={seed}: {CASES} files damaged ({kinds}); not found, shown or not healed: 0")


async def require_hidden(store: Store, client: httpx.AsyncClient, path: str, data: bytes, new: bytes) -> None:
    """A pull comes first. Of a large blob that kept its size only fsck and the client can tell."""
    reply = await client.get(path)
    told = reply.status_code == 200 and reply.content == new and len(new) == len(data)
    assert reply.status_code == 404 or (told and "/blobs/" in path), (reply.status_code, path)


async def require_found(store: Store, client: httpx.AsyncClient, path: str, data: bytes, new: bytes) -> None:
    """fsck comes first."""
    assert ("corrupt", str(Digest.of(data))) in await findings(store)


async def test_writes_that_end_early_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    seed, calls = tiers.seed(), Counter[str]()
    dice = random.Random(seed)

    def short(descriptor: int, buffers: Sequence[memoryview]) -> int:
        data = b"".join(bytes(buffer) for buffer in buffers)
        calls["writes"] += 1
        return os.write(descriptor, data[: dice.randrange(1, len(data) + 1)])

    monkeypatch.setattr(os, "writev", short)
    with opened(tmp_path) as store:
        async with connect(store) as client:
            for _ in range(SHORT):
                data = dice.randbytes(dice.randrange(1, 400_000))
                path = f"/v2/damaged/blobs/{Digest.of(data)}"
                await put(client, path, data)
                assert (await client.get(path)).content == data
        assert await findings(store) == set()
    say(f"F5, CRASH_SEED={seed}: {SHORT} pushes in {calls['writes']} writes that ended early; wrong: 0")
    assert calls["writes"] > 2 * SHORT


def test_calls_that_are_interrupted_are_repeated(tmp_path: Path, say: Say) -> None:
    """EINTR from every third call of each thread that may give it."""
    log, pushes = tmp_path / "calls", tiers.pick(ci=30, soak=1_000)
    with running(tmp_path / "root", "--no-access-log") as live:
        push_image(live.host, "calls", "before", b"before")
        with interrupted(live.pid, "write,writev,pwrite64,pread64,preadv2,recvfrom,sendto,flock", log):
            for number in range(pushes):
                layer = blob(100_000, number)
                session = begin(live.host, "calls")
                assert append(live.host, session, layer[:70_000], 0).status == 202
                assert finish(live.host, session, layer, layer[70_000:]).status == 201
                push_image(live.host, "calls", f"t{number}", layer)
                require_whole(live.host, "calls", f"t{number}")
        for number in range(pushes):
            require_whole(live.host, "calls", f"t{number}")
    count = log.read_text().count("(INJECTED)")
    say(f"F5: {pushes} images pushed and pulled, {count} calls interrupted; failed or wrong: 0")
    assert count > 10 * pushes
