"""The command: which scenarios a client survives."""

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Sequence

from oci_registry_testing.scenarios import report
from oci_registry_testing.scenarios.client import PLACES, VERBS, Client, ClientInvalid, load, make, names
from oci_registry_testing.scenarios.running import JOBS, SECONDS, Outcome, run_all
from oci_registry_testing.scenarios.scenario import Scenario
from oci_registry_testing.scenarios.table import SCENARIOS
from oci_registry_testing.scenarios.verdict import is_bad
from oci_registry_testing.sides import CannotStart

_EXAMPLES = """examples:
  python -m registry.testing.scenarios --client crane --client regctl
  python -m registry.testing.scenarios --client ./mine.toml -k pull --json
  python -m registry.testing.scenarios --push 'mine push {layout} {image}' --pull 'mine pull {image} {out}'

A client's file has a command, or a list of them, for each verb that it knows, and [environment]; so do the
flags of the verbs here. They run without a shell. What stands in braces is filled in:
"""
_EXIT = """
exit codes: 0: nothing was wrong; 1: a client said that all is well and it was not, or it hung, or it could
not do what every client has to; 2: it could not be tried; 130: Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = read_options(arguments)
    if options.list:
        width = max(len(each.name) for each in SCENARIOS)
        print("\n".join(f"{each.name:{width}}  {each.about}" for each in SCENARIOS))
        return 0
    try:
        clients = chosen(options)
        scenarios = _choose(options.k)
        outcomes = run_all(
            clients,
            scenarios,
            seconds=options.timeout,
            jobs=options.jobs,
            heard=progress(len(clients) * len(scenarios)),
        )
    except (ClientInvalid, CannotStart) as error:
        print(error, file=sys.stderr)
        return 2
    except FileNotFoundError as error:
        print(f"{error.filename} is not here: install it, or name another client", file=sys.stderr)
        return 2
    except (PermissionError, NotADirectoryError) as error:
        print(f"{error.filename} is no program: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped, and the clients that ran with it", file=sys.stderr)
        return 130
    print(
        {"json": report.as_json, "markdown": report.as_markdown}.get(options.form, report.as_text)(outcomes)
    )
    return int(any(is_bad(each.scenario, each.verdict) for each in outcomes))


def chosen(options: argparse.Namespace) -> list[Client]:
    given = {verb: lines for verb in VERBS if (lines := getattr(options, verb))}
    own = [make("own", given)] if given else []
    clients = [*(load(name) for name in options.client), *own]
    if not clients:
        raise ClientInvalid(
            f"no client: give --client ({', '.join(names())} or a file), or --push and --pull"
        )
    return clients


def _choose(words: str) -> list[Scenario]:
    found = [each for each in SCENARIOS if words in each.name]
    if not found:
        raise ClientInvalid(f"no scenario has {words!r} in its name: --list shows them")
    return found


def progress(count: int) -> Callable[[Outcome], None]:
    """Silent where nobody looks."""
    begun, done = time.monotonic(), list[str]()

    def heard(outcome: Outcome) -> None:
        done.append(outcome.client)
        left = (time.monotonic() - begun) / len(done) * (count - len(done))
        line = f"{len(done)} of {count}, {left:.0f} s left: {outcome.client}: {outcome.scenario.name}"
        print(f"\r\x1b[K{line}", end="\n" if len(done) == count else "", file=sys.stderr, flush=True)

    return heard if sys.stderr.isatty() else lambda _: None


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < threading.TIMEOUT_MAX:
            return seconds
    raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, not {text!r}")


def _jobs(text: str) -> int:
    with contextlib.suppress(ValueError):
        if (jobs := int(text)) > 0:
            return jobs
    raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, not {text!r}")


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    places = ", ".join(f"{{{place}}}" for place in PLACES)
    parser = argparse.ArgumentParser(
        prog="python -m registry.testing.scenarios",
        description="Drive clients through what registries lack and what goes wrong: what do they survive?",
        epilog=f"{_EXAMPLES}  {places}\n{_EXIT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--client", action="append", default=[], metavar="NAME", help=f"{', '.join(names())}, or a .toml file"
    )
    for verb, does in VERBS.items():
        parser.add_argument(f"--{verb}", action="append", metavar="COMMAND", help=does.replace("%", "%%"))
    parser.add_argument("-k", default="", metavar="WORDS", help="only scenarios with this in their names")
    parser.add_argument("--list", action="store_true", help="what there is, and run nothing")
    parser.add_argument("--json", dest="form", action="store_const", const="json", help="for programs")
    parser.add_argument("--markdown", dest="form", action="store_const", const="markdown", help="for a page")
    parser.add_argument(
        "--timeout", type=_seconds, default=SECONDS, metavar="SECONDS", help="of each command"
    )
    parser.add_argument("--jobs", type=_jobs, default=JOBS, metavar="N", help="scenarios at once")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
