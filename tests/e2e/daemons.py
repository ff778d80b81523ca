"""Private daemons of real clients: each in its own folder, on its own socket, ended by its own process."""

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.e2e.clients import Client, find
from tests.e2e.serving import tail

START_SECONDS = 30.0
STOP_SECONDS = 60.0


def docker_command() -> str | None:
    """The docker command of the engine's own version: another one may come without a builder."""
    wanted = version_of("dockerd")
    candidates = [path for path in (find("docker"), "/usr/bin/docker") if path and Path(path).exists()]
    return next((path for path in candidates if version_of(path) == wanted), None)


def version_of(program: str) -> str | None:
    path = find(program)
    if path is None:
        return None
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+\.\d+\.\d+", told)
    return found[0] if found else None


@contextlib.contextmanager
def docker_engine(dockerd: Client, folder: Path, *more: str) -> Iterator[str]:
    """The address of a Docker Engine that touches no firewall and no bridge; it starts its own containerd.

    `more` are further flags.
    """
    folder.mkdir()
    address = f"unix://{folder}/docker.sock"
    settings = {
        "host": address,
        "data-root": folder / "data",
        "exec-root": folder / "exec",
        "pidfile": folder / "pid",
        "iptables": "false",
        "ip6tables": "false",
        "bridge": "none",
        # vfs works everywhere, but copies whole layers: 55 s longer for the tests of our own image.
        "storage-driver": "overlay2" if overlay_works(folder) else "vfs",
    }
    flags = [*(f"--{name}={value}" for name, value in settings.items()), *more]
    with daemon(dockerd, flags, folder / "log", lambda log: "API listen on" in log):
        yield address


def overlay_works(folder: Path) -> bool:
    """Whether the file system under a folder can carry overlay mounts."""
    names = ("lower", "upper", "work", "merged")
    lower, upper, work, merged = (folder / "probe" / name for name in names)
    for made in (lower, upper, work, merged):
        made.mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        return False
    subprocess.run(["umount", str(merged)], check=True)
    return True


@contextlib.contextmanager
def containerd(program: Client, folder: Path) -> Iterator[str]:
    folder.mkdir()
    address = folder / "containerd.sock"
    (folder / "config.toml").write_text(
        f"""version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{address}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
"""
    )
    flags = ["--config", str(folder / "config.toml")]
    with daemon(program, flags, folder / "log", lambda log: "successfully booted" in log):
        yield str(address)


@contextlib.contextmanager
def buildkit(program: Client, folder: Path, registries: str) -> Iterator[str]:
    """The address of a BuildKit that has no network of its own to set up; `registries` is of its settings."""
    folder.mkdir()
    address = f"unix://{folder}/buildkit.sock"
    (folder / "buildkitd.toml").write_text(
        f"""root = "{folder}/root"
[grpc]
  address = ["{address}"]
[worker.oci]
  snapshotter = "native"
  networkMode = "host"
  gc = false
[worker.containerd]
  enabled = false
{registries}"""
    )
    flags = ["--config", str(folder / "buildkitd.toml")]
    with daemon(program, flags, folder / "log", lambda log: "running server on" in log):
        yield address


def unmount_below(folder: Path) -> None:
    """Unmounts what engines leave mounted when they end, such as Docker's network namespaces."""
    table = Path("/proc/self/mountinfo")
    mounts = [line.split()[4] for line in table.read_text().splitlines()] if table.exists() else []
    for mount in sorted(mounts, reverse=True):
        if mount.startswith(f"{folder}/"):
            subprocess.run(["umount", mount], check=True)


@contextlib.contextmanager
def daemon(program: Client, flags: list[str], log: Path, ready: Callable[[str], bool]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program.program, *flags],
            env=dict(program.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready(log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{program.program} did not start:\n{tail(log)}")
            time.sleep(0.05)
        yield
        process.terminate()
        process.wait(STOP_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
