"""`python -m bench.access`: what access control costs a manifest GET, with a token and with a password.

Two servers on one root, one open to everyone and one that knows its users, loaded in turn in each round.
"""

import argparse
import base64
import json
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.kinds import PROJECT, Found, Kind, ours
from bench.payloads import digest_of
from bench.pushing import push_image
from bench.report import aligned
from bench.scenario import REPOSITORY
from bench.servers import Failed, Running, started
from bench.small import IMAGE, load_get, load_get_anew
from registry import __version__

_USER, _PASSWORD = "ann", "a password of the measurement"
_RULES = (
    '[{repositories = ["other/*"], users = ["*"], actions = ["pull"]}, '
    '{repositories = ["bench/*"], groups = ["readers"], actions = ["pull"]}]'
)
_WARM = 1  # seconds
_MOST = 0.25  # of the rate

Load = Callable[..., dict[str, float]]
_WAYS: Mapping[str, Load] = {"kept answer": load_get, "the long way": load_get_anew}
_TARGETS = {
    "by tag": f"/v2/{REPOSITORY}/manifests/v0",
    "by digest": f"/v2/{REPOSITORY}/manifests/{digest_of(IMAGE.manifest)}",
}


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.json.parent) as folder:
        root = ("--root", f"{folder}/root")
        file = _write_users(Path(folder))
        closed_flags = ("--anonymous", "none", "--htpasswd", file, "--access", _RULES)
        groups = ("--groups", f'{{readers = ["{_USER}"]}}')
        with (
            started(_found("open", *root, "--anonymous", "push"), Path(folder) / "open") as free,
            started(_found("closed", *root, *closed_flags, *groups), Path(folder) / "closed") as closed,
        ):
            push_image(free, REPOSITORY, IMAGE, ["v0"])
            rows = _measure(free, closed, options)
    options.json.write_text(json.dumps(rows))
    table = [["", "open", "with a token", "costs", "with a password", "costs", "must show"]]
    missed = False
    for name, each in rows.items():
        plain, token, password = (statistics.median(each[way]) for way in ("open", "token", "password"))
        cost = 1 - token / plain
        missed |= cost > _MOST
        shown = f"token ≤ {_MOST:.0%}: {'met' if cost <= _MOST else 'MISSED'}"
        numbers = (f"{plain:,.0f}/s", f"{token:,.0f}/s", f"{cost:.0%}", f"{password:,.0f}/s")
        table.append([name, *numbers, f"{1 - password / plain:.0%}", shown])
    print("\n".join(aligned(table)))
    return 1 if missed else 0


def _measure(
    free: Running, closed: Running, options: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Requests a second in each round, by what was asked and how."""
    basic = "Authorization: Basic " + base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
    rows: dict[str, dict[str, list[float]]] = {}
    for _ in range(options.rounds):
        for way, load in _WAYS.items():
            for what, target in _TARGETS.items():
                row = rows.setdefault(f"manifest GET {what}, {way}", {})
                token = f"Authorization: Bearer {_token(closed, basic)}"
                for name, server, fields in (
                    ("open", free, ()),
                    ("token", closed, (token,)),
                    ("password", closed, (basic,)),
                ):
                    load(server, target, _WARM, *fields)
                    row.setdefault(name, []).append(load(server, target, options.seconds, *fields)["rate"])
    return rows


def _token(server: Running, basic: str) -> str:
    name, _, value = basic.partition(": ")
    asked = f"{server.url}/token?service=oci-registry&scope=repository:{REPOSITORY}:pull"
    with urllib.request.urlopen(urllib.request.Request(asked, headers={name: value})) as answer:  # noqa: S310
        return str(json.load(answer)["token"])


def _write_users(folder: Path) -> str:
    import bcrypt

    file = folder / "htpasswd"
    file.write_bytes(f"{_USER}:".encode() + bcrypt.hashpw(_PASSWORD.encode(), bcrypt.gensalt(5)) + b"\n")
    file.chmod(0o600)
    return str(file)


def _found(name: str, *flags: str) -> Found:
    kind = Kind(name, "ours", (sys.executable,), (), ours(*flags))
    return Found(kind, sys.executable, __version__)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.access", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each load in each round")
    parser.add_argument("--json", type=Path, default=PROJECT / "results" / "access.json", metavar="FILE")
    options = parser.parse_args()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench: {error}")
