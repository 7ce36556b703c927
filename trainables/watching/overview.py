"""What a study has come to at one moment: the live table of a search and ``trainables.status`` both show this."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.studies.kept_models import with_point
from trainables.studies.time_share import TimeShare
from trainables.watching.running_trials import Running
from trainables.watching.time_left import TimeLeft, Underway, time_left

if TYPE_CHECKING:  # slow to import: optuna
    from optuna.trial import FrozenTrial


SELECT = "select/"
"""Trials are compared, and shown while a search runs, by their scores on the select half alone."""
_SHARE = 0.02
"""Of the time that guessing how long a study still takes may take: the more slots, the longer."""
_NEWEST = 200
_AT_ONCE_OF = 20
"""The newest trials that tell how many run at a time."""

Span = tuple[float, float]
"""When a trial started on a worker and ended, in seconds since 1970."""


@dataclass(frozen=True)
class Best:
    """The best complete trial: its number, score, and metric of each task, on the select half.

    Attributes:
        constant: tasks that it answers with one and the same answer for every example.
    """

    number: int
    score: float
    tasks: Mapping[str, float]
    constant: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """The trial that failed last."""

    number: int
    cause: str
    message: str


@dataclass(frozen=True)
class Overview:
    """A study at one moment.

    Attributes:
        name: of the study.
        tasks: whose scores there are.
        target: trials that are to run in all.
        complete, pruned, failed: trials that ended so; pruned ones were stopped early.
        causes: how many failed for which cause.
        failure: the last of them.
        best: the best complete trial.
        front: numbers of the trials that no other one beats in every task.
        sharing: trials that took stages which others had made, and ``saved``: the seconds that would have cost.
        taken_over: trials of the study that this one is a fork of.
        running: trials that run.
        waiting: numbers of trials that were asked for and wait for a stage that another one makes.
        left: time until all are done.
    """

    name: str
    tasks: tuple[str, ...]
    target: int
    complete: int
    pruned: int
    failed: int
    causes: Mapping[str, int]
    failure: Failure | None
    best: Best | None
    front: tuple[int, ...]
    sharing: int
    saved: float
    taken_over: int
    running: tuple[Running, ...]
    waiting: tuple[int, ...]
    left: TimeLeft | None

    @property
    def done(self) -> int:
        """Trials that ended."""
        return self.complete + self.pruned + self.failed


class Tally:
    """Counts the trials that ended, one by one, so that a long study costs no more than a short one.

    Args:
        name: of the study.
        tasks: task names.
    """

    def __init__(self, name: str, tasks: Sequence[str]) -> None:
        self._name, self._tasks = name, tuple(tasks)
        self._states: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._failure: Failure | None = None
        self._best: Best | None = None
        self._front: list[FrozenTrial] = []
        self._sharing, self._saved, self._taken_over = 0, 0.0, 0
        self._spans: deque[Span] = deque(maxlen=_NEWEST)
        self._left: TimeLeft | None = None
        self._guessing = TimeShare(_SHARE)

    def add(self, trial: FrozenTrial, span: Span | None) -> None:
        """Take in a trial that ended; ``span``: None where it did not run in this study."""
        state, told = trial.state.name, trial.user_attrs
        self._states[state] += 1
        if state == "FAIL":
            self._failure = Failure(trial.number, told.get("cause") or "unknown", told.get("message") or "")
            self._causes[self._failure.cause] += 1
        if state == "COMPLETE":
            self._rank(trial)
        if "forked_from" in told:
            self._taken_over += 1
            return
        saved = (told.get("cost_alone") or 0.0) - (told.get("cost_paid") or 0.0)
        if saved > 0:
            self._sharing += 1
            self._saved += saved
        if span is not None:
            self._spans.append(span)

    def overview(
        self, target: int, running: Iterable[Running], waiting: Iterable[int], since: float | None = None
    ) -> Overview:
        """The study as it stands.

        Args:
            target: trials in all.
            running, waiting: those that have not ended.
            since: when the driver started that is at work, in seconds since 1970; None: none is.
        """
        runs = tuple(sorted(running, key=lambda trial: trial.number))
        done = self._states.total()
        spans = [span for span in self._spans if since is None or span[0] >= since]
        slots = max(len(runs) if since is not None else 0, _at_once(spans[-_AT_ONCE_OF:])) or len(runs)
        underway = [Underway(trial.elapsed, trial.left, trial.guessed) for trial in runs]
        durations = [end - begin for begin, end in self._spans]
        to_start = max(target - done - len(runs), 0)
        return Overview(
            self._name,
            self._tasks,
            target,
            self._states["COMPLETE"],
            self._states["PRUNED"],
            self._states["FAIL"],
            dict(self._causes.most_common()),
            self._failure,
            self._best,
            tuple(sorted(trial.number for trial in self._front)),
            self._sharing,
            self._saved,
            self._taken_over,
            runs,
            tuple(sorted(waiting)),
            self._time_left(durations, underway, to_start, slots),
        )

    def _time_left(
        self, durations: Sequence[float], running: Sequence[Underway], to_start: int, slots: int
    ) -> TimeLeft | None:
        """The last guess stays for a moment, unless there is a better one now."""
        over = not running and to_start <= 0
        if self._left is None or self._left.rough or over or self._guessing.due:
            with self._guessing.taken():
                self._left = time_left(durations, running, to_start, slots)
        return self._left

    def _rank(self, trial: FrozenTrial) -> None:
        metrics = trial.user_attrs.get("metrics", {})
        tasks = {task: metrics[SELECT + task] for task in self._tasks if SELECT + task in metrics}
        score = trial.value
        if score is not None and (self._best is None or score > self._best.score):
            self._best = Best(trial.number, score, tasks, tuple(trial.user_attrs.get("constant") or ()))
        self._front = with_point(self._front, trial, [SELECT + task for task in self._tasks])


def _at_once(spans: Sequence[Span]) -> int:
    """How many of the trials ran at the same moment, at most."""
    changes: list[tuple[float, int]] = [change for begin, end in spans for change in ((begin, 1), (end, -1))]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most
