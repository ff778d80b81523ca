"""What the requests tell of how a client went on. Pure functions; see `scenario.Note`."""

import re
from collections.abc import Sequence

from oci_registry_testing.registry import Fired
from oci_registry_testing.request import Request
from oci_registry_testing.scenarios.scenario import Scenario
from oci_registry_testing.scenarios.verdict import Verdict

_SCHEMA_TAG = re.compile(r"/v2/.+/manifests/[a-z0-9]+-[0-9a-f]{32,}")
_EARLY = 0.1  # of a wait, which clients' clocks and ours may differ by


def tell(
    scenario: Scenario, verdict: Verdict, requests: Sequence[Request], fired: Sequence[Fired], told: str
) -> str:
    """All that is worth knowing. Of one that was ended, what it did depends on when."""
    if verdict is Verdict.HANGS:
        return ""
    silent = verdict in (Verdict.REFUSES, Verdict.GIVES_UP) and not told.strip()
    said = scenario.note(requests, fired) if is_met(scenario, fired) else "does not meet it"
    return ", ".join(filter(None, [said, "without a word" if silent else ""]))


def is_met(scenario: Scenario, fired: Sequence[Fired]) -> bool:
    """A client that makes no such request meets no fault, and has survived nothing."""
    return bool(fired) or not scenario.faults


def resumes(requests: Sequence[Request], fired: Sequence[Fired]) -> str:
    """Whether what was left of a blob was asked for, and given, or all of it once more."""
    broken = {each.path for each in fired}
    asked = [each for each in requests if each.method == "GET" and each.path in broken]
    if len(asked) < 2:
        return ""
    rests = [each.status for each in asked[1:] if _is_rest(each)]
    if 206 in rests:
        return "goes on by Range"
    return "asks by Range in vain" if rests else "begins anew"


def _is_rest(request: Request) -> bool:
    found = re.fullmatch(r"bytes=(\d+)-\d*", request.headers.get("range", ""))
    return found is not None and int(found[1]) > 0


def waits(requests: Sequence[Request], fired: Sequence[Fired]) -> str:
    """Whether it stayed away as long as `Retry-After` said."""
    for fault in fired:
        wanted = float(str(fault.fault.get("retry_after", 0)))
        asked = [each for each in requests if each.path == fault.path and each.method == fault.method]
        refused = next((each for each in asked if each.status == fault.fault.get("status")), None)
        later = [each for each in requests if refused and each.time > refused.time]
        if refused is None or not later:
            return ""
        stayed = later[0].time - refused.time >= wanted - _EARLY
        return "waits as long as it is told" if stayed else "does not wait"
    return ""


def tries(_: Sequence[Request], fired: Sequence[Fired]) -> str:
    """Whether it runs more than once into what does not get better: an image has two blobs."""
    return "tries again" if len(fired) > 2 else ""


def by_tag_schema(requests: Sequence[Request], _: Sequence[Fired]) -> str:
    """Whether a referrer is listed under the tag that stands for its subject."""
    written = any(each.method == "PUT" and _SCHEMA_TAG.fullmatch(each.path) for each in requests)
    return "by the tag schema" if written else ""


def mounts(requests: Sequence[Request], _: Sequence[Fired]) -> str:
    """Whether a blob was to be taken over from another repository, and was."""
    begun = [each for each in requests if each.method == "POST"]
    asked = [each.status for each in begun if "mount=" in each.query]
    if not asked:
        return "sends all again" if begun else ""
    return "mounts" if 201 in asked else "asks for a mount"


def how_uploaded(requests: Sequence[Request], _: Sequence[Fired]) -> str:
    """In one POST, as a stream, or in chunks."""
    if any("content-range" in each.headers for each in requests if each.method == "PATCH"):
        return "in chunks"
    if any(each.method == "PATCH" for each in requests):
        return "as a stream"
    if any(each.method == "POST" and "digest=" in each.query and each.status == 201 for each in requests):
        return "in one POST"
    return "by PUT" if any(each.method == "PUT" for each in requests) else ""


def posts_whole(requests: Sequence[Request], _: Sequence[Fired]) -> str:
    """Whether a blob was to be uploaded in one request."""
    asked = any(each.method == "POST" and "digest=" in each.query for each in requests)
    return "" if asked else "does not meet it"


def asks_again(requests: Sequence[Request], _: Sequence[Fired]) -> str:
    """Whether another token was got in the middle."""
    tokens = [each for each in requests if each.path == "/token"]
    return "gets another token" if len(tokens) > 1 else ""
