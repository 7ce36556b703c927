"""Time limits: a step that hangs ends the process, an epoch that takes too long ends the trial.

A call that never returns cannot be interrupted, so a thread watches from aside: it writes ``timeout.json``
into the trial's folder and ends the process. Between steps the loop looks at the clock itself.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from minbert.errors import Interrupted, TrainingFailure
from minbert.files.durable import write_text
from minbert.files.sealed import sealed_line, unsealed_line
from minbert.last_words import say_last

TIMEOUT = "timeout.json"
_EXIT_CODE = 3  # that of a failed run
_GRACE_SECONDS = 5.0  # for the loop to come by and end the epoch itself
_PATIENCE_SECONDS = 10.0  # for the note: storage may be what hangs


@dataclass(frozen=True)
class TimeLimits:
    """Seconds that a training step or a batch of an evaluation may take, and an epoch with all that belongs to it.

    An epoch's first step also looks for conflicts; scoring, checkpoint and publication belong to the epoch.
    """

    step: float | None = None
    epoch: float | None = None


class Clock:
    """What a trial is doing; read by the :class:`Watchdog`, and by whoever tells of it (:mod:`minbert.now`).

    Args:
        limits: that of an epoch is looked at whenever something begins.

    Attributes:
        stage, epoch: where the trial stands.
        steps: training steps of that epoch; 0 before they are known.
        doing: what it does, as a new tuple of a word and a number each time; None: nothing that is limited.
        ends: when the epoch must be over (monotonic seconds); None: whenever it likes.
        asked_to_end: whether the trial is to keep what it has and end; asked whenever something begins.
    """

    def __init__(self, limits: TimeLimits) -> None:
        self.limits = limits
        self.stage, self.epoch, self.steps = "", 0, 0
        self.doing: tuple[str, int] | None = None
        self.ends: float | None = None
        self.asked_to_end: Callable[[], bool] = lambda: False

    def begin(self, what: str, number: int) -> None:
        """Begin a step or an evaluation batch.

        Raises:
            TrainingFailure: the epoch takes too long (cause ``timeout``).
            Interrupted: the trial was asked to end.
        """
        if self.asked_to_end():
            raise Interrupted
        self.doing = (what, number)
        if self.ends is not None and time.monotonic() > self.ends:
            raise TrainingFailure("timeout", self.complaint(self.limits.epoch, "the epoch"))

    def rest(self) -> None:
        """Begin something that has no limit of its own."""
        self.doing = None

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Go on to the end of something that cannot be taken up in the middle."""
        asked, self.asked_to_end = self.asked_to_end, lambda: False
        try:
            yield
        finally:
            self.asked_to_end = asked

    @contextmanager
    def during(self, stage: str, epoch: int) -> Iterator[None]:
        """Time an epoch."""
        self.stage, self.epoch, self.steps = stage, epoch, 0
        if self.limits.epoch is not None:
            self.ends = time.monotonic() + self.limits.epoch
        try:
            yield
        finally:
            self.doing = self.ends = None

    def complaint(self, limit: float | None, what: str) -> str:
        """One line: what took longer than its limit, and where."""
        place = f"stage {self.stage}, epoch {self.epoch}"
        doing = self.doing
        if doing is not None:
            place += f", {doing[0]} {doing[1]}"
        return f"{what} took longer than {limit:g} s ({place})"


class Watchdog:
    """A thread that ends the process when the clock's step or epoch is over its limit.

    Args:
        clock: what it watches.
        folder: where it leaves its note for :func:`read_timeout`.
        run: names the run (:func:`minbert.canonical.run_name`), whose note it is.
        attempt: number of the run's start that it watches.
        send: is given the note, too, and has seconds to bring it where the folder's copy is.
    """

    def __init__(
        self,
        clock: Clock,
        folder: Path,
        run: str,
        attempt: int = 0,
        send: Callable[[str], None] = lambda note: None,
    ) -> None:
        self._clock, self._folder, self._run = clock, folder, run
        self._attempt, self._send = attempt, send
        self._over = threading.Event()
        limits = [limit for limit in (clock.limits.step, clock.limits.epoch) if limit is not None]
        self._pause = min(max(min(limits, default=0.0) / 20, 0.02), 5.0)
        if limits:
            threading.Thread(target=self._watch, name="time limits", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()

    def _watch(self) -> None:
        last, since = self._clock.doing, time.monotonic()
        while not self._over.wait(self._pause):
            now, doing = time.monotonic(), self._clock.doing
            if doing is not last:
                last, since = doing, now
            step, epoch, ends = self._clock.limits.step, self._clock.limits.epoch, self._clock.ends
            if step is not None and doing is not None and now - since > step:
                self._end(step, f"a {doing[0]}", doing)
            if epoch is not None and ends is not None and now > ends + max(0.1 * epoch, _GRACE_SECONDS):
                self._end(epoch, "the epoch", doing)

    def _end(self, limit: float, what: str, doing: tuple[str, int] | None) -> NoReturn:
        message = self._clock.complaint(limit, what)
        try:
            self._note(limit, message, doing)
        finally:  # whatever cannot be noted
            try:
                say_last(f"failed (timeout): {message}")  # whoever hangs may hang in a print
            finally:
                os._exit(_EXIT_CODE)

    def _note(self, limit: float, message: str, doing: tuple[str, int] | None) -> None:
        note = {
            "of": self._run,
            "attempt": self._attempt,
            "cause": "timeout",
            "message": message,
            "stage": self._clock.stage,
            "epoch": self._clock.epoch,
            "doing": None if doing is None else list(doing),
            "limit": limit,
        }
        line = sealed_line(note).decode()
        until = time.monotonic() + _PATIENCE_SECONDS
        writers = [
            threading.Thread(target=write_text, args=(self._folder / TIMEOUT, line), daemon=True),
            threading.Thread(target=self._send, args=(line,), daemon=True),
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(max(0.0, until - time.monotonic()))


def read_timeout(folder: Path, run: str, attempt: int = 0) -> TrainingFailure | None:
    """What ended a start of a run in a trial's folder, if that was a time limit; :meth:`Trial.run` forgets it.

    Args:
        folder: the trial's.
        run: names the run.
        attempt: number of the start. A damaged note, and one of another run or start, say nothing of it.
    """
    try:
        note = unsealed_line((folder / TIMEOUT).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if (note.get("of"), note.get("attempt", 0)) != (run, attempt):
        return None
    return TrainingFailure("timeout", str(note.get("message")))


def forget_timeout(folder: Path) -> None:
    """Begin a run: what ended the last one no longer counts."""
    (folder / TIMEOUT).unlink(missing_ok=True)
