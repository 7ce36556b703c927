"""Failures of storage: full, read-only, broken or out of reach. They speak against no file, no trial and no user."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BROKEN = (errno.EROFS, errno.EIO, errno.EREMOTEIO, errno.ENXIO, errno.ENODEV)
_OUT_OF_REACH = (
    errno.ESTALE,
    errno.EKEYEXPIRED,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ECONNRESET,
    errno.ECONNABORTED,
)
_NO_MORE_FILES = (errno.ENFILE, errno.EMFILE)
"""Of the machine, of a process: whoever meets the limit, the file that it could not open is not damaged for that."""
_OF_STORAGE = {*_FULL, *_BROKEN, *_OUT_OF_REACH, *_NO_MORE_FILES}
_TOLD = (
    *_FULL,
    errno.EROFS,
    errno.EIO,
    errno.EREMOTEIO,
    errno.ESTALE,
    errno.EKEYEXPIRED,
    *_NO_MORE_FILES,
)
"""What nothing but storage says of itself, so that its words are enough."""


def is_of_storage(error: BaseException) -> bool:
    """Whether an error says that storage is full, broken or out of reach, and no file of a user's is wrong."""
    return isinstance(error, OSError) and error.errno in _OF_STORAGE


def why_refused(error: OSError, path: Path) -> str:
    """Why a file or folder of a user's cannot be used, in words.

    Args:
        error: what became of it.
        path: the file or folder, which the system names only where it is opened.

    Raises:
        OSError: nothing is wrong with it; its storage is full, broken or out of reach.
    """
    if is_of_storage(error) and error.errno != errno.EROFS:
        raise error if error.filename else OSError(error.errno, error.strerror, str(path))
    return error.strerror or str(error)


def failure(error: BaseException) -> OSError | None:
    """The failure of storage that an error is or comes from, or None.

    Libraries that write files by themselves (safetensors, Arrow) have errors of their own, which give the system's
    number or words in their text.
    """
    for each in _origins(error):
        if is_of_storage(each):
            assert isinstance(each, OSError)
            return each
        if isinstance(each, shutil.Error) and (copied := _not_copied(each)):
            return copied
        if (
            isinstance(each, Exception)
            and getattr(each, "errno", None) is None
            and (number := _number_told(str(each)))
        ):
            return OSError(number, os.strerror(number))
    return None


def with_place(error: Exception, place: Path) -> Exception:
    """An error, or where it is a failure of storage that names no file, one that names the place that was written to.

    Args:
        error: what became of writing there.
        place: the file or folder.
    """
    found = failure(error)
    if type(found) is not OSError or found.filename or found.filename2:
        return error
    return OSError(found.errno, found.strerror, str(place))


def forbidden(error: BaseException) -> PermissionError | None:
    """The refusal of a file or folder that an error is or comes from: it is another user's, or made immutable."""
    refusals = (each for each in _origins(error) if isinstance(each, PermissionError) and each.filename)
    return next(refusals, None)


def whole(path: Path) -> bytes:
    """The content of a file.

    Raises:
        MemoryError: it is larger than the memory; the message has its path, which Python's lacks.
    """
    try:
        return path.read_bytes()
    except MemoryError:
        raise MemoryError(f"{path} has {path.stat().st_size:,} bytes") from None


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
    if place := error.filename2 or error.filename:  # of two, the second is written
        return f"{place}: {reason}"
    full = ", ".join(map(str, full_places())) if error.errno in _FULL else ""
    return f"{reason} (full: {full})" if full else reason


def full_places() -> list[Path]:
    """Folders outside a study in which programs and libraries write unasked, and whose disk is full."""
    named = ("RAY_TMPDIR", "TMPDIR", "HOME")
    texts = [*filter(None, map(os.environ.get, named)), "/tmp", "/dev/shm", os.curdir]
    places = list(dict.fromkeys(map(Path, texts)))
    return [place for place in places if has_no_room(place)]


def has_no_room(place: Path, needed: float = 2**20) -> bool:
    """Whether a folder's disk is known to have less than so many bytes left."""
    try:
        usage = shutil.disk_usage(place)
        return usage.free < needed and usage.total > 0  # some file systems tell no sizes
    except OSError:
        return False


def _origins(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it came from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _not_copied(error: shutil.Error) -> OSError | None:
    """The first failure of storage that copying a folder met: it tells of all at the end, in words."""
    for source, target, reason in error.args[0]:
        if number := _number_told(str(reason)):
            return OSError(number, os.strerror(number), str(source), None, str(target))
    return None


def _number_told(text: str) -> int | None:
    """The number of the failure of storage that a text tells of."""
    if re.fullmatch(r"\d+ requested and \d+ written", text):  # NumPy, of a file that it could not write whole
        return errno.ENOSPC
    numbers = [int(found) for found in re.findall(r"\(os error (\d{1,4})\)", text)]
    numbers += [number for number in _TOLD if os.strerror(number) in text]
    return next((number for number in numbers if number in _OF_STORAGE), None)
