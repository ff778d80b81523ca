"""Files below the root, reached folder by folder: no link on the way is followed.

The root may be a link, or lie behind one: that is for whoever made it to say. Below it there is none, and
what one would lead to is not the store's.
"""

import errno
import os

_PATH: int = getattr(os, "O_PATH", os.O_RDONLY)  # a folder is opened to go through it only
_FOLDER = _PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NONE = {errno.ELOOP, errno.ENOTDIR}  # for a link, by platform; for anything else that is no folder


def open_below(root: str, path: str, flags: int, mode: int = 0o600) -> int:
    """As os.open, with O_NOFOLLOW and O_CLOEXEC. Raises NotADirectoryError for a link on the way."""
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    *folders, name = _names(root, path)
    if not folders:
        return os.open(path, flags, mode)
    folder = _open_folders(root, folders)
    try:
        return os.open(name, flags, mode, dir_fd=folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(folder)


def require_plain(root: str, path: str) -> None:
    """For calls that take no descriptor. Raises NotADirectoryError for a link on the way to `path`."""
    if folders := _names(root, path)[:-1]:
        os.close(_open_folders(root, folders))


def _names(root: str, path: str) -> list[str]:
    """Of a path elsewhere, which only the settings can have named, the last one alone."""
    return path[len(root) + 1 :].split("/") if path.startswith(f"{root}/") else [path]


def _open_folders(root: str, names: list[str]) -> int:
    """The last of the folders, each in the one before."""
    where, above = root, None
    for name in names:
        where = f"{where}/{name}"
        try:
            folder = os.open(name if above is not None else where, _FOLDER, dir_fd=above)
        except OSError as error:
            if error.errno in _NONE:
                why = "it is no folder, and what is behind a link is not the store's"
                raise NotADirectoryError(errno.ENOTDIR, why, where) from None
            raise OSError(error.errno, error.strerror, where) from None
        finally:
            if above is not None:
                os.close(above)
        above = folder
    assert above is not None
    return above
