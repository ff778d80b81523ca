"""The service as a profile makes it, over a small world."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from registry.app import build
from registry.settings import Settings
from registry.testing.faults import Faults
from registry.testing.profiles import NONE, SWITCHES, Profile
from registry.testing.wrapping import wrap
from tests.api.world import World, fill
from tests.inprocess import connect_app, opened


@dataclass(frozen=True, slots=True)
class Place:
    """`plain` is a client of the same registry, without the profile."""

    client: httpx.AsyncClient
    plain: httpx.AsyncClient
    world: World


def profile_of(**switches: Any) -> Profile:
    """With these switches, written as a profile's file has them."""
    checked = {name: SWITCHES[name].kind.check(value) for name, value in switches.items()}
    return replace(NONE, name="test", switches=checked)


@asynccontextmanager
async def profiled(
    folder: Path, profile: Profile = NONE, faults: Faults | None = None, **settings: Any
) -> AsyncIterator[Place]:
    """The world is filled as any client may, before the profile is around the service."""
    with opened(folder) as store:
        chosen = Settings(root=store.layout.root, access_log=False, **settings)
        chosen = replace(chosen, **profile.settings)
        open_to_all = replace(chosen, anonymous="auto", rate=())
        async with (
            connect_app(build(store, open_to_all)) as plain,
            connect_app(wrap(build(store, chosen), profile, faults)) as client,
        ):
            yield Place(client, plain, await fill(plain))
