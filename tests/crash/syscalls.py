"""What a process asked of the file system, in order, with all the bytes: SQLite's calls as well as ours."""

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from shutil import which

from tests.crash.children import End, Say, run_in_child

CHANGES = frozenset(
    {
        *("open", "openat", "creat", "close", "dup", "dup2", "dup3", "fcntl"),
        *("write", "writev", "pwrite64", "ftruncate", "fchmod", "chmod", "fchmodat", "fsync", "fdatasync"),
        *("mkdir", "mkdirat", "link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat"),
    }
)
"""What the model of a disk knows (tests/crash/recorder.py)."""

_UNKNOWN = frozenset(
    {
        *("pwritev", "pwritev2", "truncate", "fallocate", "copy_file_range", "sendfile", "splice", "mmap"),
        *("msync", "sync", "syncfs", "sync_file_range", "symlink", "symlinkat", "mknod", "mknodat", "rmdir"),
    }
)
"""What it does not: watched, so that such a call on a root is noticed."""

_LONGEST = 2**26  # bytes of a string; strace takes no more than four times that
_SET_TRACER, _ANYONE = 0x59616D61, -1  # prctl: some kernels let only a process's ancestors trace it

_LINE = re.compile(r"(\d+) +(?:<\.\.\. \w+ resumed>(?P<rest>.*)|(?P<name>\w+)\((?P<text>.*))")
_RESULT = re.compile(r"(?P<arguments>.*)\) += (?P<result>-?\d+|0x[0-9a-f]+|\?)[^=]*", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_UNFINISHED = " <unfinished ...>"


@dataclass(frozen=True, slots=True)
class Call:
    """`numbers`: the arguments that are plain numbers; `begun` and `ended`: places in the record's order."""

    name: str
    strings: tuple[bytes, ...]
    numbers: tuple[int, ...]
    flags: str
    result: int
    begun: int
    ended: int


def lacking() -> str:
    return "" if sys.platform.startswith("linux") and which("strace") else "strace"


def trace(act: Callable[[Say], None], log: str) -> End:
    """Run `act` in a child that strace follows; `log` gets its record."""
    reader, writer = os.pipe()
    tracers: list[subprocess.Popen[bytes]] = []

    def act_when_watched(say: Say) -> None:
        os.close(writer)
        ctypes.CDLL(None).prctl(_SET_TRACER, ctypes.c_ulong(_ANYONE))
        assert os.read(reader, 1), "strace could not attach"
        act(say)

    def watch(child: int) -> None:
        os.close(reader)
        # `?`: not every architecture has all of them. -xx: no string holds a comma or a quote.
        calls = ",".join(f"?{name}" for name in sorted(CHANGES | _UNKNOWN))
        tracer = subprocess.Popen(
            ["strace", "-f", "-xx", f"-s{_LONGEST}", f"-o{log}", f"-etrace={calls}", f"-p{child}"],
            stderr=subprocess.PIPE,
        )
        tracers.append(tracer)
        assert tracer.stderr is not None
        if b"attached" in tracer.stderr.readline():
            os.write(writer, b"!")
        os.close(writer)

    end = run_in_child(act_when_watched, watch)
    for tracer in tracers:
        tracer.communicate()
    return end


def read_calls(log: str) -> list[Call]:
    """Every call that succeeded, by the order of their ends."""
    with open(log, encoding="ascii") as file:
        return [call for call in _calls(file.readlines()) if call.result >= 0]


def _calls(lines: list[str]) -> Iterator[Call]:
    begun: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        if match is None:  # a signal, or an end
            continue
        thread = match[1]
        if match["name"] is None:
            start, name, text = begun.pop(thread)
            text += match["rest"]
        else:
            start, name, text = number, match["name"], match["text"]
        text = text.rstrip("\n")
        if text.endswith(_UNFINISHED):
            begun[thread] = start, name, text.removesuffix(_UNFINISHED)
            continue
        yield _call(name, text, start, number)


def _call(name: str, text: str, begun: int, ended: int) -> Call:
    match = _RESULT.fullmatch(text)
    assert match, f"strace says {name}({text[:200]}"
    plain = _STRING.sub("", match["arguments"])
    words = [word.strip() for word in plain.split(",")]
    return Call(
        name,
        tuple(bytes.fromhex(each.replace("\\x", "")) for each in _STRING.findall(match["arguments"])),
        tuple(int(word, 8 if word[1:] and word[0] == "0" else 10) for word in words if word.isdecimal()),
        plain,
        -1 if match["result"] == "?" else int(match["result"], 0),
        begun,
        ended,
    )
