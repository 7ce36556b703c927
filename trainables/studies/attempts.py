"""Who may write into a trial's folder: the attempt with the highest number.

Every start of a trial on a worker takes the next number before anything else. A worker that was given up,
because its node or the link to it was lost, may run on for a while: it looks for a higher number every second and
before it counts an epoch, and ends its process when there is one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from minbert.files.failpoints import reach
from minbert.files.storage import gone, is_away

FOLDER = "attempts"
LOST_NODES = "lost_nodes"
"""Cause of a trial whose nodes were taken away again and again: nothing of the study's, so that it never stops the study."""
_NUMBER = re.compile(r"\d{4,9}", re.ASCII)
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Attempt:
    """One start of a trial.

    Attributes:
        folder: the trial's folder.
        number: from 1.
        fruitless: starts in a row before this one, by the same driver, that ended before they kept anything new.
        nodes: where these ran, as Ray names nodes; of those that could not say it, nothing.
    """

    folder: Path
    number: int
    fruitless: int
    nodes: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """Says who made this start."""
        return self.folder / FOLDER / _name(self.number)

    @property
    def superseded(self) -> bool:
        """Whether a later start took over."""
        return self.is_superseded_by(file.name for file in _entries(self.folder))

    def is_superseded_by(self, names: Iterable[str]) -> bool:
        """Whether one of the names in a place where starts sign is that of a later start."""
        return max(map(number_of, names), default=0) > self.number

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """End this process as soon as a later start takes over or its parent dies, however long an epoch lasts."""
        over, parent = threading.Event(), os.getppid()

        def look() -> None:
            while not over.wait(_SECONDS_BETWEEN_LOOKS):
                if os.getppid() != parent:  # the node's agent, or the whole search, was killed
                    os._exit(1)
                self.end_if_superseded()

        watcher = threading.Thread(target=look, name=f"attempt {self.number}", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()

    def end_if_superseded(self) -> None:
        """End this process, which nobody waits for, where a later start took over."""
        with suppress(OSError):  # storage that is out of reach for a while tells nothing
            if self.superseded:
                os._exit(1)

    def before_writing(self) -> None:
        """End this process where a later start took over.

        Raises:
            OSError: the folder is no longer that of this start: its storage was taken away, or it was removed.
        """
        self.end_if_superseded()
        if is_away(self.file):
            raise gone(self.folder)


def claim(folder: Path, start: str, kept: str | None = None, node: str = "") -> Attempt:
    """Take the next number in a trial's folder.

    Args:
        folder: the trial's folder; made when absent.
        start: names the driver's start, so that interrupted starts do not count as fruitless ones.
        kept: the :func:`kept_mark` of the trial's last checkpoint, where that is not in the folder yet.
        node: Ray's name of the node that this is on.
    """
    for needed in (
        folder,
        folder / FOLDER,
    ):  # not those above: below an empty mount point nothing is to be made
        needed.mkdir(exist_ok=True)
    kept = _kept(folder) if kept is None else kept
    owner = {
        "start": start,
        "epochs": _epochs(folder),
        "kept": kept,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "node": node,
    }
    number = last_number(folder)
    while True:
        number += 1
        file = folder / FOLDER / _name(number)
        try:
            with file.open("x", encoding="utf-8") as opened:  # exclusive on network file systems, too
                json.dump(owner, opened)
        except FileExistsError:
            continue
        reach("attempt.claimed")
        return Attempt(folder, number, *_fruitless(folder, number, start, kept))


def _fruitless(folder: Path, number: int, start: str, kept: str) -> tuple[int, tuple[str, ...]]:
    count, nodes = 0, list[str]()
    earlier = (file for file in _entries(folder) if 0 < number_of(file.name) < number)
    for file in sorted(earlier, key=lambda file: number_of(file.name), reverse=True):
        try:
            owner = json.loads(file.read_text(encoding="utf-8"))
            if (owner["start"], owner["kept"]) != (start, kept):
                break
        except (OSError, ValueError, KeyError, TypeError):
            continue  # its worker, or the storage, ended while it wrote: it had not begun to train
        nodes += filter(None, [owner.get("node")])
        count += 1
    return count, tuple(nodes)


def _epochs(folder: Path) -> int:
    try:
        return (folder / "history.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def _kept(folder: Path) -> str:
    """Names what the trial has come to: its last checkpoint, inside an epoch or at its end."""
    try:
        return kept_mark(hashlib.sha256((folder / "checkpoint" / "manifest.json").read_bytes()).hexdigest())
    except OSError:
        return ""


def kept_mark(sha256: str) -> str:
    """Names a checkpoint by the SHA-256 of its manifest."""
    return sha256[:16]


def number_of(name: str) -> int:
    """The number of the start that signed with a name; 0 of a name that is none of ours."""
    return int(name) if _NUMBER.fullmatch(name) else 0


def last_number(folder: Path) -> int:
    """The number of a trial's last start; 0 where there was none.

    Raises:
        OSError: storage is away.
    """
    return max((number_of(file.name) for file in _entries(folder)), default=0)


def _entries(folder: Path) -> list[Path]:
    try:
        return list((folder / FOLDER).iterdir())
    except FileNotFoundError:
        return []


def _name(number: int) -> str:
    return f"{number:04d}"
