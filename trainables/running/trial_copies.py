"""Copies of trials on this machine: who works in one, what of it has yet to be sent, and which ones nobody needs.

Whoever works in a copy holds its ``.held``, which the kernel frees when the process ends, however it ends. ``.unsent`` says
what the store held when this machine began to send what it had kept: as long as it stands there, that did not succeed.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from minbert.errors import UserError
from minbert.files.durable import exclusive, open_lock, read_json_lines
from minbert.files.leftovers import beside, clear_abandoned
from minbert.files.sealed import CHECKSUMS, is_intact
from minbert.remote.working_copy import trial_copies
from trainables.studies.attempts import FOLDER

_HELD, _UNSENT, _TAKING = ".held", ".unsent", ".taking"
_IDLE_SECONDS = 3600.0
"""A copy is left for so long after the last change: the same trial may come back to it, and need not be fetched again."""


class TrialCopy:
    """The copy of a trial in which this process works.

    Args:
        folder: where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held = ExitStack()
        self.is_held = False

    @contextmanager
    def being_taken(self) -> Iterator[None]:
        """Keep others from clearing it before it is held."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with _taking(self.folder.parent, fcntl.LOCK_SH):
            yield

    def hold(self, patience: float) -> None:
        """Work in it alone.

        Raises:
            Held: another process still does, after ``patience`` seconds.
        """
        self._held.enter_context(exclusive(self.folder / _HELD, patience))
        self.is_held = True

    def let_go(self, remove: bool) -> None:
        """Work in it no longer, and remove it where that is wanted."""
        if remove:
            _remove(self.folder)
        self._held.close()
        self.is_held = False

    @property
    def unsent(self) -> str | None:
        """What the store held when this copy was further than that; None where the store has all of it."""
        try:
            return (self.folder / _UNSENT).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    @contextmanager
    def being_sent(self, store_has: str) -> Iterator[None]:
        """Note that the store does not have all of it, until the block has ended without an error."""
        (self.folder / _UNSENT).write_text(store_has, encoding="utf-8")
        yield
        self.forget_unsent()

    def forget_unsent(self) -> None:
        """From now on the copy counts for nothing that the store does not have."""
        (self.folder / _UNSENT).unlink(missing_ok=True)

    def is_whole(self) -> bool:
        """Whether what the trial has kept in it is as it was written."""
        try:
            read_json_lines(self.folder / "history.jsonl")
        except ValueError:
            return False
        seals = self.folder.rglob(CHECKSUMS)
        return is_intact(self.folder / "checkpoint") and all(is_intact(seal.parent) for seal in seals)


def clear_copies(taken: Path, is_needed: Callable[[TrialCopy], bool]) -> None:
    """Remove what workers that were killed left: copies in which nobody has worked for a while, of any study.

    Args:
        taken: the copy that is about to be worked in.
        is_needed: whether a copy has to stay.
    """
    for trials in trial_copies():
        with suppress(OSError, UserError):  # another user's; or somebody takes a copy just now
            clear_abandoned(trials)
            copies = [copy for copy in trials.glob("[0-9]*") if copy != taken and _is_idle(copy)]
            unneeded = [copy for copy in copies if not is_needed(TrialCopy(copy))]
            if unneeded:
                with _taking(trials, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    gone = [copy for copy in unneeded if _is_idle(copy) and not _is_held(copy)]
                    gone = [copy.rename(beside(copy, "old")) for copy in gone]
                for copy in gone:
                    shutil.rmtree(copy, ignore_errors=True)


@contextmanager
def _taking(trials: Path, kind: int) -> Iterator[None]:
    with open_lock(trials / _TAKING) as file:
        fcntl.flock(file, kind)
        yield


def _is_idle(copy: Path) -> bool:
    """Whether it is a worker's, and has not changed for long."""
    return (copy / FOLDER).is_dir() and time.time() - copy.stat().st_mtime > _IDLE_SECONDS


def _is_held(copy: Path) -> bool:
    with open_lock(copy / _HELD) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _remove(copy: Path) -> None:
    """At once for whoever comes next, however long it takes."""
    with suppress(OSError):
        shutil.rmtree(copy.rename(beside(copy, "old")), ignore_errors=True)
