"""A tool that is not there: a skip with its name, but in CI a failure, since `make tools` installs it."""

import os
from typing import NoReturn

import pytest


def absent(what: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing: `make tools` installs it")
    pytest.skip(f"{what} is missing")
