"""Names of what is half done, and what is left of it where its process died.

A name tells host and process, so that a folder that several searches write into can be cleared of what nobody
will finish and of nothing else; chance keeps names apart between threads, and hosts of one name.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_DAY = 86400.0
_OF = r"\.[A-Za-z0-9-]+\.[0-9]+\.[0-9a-f]{8}\."
_MARK = rf"{_OF}(tmp|old)"
_OURS = re.compile(rf"\..+{_MARK}", re.DOTALL)
"""Names that :func:`beside` makes; whatever else is hidden there is somebody's own."""
_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())


def beside(target: Path, ending: str) -> Path:
    """A hidden name of its own beside a file or folder: ``tmp`` for what is to take its place, ``old`` for what had it.

    Any other ending is for what its process keeps there while it runs.
    """
    return target.with_name(f".{target.name}.{_HOST}.{os.getpid()}.{secrets.token_hex(4)}.{ending}")


def clear_unfinished(folder: Path) -> None:
    """Remove what crashes left half done among the entries of a folder that nobody else writes into."""
    for unfinished in _unfinished(folder):
        _remove(unfinished)


def clear_abandoned(folder: Path) -> None:
    """Remove what was left half done in a folder that others may write into just now.

    Of this host, that is what belongs to no living process; of others, what is older than a day.
    """
    _clear(_unfinished(folder))


def clear_abandoned_of(target: Path) -> None:
    """Remove what was left half done of one file or folder, as :func:`clear_abandoned` does of all in a folder."""
    named = re.compile(rf"\.{re.escape(target.name)}{_MARK}", re.DOTALL)
    _clear(path for path in _unfinished(target.parent) if named.fullmatch(path.name))


def clear_of_dead(folder: Path, ending: str) -> None:
    """Remove the files of a folder that :func:`beside` named with an ending for processes of this host that have ended."""
    named = re.compile(rf"\..+{_OF}{re.escape(ending)}", re.DOTALL)
    for entry in folder.glob(f".*.{ending}"):
        if named.fullmatch(entry.name) and _is_of_dead(entry):
            with suppress(OSError):  # another user's, or on storage that is only read
                _remove(entry)


def is_ours(path: Path) -> bool:
    """Whether a name is one of :func:`beside`'s."""
    return _OURS.fullmatch(path.name) is not None


def _unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".*") if is_ours(path)]


def _clear(entries: Iterable[Path]) -> None:
    for unfinished in entries:
        with suppress(FileNotFoundError):  # its process has just finished it
            if _is_abandoned(unfinished):
                _remove(unfinished)


def _is_abandoned(path: Path) -> bool:
    return _is_of_dead(path) or time.time() - path.lstat().st_mtime > _DAY


def _is_of_dead(path: Path) -> bool:
    host, process = (["", "", *path.name.split(".")])[-4:-2]
    return host == _HOST and process.isdecimal() and not _is_alive(int(process))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # no process has such a number
        return False
    except PermissionError:  # another user's
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
