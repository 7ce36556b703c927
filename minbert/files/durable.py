"""Writing files so that a crash at any moment leaves the old or the new content, never half of it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from minbert.errors import UserError
from minbert.files.failpoints import reach
from minbert.files.leftovers import beside
from minbert.files.sealed import is_sealed, seal_folder, sealed_line, unsealed_line
from minbert.files.storage import whole, with_place
from minbert.files.strangers import refuse_irregular


def write_text(path: Path, text: str) -> None:
    """Replace a file's content atomically."""
    temporary = beside(path, "tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        reach(f"{path.stem}.written")
        temporary.replace(path)
    finally:
        with suppress(OSError):  # storage that is away
            temporary.unlink(missing_ok=True)


def append_json(path: Path, record: dict[str, Any]) -> None:
    """Append a record as one JSON line with its checksum; a line torn by a crash is cut off first."""
    cut_torn_line(path)
    reach(f"{path.stem}.before")
    with path.open("ab") as file:
        file.write(sealed_line(record) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    reach(f"{path.stem}.after")


def cut_torn_line(path: Path) -> None:
    """Cut off a last line that a crash left without its end; a missing file is left missing."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if size == 0 or file.read() == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read complete lines of :func:`append_json`; a torn last line and a missing file count as nothing.

    Raises:
        ValueError: a line is not what was written.
    """
    if not path.is_file():
        return []
    lines = whole(path).split(b"\n")[:-1]
    if not all(map(is_sealed, lines)):
        raise ValueError("a line carries no checksum")
    return [unsealed_line(line) for line in lines]


def open_lock(path: Path) -> TextIO:
    """Open a lock's file for reading and appending, made where there is none; what it holds stays.

    Raises:
        UserError: it is a link, which is not followed, or no file.
        OSError: it cannot be opened.
    """
    if path.is_symlink():
        raise UserError(f"{path}: is a link, to {path.readlink()}; nothing there is touched: remove the link")
    refuse_irregular(path)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.fdopen(os.open(path, flags, 0o666), "a+", encoding="utf-8", errors="surrogateescape")


class Held(TimeoutError):
    """Another process holds a lock; ``owner`` is its host and number."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(f"{path}: held by another process ({owner})")
        self.owner = owner


def myself() -> str:
    """This process, as it signs its locks."""
    return f"host {socket.gethostname()}, process {os.getpid()}"


@contextmanager
def exclusive(path: Path, patience: float) -> Iterator[None]:
    """Hold a file's lock; wait up to ``patience`` seconds for a process that is dying to let go of it.

    Raises:
        Held: another process still holds it.
    """
    with open_lock(path) as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise Held(path, file.read().strip() or "unknown") from None
                time.sleep(0.1)
        with suppress(OSError):  # a full disk; it is only for whoever is refused
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), myself().encode())
        yield


@contextmanager
def publish_folder(
    target: Path, sealed: bool = True, of: str = "", stays: Callable[[], bool] = lambda: False
) -> Iterator[Path]:
    """Fill a temporary folder that takes the place of ``target`` when the block ends without an error.

    It carries its files' checksums (:mod:`minbert.files.sealed`), and what they are ``of``, unless it is not ``sealed``. A crash between the two renames leaves the old folder aside: :func:`settle_folder` brings it back.
    At most the folder around it is made: what lies below an empty mount point is not rebuilt there. Others may
    publish the same folder, or take it away, at the same moment.

    Args:
        target: where it goes.
        sealed, of: its checksums, and what they belong to.
        stays: whether what somebody else has put there meanwhile is kept, and not replaced.

    Raises:
        OSError: storage fails; it names the folder where whatever wrote there names no file.
    """
    target.parent.mkdir(exist_ok=True)
    temporary = beside(target, "tmp")
    temporary.mkdir()
    try:
        yield temporary
        if sealed:
            seal_folder(temporary, of)
        reach(f"{_kind(target)}.filled")
        _place(temporary, target, stays)
    except Exception as error:
        if (told := with_place(error, target)) is not error:
            raise told from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _place(temporary: Path, target: Path, stays: Callable[[], bool]) -> None:
    kind, retired = _kind(target), []
    while not _renamed(temporary, target):
        if stays():
            return
        retired.append(beside(target, "old"))
        with suppress(FileNotFoundError):  # somebody else took it away
            target.rename(retired[-1])
            reach(f"{kind}.retired")
    reach(f"{kind}.placed")
    for old in retired:
        shutil.rmtree(old, ignore_errors=True)


def _renamed(temporary: Path, target: Path) -> bool:
    """Rename into an empty place; False where something is there."""
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True


def settle_folder(target: Path) -> None:
    """Clear what a crash inside :func:`publish_folder` left beside ``target``; nobody may be publishing it."""
    for retired in target.parent.glob(f".{target.name}.*.old"):
        if target.exists():
            shutil.rmtree(retired, ignore_errors=True)
        else:
            retired.rename(target)
            reach(f"{_kind(target)}.brought_back")
    for unfinished in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(unfinished, ignore_errors=True)


def _kind(target: Path) -> str:
    """What a published folder is called in failpoints: the entries of a folder of keys or numbers share its name."""
    return target.parent.name if target.parent.name in ("stages", "corpus", "trials") else target.name
