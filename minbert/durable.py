"""Writing files so that a crash at any moment leaves the old or the new content, never half of it."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minbert.failpoints import reach
from minbert.sealed import seal_folder, sealed_line, unsealed_line


def write_text(path: Path, text: str) -> None:
    """Replace a file's content atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    reach(f"{path.stem}.written")
    temporary.replace(path)


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
    """Read complete JSON lines; a torn last line and a missing file count as nothing.

    Raises:
        ValueError: a line is not what was written.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [unsealed_line(line) for line in lines]


@contextmanager
def exclusive(path: Path, patience: float) -> Iterator[None]:
    """Hold a file's lock; wait up to ``patience`` seconds for a process that is dying to let go of it.

    Raises:
        TimeoutError: another process still holds it.
    """
    with path.open("w") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{path}: held by another process") from None
                time.sleep(0.1)
        yield


@contextmanager
def publish_folder(target: Path, sealed: bool = True) -> Iterator[Path]:
    """Fill a temporary folder that takes the place of ``target`` when the block ends without an error.

    It carries its files' checksums (:mod:`minbert.sealed`) unless it is not ``sealed``. A crash between the two renames leaves the old folder aside: :func:`settle_folder` brings it back.
    At most the folder around it is made: what lies below an empty mount point is not rebuilt there.
    """
    target.parent.mkdir(exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    kind = _kind(target)
    try:
        yield temporary
        if sealed:
            seal_folder(temporary)
        reach(f"{kind}.filled")
        retired = target.with_name(f".{target.name}.{os.getpid()}.old")
        shutil.rmtree(retired, ignore_errors=True)
        if target.exists():
            target.rename(retired)
            reach(f"{kind}.retired")
        temporary.rename(target)
        reach(f"{kind}.placed")
        shutil.rmtree(retired, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def clear_unfinished(folder: Path) -> None:
    """Remove what crashes left half done among the entries of a folder."""
    for unfinished in (*folder.glob(".*.tmp"), *folder.glob(".*.old")):
        shutil.rmtree(unfinished, ignore_errors=True)


def _kind(target: Path) -> str:
    """What a published folder is called in failpoints: the entries of a folder of keys or numbers share its name."""
    return target.parent.name if target.parent.name in ("stages", "corpus", "trials") else target.name
