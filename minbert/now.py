"""What a trial does just now: ``now.json`` in its folder, for whoever watches.

It is no part of any result. Nothing is computed from it, a trial goes on where it cannot be written, and a reader takes
what does not look like one for none.
"""

from __future__ import annotations

import math
import os
import stat
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minbert.files.leftovers import beside, clear_abandoned_of
from minbert.files.sealed import sealed_line, unsealed_line
from minbert.time_limits import Clock

NOW = "now.json"
TRAINING, SCORING = "training", "scoring"
_SECONDS_BETWEEN = 3.0
_PATIENCE_SECONDS = 5.0  # for storage that hangs
_LONGEST = 4096
_MOST = 1e12


@dataclass(frozen=True)
class Now:
    """Where a trial stands inside an epoch.

    Attributes:
        stage, epoch: which one.
        doing: training or scoring.
        step: training steps that are done.
        steps: those of the epoch in all.
        step_seconds: what one took since this start went on with the epoch; None before that is known.
        at: when that was so, in seconds since 1970.
        attempt: number of the trial's start.
        scored: how much of the epoch's scoring is done, from 0 to 1; None where that is not known.
        scoring_seconds: what that took.
    """

    stage: str
    epoch: int
    doing: str
    step: int
    steps: int
    step_seconds: float | None
    at: float
    attempt: int
    scored: float | None = None
    scoring_seconds: float | None = None

    @property
    def share(self) -> float | None:
        """How much of the epoch's training is done, or of its scoring, from 0 to 1; None where that is not known."""
        if self.doing == SCORING:
            return self.scored
        return self.step / self.steps if self.steps else 1.0

    @property
    def epoch_seconds(self) -> float | None:
        """What the epoch's training takes at this pace; None before that is known."""
        return self.steps * self.step_seconds if self.steps and self.step_seconds is not None else None

    @property
    def all_scoring_seconds(self) -> float | None:
        """What the epoch's scoring takes at the pace so far; None before that is known."""
        return (
            self.scoring_seconds / self.scored if self.scored and self.scoring_seconds is not None else None
        )


class Scoring:
    """How much of an epoch's scoring is done, in tokens: a trial counts, a :class:`NowFile` reads.

    Attributes:
        trained: seconds that the epoch's training took; None where it was not trained here.
        done: tokens of the batches that are done.
    """

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, trained: float | None) -> None:
        """Begin to score an epoch; how much there is to score is not known yet."""
        self.trained, self.done = trained, 0
        self._tokens = self._batch = 0
        self._since = time.monotonic()

    def expect(self, tokens: int) -> None:
        """From here on there is so much to score."""
        self.begin(self.trained)
        self._tokens = tokens

    def batch(self, tokens: int) -> None:
        """Begin a batch, the last one being done; 0: only the latter."""
        self.done, self._batch = self.done + self._batch, tokens

    def go_back(self, done: int) -> None:
        """Score again what was done since then."""
        self.done, self._batch = done, 0

    def so_far(self) -> tuple[float, float] | tuple[None, None]:
        """Share that is done, and the seconds that it took; None where it is not known of what."""
        if not self._tokens:
            return None, None
        return min(self.done / self._tokens, 1.0), time.monotonic() - self._since


class NowFile:
    """Keeps ``now.json`` up to date from a thread of its own, so that no step waits for storage.

    Args:
        clock: knows what the trial does.
        folder: the trial's.
        attempt: number of this start.
        scoring: knows how much of an epoch's scoring is done.
    """

    def __init__(self, clock: Clock, folder: Path, attempt: int = 0, scoring: Scoring | None = None) -> None:
        self._clock, self._folder, self._attempt = clock, folder, attempt
        self._scoring = scoring or Scoring()
        self._first: tuple[tuple[str, int], int, float] = ("", 0), 0, 0.0
        self._pace: float | None = None
        self._over = threading.Event()
        self._forget()
        self._thread = threading.Thread(target=self._keep, name="now", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write it no longer, and remove it."""
        self._over.set()
        self._thread.join(_PATIENCE_SECONDS)
        self._forget()

    def _keep(self) -> None:
        told = None
        while not self._over.wait(_SECONDS_BETWEEN):
            doing = self._clock.doing
            if doing is None or doing is told:
                continue
            now = self._now(*doing)
            if self._clock.doing is doing:  # else it went on meanwhile, maybe into the next epoch
                told = doing
                with suppress(OSError):
                    write_now(self._folder, now)

    def _now(self, what: str, number: int) -> Now:
        place, steps = (self._clock.stage, self._clock.epoch), self._clock.steps
        moment, scoring = time.monotonic(), what != "step"
        step = steps if scoring else number - 1
        if self._first[0] != place:
            self._first, self._pace = (place, step, moment), None
        _, first, since = self._first
        if step > first and not scoring:
            self._pace = (moment - since) / (step - first)
        if not scoring:
            return Now(*place, TRAINING, step, steps, self._pace, time.time(), self._attempt)
        if self._scoring.trained is not None and steps:
            self._pace = self._scoring.trained / steps  # all of them, also those between two looks
        scored = self._scoring.so_far()
        return Now(*place, SCORING, step, steps, self._pace, time.time(), self._attempt, *scored)

    def _forget(self) -> None:
        with suppress(OSError):
            (self._folder / NOW).unlink(missing_ok=True)
            clear_abandoned_of(self._folder / NOW)


def write_now(folder: Path, now: Now) -> None:
    """Replace a trial's ``now.json``; it may be gone after a crash.

    Raises:
        OSError: it cannot be written.
    """
    temporary = beside(folder / NOW, "tmp")
    try:
        temporary.write_bytes(sealed_line(asdict(now)))
        temporary.replace(folder / NOW)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_now(folder: Path) -> Now | None:
    """What a trial's folder says that it does; None where it says nothing that can be used."""
    try:
        now = Now(**unsealed_line(_content(folder / NOW)))
    except (OSError, ValueError, TypeError):
        return None
    return now if _is_possible(now) else None


def _content(path: Path) -> bytes:
    """The beginning of a file; nothing of what is none, which is not waited for."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(file, _LONGEST) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    finally:
        os.close(file)


def _is_possible(now: Now) -> bool:
    """Whoever edited it may have left anything."""
    counts = (now.epoch, now.step, now.steps, now.attempt)
    told = (now.step_seconds, now.scored, now.scoring_seconds)
    times = (now.at, *(each for each in told if each is not None))
    return (
        type(now.stage) is str
        and now.doing in (TRAINING, SCORING)
        and all(type(each) is int and 0 <= each < _MOST for each in counts)
        and all(_is_time(each) for each in times)
        and now.step <= now.steps
        and (now.scored or 0.0) <= 1.0
    )


def _is_time(seconds: Any) -> bool:
    return type(seconds) in (int, float) and 0 <= seconds < _MOST and math.isfinite(seconds)
