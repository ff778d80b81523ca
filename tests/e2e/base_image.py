"""A base image with Python for the Dockerfile, and wheels for a build without a network.

What takes long to make is kept in the user's cache folder between runs.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.e2e.clients import Client

PACKAGES = "python3,python3-venv,ca-certificates"
LEFT_OUT = (
    "./dev/*",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/locale/*",
)
MADE_SECONDS = 240


def cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(home).expanduser() / "oci-registry-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base_image(docker: Client, wanted: str) -> str:
    """The wanted image where it can be pulled, else one of this machine's own distribution."""
    if docker.attempt("image", "inspect", wanted).returncode == 0:
        return wanted
    if docker.attempt("pull", "--quiet", wanted).returncode == 0:
        return wanted
    archive = cache_folder() / f"base-{codename()}.tar"
    if not archive.exists():
        make_base(archive)
    name = f"base:{codename()}"
    docker("import", archive, name)
    return name


def make_base(archive: Path) -> None:
    """Debian's (or Ubuntu's) smallest system with Python, from the mirror that apt uses here."""
    address, components = mirror()
    with tempfile.TemporaryDirectory(prefix="base-") as folder:
        system, made = Path(folder) / "system", Path(folder) / "made.tar"
        flags = ["--variant=minbase", f"--include={PACKAGES}", f"--components={components}"]
        told = subprocess.run(
            ["debootstrap", *flags, codename(), str(system), address],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MADE_SECONDS,
            check=False,
        )
        assert told.returncode == 0, told.stdout[-3000:]
        excluded = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        subprocess.run(["tar", "-C", str(system), *excluded, "-cf", str(made), "."], check=True)
        keep(made, archive)


def codename() -> str:
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    assert found, "/etc/os-release names no release"
    return found[1]


def mirror() -> tuple[str, str]:
    """The address and the components that apt is set to use for this release."""
    found = apt_targets()
    if not found:  # apt knows its sources only once it has their lists
        subprocess.run(["apt-get", "update", "-q"], stdout=subprocess.DEVNULL, check=True)
        found = apt_targets()
    assert found, f"apt has no source for {codename()}"
    address = found[0][0]
    return address, ",".join(dict.fromkeys(component for one, component in found if one == address))


def apt_targets() -> list[tuple[str, str]]:
    asked = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in told.splitlines()]
    return [(address, component) for address, release, component in rows if release == codename()]


def wheels(project: Path, python: str) -> Path:
    """A folder of wheels of all that building and running the project needs, for a Python such as 3.11."""
    settings = tomllib.loads((project / "pyproject.toml").read_text())
    extras = settings["project"]["optional-dependencies"]
    own = [*settings["project"]["dependencies"], *extras["tls"], *extras["oidc"], *extras["cache"]]
    needed = [*settings["build-system"]["requires"], *own]
    key = hashlib.sha256("\n".join([python, *needed]).encode()).hexdigest()[:16]
    folder = cache_folder() / f"wheels-{key}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(prefix="wheels-") as made:
            flags = ["--quiet", "--only-binary=:all:", f"--python-version={python}", f"--dest={made}/wheels"]
            subprocess.run([sys.executable, "-m", "pip", "download", *flags, *needed], check=True)
            keep(Path(made) / "wheels", folder)
    return folder


def keep(made: Path, place: Path) -> None:
    """Moves what was made into the cache in one step, so that a broken run leaves no half of it."""
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        moved = Path(folder) / place.name
        shutil.move(made, moved)
        moved.rename(place)
