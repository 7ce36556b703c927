"""One driver a study: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from minbert.errors import UserError

LOCK = ".lock"
_LOOKS_FOR_AN_OWNER = 10


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the study for one driver.

    The kernel frees the lock when its process ends; the file that a killed driver leaves behind holds nothing.

    Raises:
        UserError: another driver holds it; the message names host and process.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    had_lock = (path / LOCK).exists()
    with _taken(path) as file:
        file.truncate(0)
        file.write(f"host {socket.gethostname()}, process {os.getpid()}")
        file.flush()
        try:
            yield
        except UserError:  # refused: the folder is left as it was found
            if not had_lock:
                (path / LOCK).unlink(missing_ok=True)
            raise
        finally:
            _leave_no_trace(path, made)


@contextmanager
def _taken(path: Path) -> Iterator[TextIO]:
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            file = (path / LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"--study {path}: cannot be written: {error.strerror}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"--study {path}: in use by another search ({_owner(file)})") from None
            except OSError as error:
                raise UserError(f"--study {path}: cannot be locked: {error.strerror}") from None
            if _is_there(file, path / LOCK):  # else a search that was refused has just removed it
                yield file
                return


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
    if not (path / "study.yaml").is_file():
        (path / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # not empty: something else was put there meanwhile
            for folder in made:
                folder.rmdir()
