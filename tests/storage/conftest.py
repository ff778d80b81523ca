"""Roots that vanish after each test, and stores on them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from storage.clock import Machine
from storage.files import Probe, temporary_root
from storage.layout import Layout
from storage.store import Store, open_store


class Opener(Protocol):
    def __call__(
        self, *, durable: bool = True, probe: Probe | None = None, machine: Machine | None = None
    ) -> Store: ...


@pytest.fixture
def folder() -> Iterator[str]:
    with temporary_root() as folder:
        yield folder


@pytest.fixture
def root(folder: str) -> str:
    """A path for a root that is not there yet."""
    return os.path.join(folder, "root")


@pytest.fixture(scope="session")
def _skeleton() -> Iterator[Layout]:
    # 512 folders take longer to make and remove than most tests take.
    with temporary_root() as folder:
        layout = Layout(os.path.join(folder, "root"))
        open_store(layout.root, durable=False).close()
        yield layout


@pytest.fixture
def opener(_skeleton: Layout) -> Iterator[Opener]:
    """Opens one root, as often as it is called; closes every store after the test."""
    with ExitStack() as stack:
        stack.callback(_empty, _skeleton)
        open_store(_skeleton.root, durable=False).close()  # so that probes see no first start

        def opened(
            *, durable: bool = True, probe: Probe | None = None, machine: Machine | None = None
        ) -> Store:
            store = open_store(_skeleton.root, durable=durable, probe=probe, machine=machine)
            stack.callback(store.close)
            return store

        yield opened


def _empty(layout: Layout) -> None:
    keep = set(layout.folders())
    for folder in [layout.root, *layout.folders()]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.path in keep:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener(durable=False)
