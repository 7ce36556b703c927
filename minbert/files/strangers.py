"""What no folder and no file of ours is: links and names that lead elsewhere, and pipes and devices, whose reader waits for ever."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from minbert.errors import UserError

_LONGEST_NAME = 255
"""Bytes of a name that file systems take."""


def refuse_irregular(path: Path) -> None:
    """Refuse a path, or what it links to, that is neither a file nor a folder; whoever opens it says what else is wrong.

    Raises:
        UserError: it is a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UserError(f"{path}: is {_kind(mode)}, not a file; put the file itself there")


def refuse_link_out(path: Path, folder: Path) -> None:
    """Refuse a link that leads out of the folder it belongs to, where we would write and clear.

    Raises:
        UserError: it does.
    """
    if not path.is_symlink():
        return
    inside, target = os.path.realpath(folder), os.path.realpath(path)
    if target != inside and not target.startswith(os.path.join(inside, "")):
        raise UserError(
            f"{path}: is a link out of the folder {folder}, to {path.readlink()}; nothing there is touched: "
            "put the file or folder itself there"
        )


def refuse_strangers(folder: Path) -> None:
    """Refuse a folder to be written to that holds, at any depth, a link out of it, a pipe, a socket or a device.

    Raises:
        UserError: the first one found.
    """
    for entry in _no_files(folder):
        refuse_link_out(entry, folder)
        refuse_irregular(entry)


def refuse_irregular_below(folder: Path) -> None:
    """Refuse a folder to be read that holds, at any depth, a pipe, a socket or a device, or a link to one.

    Raises:
        UserError: the first one found.
    """
    for entry in _no_files(folder):
        refuse_irregular(entry)


def refuse_other_kinds(
    folder: Path, files: Iterable[str], folders: Iterable[str], whose: str, otherwise: str
) -> None:
    """Refuse a folder in which a file stands in a folder's place, or the other way round.

    Args:
        folder: to be written to.
        files, folders: what its files and its folders are called, where they are there.
        whose: what has them so, such as ``a run``.
        otherwise: what the user may do but move it away.

    Raises:
        UserError: the first one found.
    """
    for names, kind, fits in ((files, "file", Path.is_file), (folders, "folder", Path.is_dir)):
        for path in (folder / name for name in names):
            if path.exists() and not fits(path):
                raise UserError(
                    f"{path}: is no {kind}, as {whose} has it there; move it away, or {otherwise}"
                )


def check_names(names: Collection[str]) -> None:
    """Refuse names of files, as a record lists them, that cannot lie in one folder, or lead out of it.

    Raises:
        ValueError: there is one.
    """
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for name in names:
        parts = PurePosixPath(name).parts
        if str(PurePosixPath(name)) != name or not parts or {"..", "/"} & set(parts) or name in folders:
            raise ValueError(f"{name!r} is no name of a file")
        if "\0" in name or max(len(os.fsencode(part)) for part in parts) > _LONGEST_NAME:
            raise ValueError(f"{name!r} is no name of a file")


def _no_files(folder: Path) -> Iterator[Path]:
    """All that lies below a folder and is neither a plain file nor a folder; no link is followed.

    A folder that cannot be listed is passed over: it fails whoever uses it.
    """
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                entries = [entry for entry in found if not entry.is_file(follow_symlinks=False)]
        except OSError:
            continue
        folders = {entry.path for entry in entries if entry.is_dir(follow_symlinks=False)}
        waiting += folders
        yield from (Path(entry.path) for entry in entries if entry.path not in folders)


def what_is(path: Path) -> str:
    """What stands in the place of a file that is none."""
    try:
        return _kind(path.stat().st_mode)
    except OSError:
        return "a link to nothing"


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"
