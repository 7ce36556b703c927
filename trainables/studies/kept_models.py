"""Which finished trials keep their model: the best ones, and those that no other beats in every task.

A trial that is neither when it ends never will be, as later trials only push out. So a model is dropped as soon as
another takes its place, what is kept at any moment depends on the finished trials alone, and a long study holds as
many models as a short one.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.studies.watcher import Watcher

if TYPE_CHECKING:  # slow to import: optuna
    from optuna.trial import FrozenTrial

    from trainables.studies.ledger import Issue
    from trainables.studies.study import StudyFolder

_DIGITS = 10
KEPT_MODELS = 5
"""How many of the best trials keep their model, unless the user says otherwise."""


class KeptModels(Watcher):
    """Drops the models that need not be kept, whenever a trial ends; each can be made again from its config.yaml.

    Args:
        folder: the study's.
        tasks: whose metrics on the select half span the Pareto front.
        count: how many of the best trials keep their model, besides the front; 0: none at all; None: all.
    """

    def __init__(self, folder: StudyFolder, tasks: Iterable[str], count: int | None) -> None:
        self._folder, self._metrics, self._count = folder, [f"select/{task}" for task in tasks], count
        self._best: list[FrozenTrial] = []
        self._front: list[FrozenTrial] = []

    @property
    def kept(self) -> set[int]:
        """Numbers of the trials that keep their model, of those seen so far; not of use where all do."""
        return {trial.number for trial in (*self._best, *self._front)}

    def catch_up(self, trials: Iterable[FrozenTrial]) -> None:
        """Take in the trials that earlier starts finished, and drop what those were killed before they could."""
        finished = [trial for trial in trials if trial.state.is_finished()]
        for trial in finished:
            self._rank(trial)
        for trial in finished if self._folder.remote is None else self._folder.remote.with_models(finished):
            self._drop(trial.number, self.kept)

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        """Take in a trial that just ended; its checkpoint is of no more use."""
        pushed_out = self.kept | {trial.number}
        self._rank(trial)
        for number in pushed_out:
            if number == trial.number or number not in self.kept:
                self._drop(number, self.kept)

    def _rank(self, trial: FrozenTrial) -> None:
        if trial.state.name != "COMPLETE" or not self._count:
            return
        self._best = sorted([*self._best, trial], key=_rank)[: self._count]
        self._front = with_point(self._front, trial, self._metrics)

    def _drop(self, number: int, kept: set[int]) -> None:
        self._folder.drop(number, model=self._count is not None and number not in kept)


def with_point(front: Sequence[FrozenTrial], trial: FrozenTrial, metrics: Sequence[str]) -> list[FrozenTrial]:
    """The trials of a Pareto front and one more that no other of them dominates; equal ones stay.

    A trial dominates another if it is at least as good in all metrics and better in one. One that lacks a metric is
    on no front.

    Args:
        front: trials that do not dominate one another.
        trial: the one more.
        metrics: names in a trial's ``metrics``, all to be maximised.
    """
    point = _point(trial, metrics)
    if point is None:
        return list(front)
    points = [(other, _point(other, metrics) or ()) for other in front]
    if any(_dominates(theirs, point) for _, theirs in points):
        return list(front)
    return [*(other for other, theirs in points if not _dominates(point, theirs)), trial]


def kept_count(text: str) -> int | None:
    """How many models a user wants kept besides the front: a whole number, or None for ``all``."""
    if text == "all":
        return None
    if text.isascii() and text.isdigit() and len(text) < _DIGITS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text[:_DIGITS]!r}: a whole number from 0, or all, is needed")


def made_again(study: Path, numbers: Iterable[int], has: Callable[[int], bool] | None = None) -> str:
    """Names which of the trials have no model, with a command that makes one again; empty where all have theirs.

    Args:
        study: its folder, with the configuration of every trial.
        numbers: of the trials.
        has: whether a trial has its model, where that is not in the folder.
    """
    trials = study / "trials"
    found = has or (lambda number: (trials / f"{number:05d}" / "best").is_dir())
    gone = [number for number in sorted(numbers) if not found(number)]
    if not gone:
        return ""
    return f"{', '.join(map(str, gone))}; make one again: {repeating(study, gone[0])}"


def repeating(study: Path, number: int) -> str:
    """The command that trains a trial once more, outside the search."""
    config = study / "trials" / f"{number:05d}" / "config.yaml"
    return f"python -m minbert.train --config {shlex.quote(str(config))} --out DIR"


def _rank(trial: FrozenTrial) -> tuple[float, int]:
    """Best first; of equal ones the earlier."""
    return -(trial.value or 0.0), trial.number


def _point(trial: FrozenTrial, metrics: Sequence[str]) -> tuple[float, ...] | None:
    found = trial.user_attrs.get("metrics", {})
    return tuple(found[name] for name in metrics) if all(name in found for name in metrics) else None


def _dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    return first != second and all(mine >= theirs for mine, theirs in zip(first, second, strict=True))
