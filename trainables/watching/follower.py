"""Follows a search as it is told what happens, and says at any moment what it has come to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minbert.history import Record
from minbert.now import Now
from trainables.studies.time_share import TimeShare
from trainables.studies.watcher import Watcher
from trainables.watching.epochs import read_epochs, read_underway
from trainables.watching.overview import Overview
from trainables.watching.running_trials import Running, running_trial, telling
from trainables.watching.study_state import tallied, trial_folder

if TYPE_CHECKING:  # slow to import: optuna
    from optuna.trial import FrozenTrial

    from trainables.studies.ledger import Issue, Ledger


_SHARE = 0.02
"""Of the time that looking into the folders of running trials may take: on a network file system of many, long."""


class _Followed:
    """A trial that was handed out."""

    def __init__(self, issue: Issue) -> None:
        self.issue = issue
        self.began = self.noted = time.time()
        self.records: list[Record] = []
        self.reported: set[tuple[str, int]] = set()
        self.now: Now | None = None
        self._changed = 0.0

    def look(self, folder: Path) -> None:
        """Read what its own folder tells, where that is at hand: a trial reports only with the next score."""
        self.now = read_underway(folder, self.began)
        try:
            changed = (folder / "history.jsonl").stat().st_mtime
        except OSError:
            return
        if changed != self._changed:
            self._changed = changed
            written = read_epochs(folder / "history.jsonl")
            if len(written) > len(self.records):
                self.records, self.noted = written, max(changed, self.began)

    def running(self, others: Sequence[Record]) -> Running:
        """It as it stands; ``others``: epochs of other trials that tell how long those of its last stage take."""
        issue, now = self.issue, time.time()
        elapsed, since = now - self.began, now - self.noted
        return running_trial(
            issue.number, issue.run, issue.config, self.records, elapsed, since, self.now, others
        )


class Follower(Watcher):
    """Keeps account of a search for those who show it.

    Args:
        study: the study's folder.
        name: of the study.
        tasks: task names.
        ledger: the study's account, which holds what earlier starts left.
    """

    def __init__(self, study: Path, name: str, tasks: Sequence[str], ledger: Ledger) -> None:
        self._study, self._ledger = study, ledger
        self._tally = tallied(study, name, list(tasks), ledger.trials())
        self._since = time.time()
        self._running: dict[int, _Followed] = {}
        self._waiting: set[int] = set()
        self._shown: dict[int, Running] = {}
        self._looking = TimeShare(_SHARE)

    def overview(self) -> Overview:
        """What the search has come to."""
        if self._looking.due:
            with self._looking.taken():
                for number, followed in self._running.items():
                    followed.look(trial_folder(self._study, number))
                self._shown.clear()
        return self._tally.overview(self._ledger.target, self._now(), self._waiting, self._since)

    def _now(self) -> Iterator[Running]:
        """The running trials, as they were when last looked at or told of."""
        others = self._telling() if self._running.keys() - self._shown.keys() else []
        for number, followed in self._running.items():
            if number not in self._shown:
                self._shown[number] = followed.running(others)
            yield self._shown[number]

    def _telling(self) -> list[Record]:
        """The newest epoch of every running trial that tells how long those of the others take."""
        found = (telling(followed.records[-1:]) for followed in self._running.values())
        return [record for records in found for record in records]

    def at(self, number: int, record: Record) -> Running:
        """A trial as it stood after one of its epochs."""
        followed = self._running[number]
        now = time.time()
        return running_trial(
            number, followed.issue.run, followed.issue.config, [record], now - followed.began, 0.0
        )

    def is_told(self, number: int, record: Record) -> bool:
        """Whether an epoch was reported before: a worker that takes over from a lost one reports all once more."""
        return _place(record) in self._running[number].reported

    def waits(self, issue: Issue) -> None:
        self._waiting.add(issue.number)

    def issued(self, issue: Issue) -> None:
        self._waiting.discard(issue.number)
        self._running[issue.number] = _Followed(issue)
        self._shown.pop(issue.number, None)

    def reported(self, issue: Issue, record: Record) -> None:
        followed = self._running[issue.number]
        followed.reported.add(_place(record))
        if _place(record) not in map(_place, followed.records):
            followed.records.append(record)
            followed.noted = time.time()
        self._shown.pop(issue.number, None)

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        followed = self._running.pop(issue.number)
        self._shown.pop(issue.number, None)
        self._tally.add(trial, (followed.began, time.time()))


def _place(record: Record) -> tuple[str, int]:
    return record["stage"], record["epoch"]
