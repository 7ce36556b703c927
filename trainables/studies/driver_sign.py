"""Which driver works on a study: what its lock says, looked at from outside and without taking it."""

from __future__ import annotations

import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from trainables.studies.locks import LOCK

_SIGNATURE = re.compile(r"host (?P<host>.+), process (?P<process>\d{1,9})")
_LONGEST = 1000
_LOOKS = 5


@dataclass(frozen=True)
class Driver:
    """The driver that signed a study's lock last.

    Attributes:
        host: where it runs or ran.
        process: its number there.
        at_work: whether it does; None: it is on another host, and only what it writes tells.
        since: when it took the lock, in seconds since 1970.
    """

    host: str
    process: int
    at_work: bool | None
    since: float


def find_driver(study: Path) -> Driver | None:
    """The driver that signed the lock of a study; None where none ever did."""
    for look in range(_LOOKS):
        try:
            text, since = _read(study / LOCK)
        except OSError:
            return None
        if signed := _SIGNATURE.fullmatch(text.strip()):
            host, process = signed["host"], int(signed["process"])
            at_work = _holds(process, study / LOCK) if host == socket.gethostname() else None
            return Driver(host, process, at_work, since)
        if look + 1 < _LOOKS:
            time.sleep(0.05)  # whoever took it just now may be about to sign it
    return None


def _read(lock: Path) -> tuple[str, float]:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(lock, flags), encoding="utf-8", errors="replace") as file:
        return file.read(_LONGEST), os.fstat(file.fileno()).st_mtime


def _holds(process: int, lock: Path) -> bool:
    """Whether a process of this host has the lock's file open; where that is not to be seen, whether it is there."""
    files = Path(f"/proc/{process}/fd")
    try:
        wanted = lock.stat()
        return any(_is(file, wanted) for file in files.iterdir())
    except FileNotFoundError:
        return not Path("/proc/self/fd").exists() and _is_there(process)
    except PermissionError:  # another user's process
        return _is_there(process)
    except OSError:
        return False


def _is(file: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(file.stat(), wanted)
    except OSError:  # closed meanwhile
        return False


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
