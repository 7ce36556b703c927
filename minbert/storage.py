"""Failures of storage: full, read-only or out of reach. They speak against no file, no trial and no user."""

from __future__ import annotations

import errno
from pathlib import Path

_OF_STORAGE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
}


def is_of_storage(error: BaseException) -> bool:
    """Whether an error says that storage is full, read-only or out of reach, and no file of a user's is wrong."""
    return isinstance(error, OSError) and error.errno in _OF_STORAGE


def is_away(folder: Path) -> bool:
    """Whether a folder that was there cannot be found now: its storage is not mounted, or does not answer."""
    try:
        folder.stat()
    except OSError:
        return True
    return False


def gone(path: Path) -> OSError:
    """The failure of storage that took a path away."""
    return OSError(errno.ESTALE, "is no longer there", str(path))


def told(error: OSError) -> str:
    """A failure of storage in words, without its number."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
