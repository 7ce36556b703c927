"""How long a study still takes: a simulation with the durations of its own trials, and how sure that is.

Trials that ended are drawn from again and again (Efron's bootstrap) and put into the slots in turn, behind what runs
there now. Trials that sampler and early stopping make longer or shorter later on are not foreseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DRAWS = 400
_BOUNDS = (0.1, 0.5, 0.9)
_ONE_BY_ONE = 100
"""Trials at the end that are put into slots one by one; what comes before them fills all slots evenly."""
_UNSURE = 0.4
"""Standard deviation, on the log scale, of a mean duration that is known from one trial, or from epochs alone."""
_UNSURE_GUESS = 0.75
"""The same, of what is guessed from the steps of a first epoch, from another stage or from another trial: it may take a
multiple of that, or a part."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Underway:
    """A running trial.

    Attributes:
        elapsed: seconds since it started.
        left: seconds that its remaining epochs take; None where nothing tells.
        guessed: how many of them are not known from epochs of the same stage.
    """

    elapsed: float
    left: float | None = None
    guessed: float = 0.0

    @property
    def rough(self) -> bool:
        """Whether most of what is left is guessed."""
        return self.left is not None and self.guessed > self.left / 2


@dataclass(frozen=True)
class TimeLeft:
    """Seconds until the last trial ends: the median, and the bounds that hold eight times out of ten.

    ``rough``: no trial has ended yet; the epochs of running ones tell, or the steps of their first ones.
    """

    about: float
    low: float
    high: float
    rough: bool = False


def time_left(
    durations: Sequence[float], running: Sequence[Underway], to_start: int, slots: int
) -> TimeLeft | None:
    """Seconds until running trials, and ``to_start`` more, have ended; None where nothing tells.

    Args:
        durations: seconds of trials that ended, the newest ones.
        running: trials that run.
        to_start: trials that are still to be started.
        slots: trials that run at a time.
    """
    if not running and to_start <= 0:
        return TimeLeft(0.0, 0.0, 0.0)
    known = [seconds for seconds in durations if seconds > 0]
    telling = [] if known else [trial for trial in running if trial.left is not None]
    if not known and not telling:
        return None
    random = np.random.default_rng(0)
    rows = np.arange(_DRAWS)
    guess = np.exp(random.normal(0.0, _UNSURE_GUESS, (_DRAWS, 1)))  # one for all: they are wrong together
    sample = np.array(known)[None, :].repeat(_DRAWS, 0) if known else _whole(telling, guess)
    pool = np.take_along_axis(sample, random.integers(sample.shape[1], size=sample.shape), axis=1)
    pool *= np.exp(random.normal(0.0, _UNSURE / max(1, len(known)) ** 0.5, (_DRAWS, 1)))
    ends = np.zeros((_DRAWS, max(slots, len(running), 1)))
    for column, trial in enumerate(running):
        told = trial.left is not None and not (trial.rough and known)
        ends[:, column] = _told(trial, guess[:, 0], random) if told else _residual(trial, pool, random)
    ends += _bulk(pool, to_start - _ONE_BY_ONE, random) / ends.shape[1]
    for _ in range(min(to_start, _ONE_BY_ONE)):
        drawn = pool[rows, random.integers(pool.shape[1], size=_DRAWS)]
        ends[rows, ends.argmin(axis=1)] += drawn
    low, about, high = np.quantile(ends.max(axis=1), _BOUNDS)
    return TimeLeft(float(about), float(low), float(high), rough=not known)


def _whole(telling: Sequence[Underway], guess: Floats) -> Floats:
    """Draws of the durations of running trials, (draws, trials)."""
    known = np.array([trial.elapsed + (trial.left or 0.0) - trial.guessed for trial in telling])
    return known + np.array([trial.guessed for trial in telling]) * guess


def _told(trial: Underway, guess: Floats, random: np.random.Generator) -> Floats:
    """Draws of the seconds that a running trial still takes, from its own epochs and what is guessed of the others."""
    spread: Floats = np.exp(random.normal(0.0, _UNSURE / 2, _DRAWS))
    return ((trial.left or 0.0) - trial.guessed) * spread + trial.guessed * guess


def _residual(trial: Underway, pool: Floats, random: np.random.Generator) -> Floats:
    """Draws of the seconds that a running trial still takes, from trials that took longer than it has run."""
    keys = np.where(pool > trial.elapsed, random.random(pool.shape), -1.0)
    longer = keys.argmax(axis=1)
    rows = np.arange(_DRAWS)
    none_longer = keys[rows, longer] < 0
    return np.where(none_longer, trial.elapsed * random.random(_DRAWS), pool[rows, longer] - trial.elapsed)


def _bulk(pool: Floats, count: int, random: np.random.Generator) -> Floats:
    """Draws of the sum of so many durations, (draws, 1): normal, as there are many."""
    if count <= 0:
        return np.zeros((_DRAWS, 1))
    mean, deviation = pool.mean(axis=1, keepdims=True), pool.std(axis=1, keepdims=True)
    return np.maximum(count * mean + count**0.5 * deviation * random.normal(size=mean.shape), 0.0)
