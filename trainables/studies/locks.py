"""One driver a study: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from minbert.errors import UserError
from minbert.files.durable import myself, open_lock
from minbert.files.storage import why_refused
from minbert.remote.journal_segments import TakenOver

LOCK = ".lock"
_LOOKS_FOR_AN_OWNER = 10
_READS = ", which reads it"
_held: dict[str, TextIO] = {}
"""The locks that this process holds, by the real paths of the studies."""


@contextmanager
def locked(path: Path, option: str = "--study") -> Iterator[None]:
    """Hold the study for one driver.

    The kernel frees the lock when its process ends; the file that a killed driver leaves behind holds nothing.

    Args:
        path: the study's folder.
        option: of the command line that names it.

    Raises:
        UserError: another driver holds it; the message names host and process.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    had_lock = (path / LOCK).exists()
    with _taken(path, option) as file:
        try:
            _write(file, path / LOCK, myself())
            _held[os.path.realpath(path)] = file
            yield
        except UserError:  # refused: the folder is left as it was found
            if not had_lock:
                (path / LOCK).unlink(missing_ok=True)
            raise
        finally:
            _held.pop(os.path.realpath(path), file).close()
            _leave_no_trace(path, made)


def still_held(path: Path) -> None:
    """Make sure that a study is still this driver's, before what only one may write: somebody may remove a lock's file.

    Where nobody has taken the study since, or a copy of the file was put in its place, it is locked again; whoever holds
    none, as tests do, is let through.

    Args:
        path: the study's folder.

    Raises:
        TakenOver: another search has.
    """
    file = _held.get(os.path.realpath(path))
    try:
        if file is None or _is_there(file, path / LOCK) or not (path / "study.yaml").is_file():
            return
    except OSError:  # storage that is away; whoever writes there says so
        return
    again = open_lock(path / LOCK)
    again.seek(0)
    owner = again.read()
    if owner.endswith(_READS):
        return  # the next look finds it gone
    if owner not in ("", myself()):
        raise TakenOver(str(path))
    try:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # somebody is about to sign it: the next look tells whether he searches
    _held[os.path.realpath(path)] = again
    _write(again, path / LOCK, myself())


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep searches off a study that is only read; its folder stays as it was found.

    Whoever may not write there can lock only what a search has left; no lock: no search was ever run there.

    Raises:
        UserError: a search runs on it; the message names host and process.
    """
    if not os.access(path, os.W_OK):
        with _shared(path):
            yield
        return
    had_lock = (path / LOCK).exists()
    with _taken(path) as file:
        file.seek(0)
        before = file.read()
        with suppress(OSError):  # a full disk; it is only for whoever is refused
            _write(file, path / LOCK, f"{myself()}{_READS}")
        try:
            yield
        finally:
            with suppress(OSError):
                _write(file, path / LOCK, before)
            if not had_lock:
                (path / LOCK).unlink(missing_ok=True)


@contextmanager
def _shared(path: Path) -> Iterator[None]:
    if not (path / LOCK).is_file():
        yield
        return
    with (path / LOCK).open(encoding="utf-8") as file:
        _lock(file, path, "--study", fcntl.LOCK_SH)
        yield


@contextmanager
def _taken(path: Path, option: str = "--study") -> Iterator[TextIO]:
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            file = open_lock(path / LOCK)
        except OSError as error:
            raise UserError(
                f"{option} {path}: cannot be written: {why_refused(error, path / LOCK)}"
            ) from None
        with file:
            _lock(file, path, option, fcntl.LOCK_EX)
            if _is_there(file, path / LOCK):  # else a search that was refused has just removed it
                yield file
                return


def _lock(file: TextIO, path: Path, option: str, kind: int) -> None:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{option} {path}: in use by another search ({_owner(file)})") from None
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be locked: {why_refused(error, path / LOCK)}") from None


def _write(file: TextIO, path: Path, text: str) -> None:
    try:  # past the file's buffer, which would try again when it is closed
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), text.encode(errors="surrogateescape"))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _is_there(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _owner(lock: TextIO) -> str:
    """Who holds a lock; a search that took it just now may not have signed it yet."""
    for _ in range(_LOOKS_FOR_AN_OWNER):
        lock.seek(0)
        if owner := lock.read().strip():
            return owner
        time.sleep(0.1)
    return "unknown"


def _leave_no_trace(path: Path, made: list[Path]) -> None:
    """A start that was refused leaves no lock, and no folder that it made (innermost first)."""
    with suppress(OSError):  # not empty: something else was put there meanwhile; or its storage is away
        if not (path / "study.yaml").is_file():
            (path / LOCK).unlink(missing_ok=True)
            for folder in made:
                folder.rmdir()
