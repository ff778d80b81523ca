"""atheris on one target: `python -m tests.fuzz.guided manifest -max_total_time=60`.

Further arguments are libFuzzer's. It ends at the first failure, which it writes to a file of its own.
"""

import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

from tests.fuzz.mutations import mutate

with atheris.instrument_imports(include=["registry", "storage"]):
    from tests.fuzz.seeds import REGRESSIONS, SEEDS, WORDS
    from tests.fuzz.targets import TARGETS


def prepare(name: str, folder: Path) -> list[str]:
    """A corpus and a dictionary in `folder`; the arguments that name them."""
    corpus, words = folder / "corpus", folder / "words"
    corpus.mkdir()
    for number, data in enumerate([*SEEDS[name], *REGRESSIONS.get(name, ())]):
        (corpus / str(number)).write_bytes(data)
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS[name])
    words.write_text("".join(f'"{word}"\n' for word in escaped if word))
    return [f"-dict={words}", "-max_len=4096", str(corpus)]


def mutator(name: str) -> Callable[[bytes, int, int], bytes]:
    """libFuzzer's own changes, of bytes, and ours, in turn."""

    def changed(data: bytes, size: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(data, size))
        return mutate(data, WORDS[name], random.Random(seed))[:size]

    return changed


def main() -> None:
    name, *arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        arguments = [sys.argv[0], *arguments, *prepare(name, Path(folder))]
        atheris.Setup(arguments, TARGETS[name], custom_mutator=mutator(name))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
