"""What ends a command: a message and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from registry.cli.output import say
from registry.errors import RegistryError
from registry.settings import ConfigError
from storage.errors import InvalidDigest, StorageError, StoreUnusable


class Refused(click.ClickException):
    """A mistake in the settings: says what to do, exits with 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        say(self.format_message())


class Failed(Refused):
    exit_code = 1


@contextmanager
def explained() -> Iterator[None]:
    """Facts of the store become messages with an exit code."""
    try:
        yield
    except (StoreUnusable, InvalidDigest, RegistryError, ConfigError) as error:
        raise Refused(str(error)) from error
    except StorageError as error:
        raise Failed(str(error)) from error
    except PermissionError as error:
        raise Refused(f"{error.filename}: {error.strerror}; run it as the user who serves") from error
    except OSError as error:
        raise Failed(str(error)) from error
