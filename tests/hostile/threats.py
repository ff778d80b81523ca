"""The forty threats that are tried on registries, by number.

What is tried over the wire is in this folder: a test's name begins with its threat's number. `also` names
tests elsewhere that belong to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Threat:
    line: str
    also: tuple[str, ...] = ()


THREATS: Mapping[int, Threat] = {
    1: Threat("a name or a tag that is a path", ("tests/api/test_paths.py::test_paths_lead_nowhere",)),
    2: Threat("a digest, an algorithm or an upload's id that is a path"),
    3: Threat("a name that is one of the store's files or of a route's words"),
    4: Threat(
        "a listing that drops names which begin as others, or shows what may not be read",
        ("tests/hostile/test_access.py::test_t11_a_catalog_shows_only_what_may_be_read",),
    ),
    5: Threat("a page's size as a bomb for memory"),
    6: Threat("a manifest without an end"),
    7: Threat(
        "JSON that is a bomb, or that readers take differently",
        (
            "tests/registry/test_manifests.py::test_what_is_accepted_is_read_as_go_reads_it",
            "tests/registry/test_strict_json.py::test_raises_nothing_else",
        ),
    ),
    8: Threat("a manifest of two types"),
    9: Threat("a script stored here and served as a page"),
    10: Threat("a manifest that names what its repository has not"),
    11: Threat("a blob read through a repository that has it not"),
    12: Threat("a mount out of a repository that may not be read"),
    13: Threat("tags moved by ?tag= by who may only create"),
    14: Threat("a delete although deletes are off"),
    15: Threat("an upload session used by another, or in another repository"),
    16: Threat(
        "two writers in one session",
        ("tests/live/test_workers.py::test_twenty_parallel_patches_of_one_session",),
    ),
    17: Threat(
        "chunks out of order, overlapping, or of another length",
        ("tests/api/test_uploads.py::test_chunks_of_any_size",),
    ),
    18: Threat("bytes that are not what their digest says"),
    19: Threat("a Host, or a header of proxies, in what is answered"),
    20: Threat(
        "a request smuggled in behind another",
        ("tests/live/test_edge.py::test_ambiguous_framing_is_a_400_and_nothing_behind_it_is_served",),
    ),
    21: Threat(
        "clients that take their time",
        (
            "tests/live/test_slow.py::test_slow_clients_hold_nobody_up_and_are_let_go",
            "tests/server/test_taken.py::test_a_body_that_drips_too_slowly_is_left_and_kept",
        ),
    ),
    22: Threat("a head without an end"),
    23: Threat("ranges without an end", ("tests/api/test_ranges.py::test_parsing_costs_little",)),
    24: Threat(
        "work that holds everybody up",
        ("tests/live/test_responsive.py::test_a_large_upload_holds_nobody_up",),
    ),
    25: Threat("passwords tried until nothing else is done"),
    26: Threat("users told from others by the time that a refusal takes"),
    27: Threat("a token that brings its own key, or none", ("tests/auth/test_foreign.py::*",)),
    28: Threat("a limit evaded by a header of proxies"),
    29: Threat("a log that tells lies or secrets"),
    30: Threat("an answer split by what is in its headers"),
    31: Threat("a fetch from where a client says"),
    32: Threat("a credential sent to where a client says"),
    33: Threat("content taken from elsewhere and kept"),
    34: Threat("a body that grows when it is unpacked"),
    35: Threat(
        "a disk filled by what nobody finishes",
        ("tests/crash/test_scarcity.py::*", "tests/registry/test_full_disk.py::*"),
    ),
    36: Threat("links and devices in the store's folders", ("tests/storage/test_below.py::*",)),
    37: Threat("graphs of manifests without an end", ("tests/storage/test_marks.py::*",)),
    38: Threat("a flood of tags or referrers"),
    39: Threat("defaults that let everyone in"),
    40: Threat(
        "methods and places that nobody meant to serve, and errors that tell too much",
        ("tests/api/test_fuzz.py::*",),
    ),
}
