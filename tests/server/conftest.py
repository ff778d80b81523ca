"""Both event loops: their transports differ."""

import pytest

from tests.server import serving


@pytest.fixture(params=serving.LOOPS)
def each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "current", str(request.param))
