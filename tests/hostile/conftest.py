"""A real server for each module, and what must hold of it when the module is through."""

from collections.abc import Iterator

import pytest

from tests.hostile.attacking import Line, require_small, require_sound, resident
from tests.live.servers import Live, running
from tests.live.stories import push_image

LAYER = b"a layer that everybody may have"


@pytest.fixture(scope="module")
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """`base:latest` is there. A module's FLAGS are its server's; if it BREAKS, tracebacks may be logged."""
    flags: tuple[str, ...] = getattr(request.module, "FLAGS", ())
    root = tmp_path_factory.mktemp("hostile") / "root"
    with running(root, *flags, tracebacks=getattr(request.module, "BREAKS", False)) as server:
        push_image(server.host, "base", "latest", LAYER)
        before = {worker: resident(worker) for worker in server.workers()}
        yield server
        require_small(server, before)
    require_sound(root)


@pytest.fixture
def line(live: Live) -> Iterator[Line]:
    with Line(live.host) as line:
        yield line
