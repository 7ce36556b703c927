"""Between Ray Tune and the ledger: hands out trials and takes their results."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from minbert.files.storage import told
from minbert.remote.journal_segments import TakenOver
from trainables.machines.elsewhere import TRIES, TURNED_AWAY, Elsewhere
from trainables.running.trainable import STORAGE
from trainables.studies.ledger import Issue, Ledger
from trainables.studies.locks import still_held
from trainables.studies.watcher import Watcher

logging.getLogger("ray.tune.search").setLevel(logging.ERROR)


class LeftOutOfSnapshots:
    """Mixin for what is handed to Tune, which pickles all it is given: the driver's live objects stay behind."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class LedgerSearcher(LeftOutOfSnapshots, Searcher):
    """Lets Tune run what the ledger issues. Durable state is the ledger's; Tune's snapshots hold nothing.

    Args:
        ledger: the study's account.
        job: turns an issue into a trainable's config.
        watchers: are told of every issue, result and end.
        may_start: whether a trial may begin now; else it waits without a slot.
        most_waiting: so many trials may wait; more are not asked for.
        elsewhere: is told of trials that a node could not run, which are issued again; None: they have failed.

    Attributes:
        closing: whether the search is being ended.
        storage_failure: why a trial could not be written, which ends the search; else empty.
        taken_over: that failure, where it is that another search goes on with the study.
    """

    def __init__(
        self,
        ledger: Ledger,
        job: Callable[[Issue], dict[str, Any]],
        *watchers: Watcher,
        may_start: Callable[[Issue], bool] = lambda issue: True,
        most_waiting: int = 1,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        super().__init__(metric="score", mode="max")
        self._ledger, self._job, self._watchers = ledger, job, watchers
        self._may_start, self._most_waiting = may_start, most_waiting
        self._issued: dict[str, Issue] = {}
        self._waiting: list[Issue] = []
        self._elsewhere, self._issued_again = elsewhere, list[Issue]()
        self._losses, self._trained = Counter[int](), set[int]()
        self.closing = False
        self.storage_failure = ""
        self.taken_over: TakenOver | None = None

    def suggest(self, trial_id: str) -> Any:
        """Issue a trial; None while none is due, FINISHED when the target is reached."""
        if self.closing or self.storage_failure or self._ledger.stopped_by:
            return Searcher.FINISHED
        issue = None
        with self._noting():
            issue = self._next()
        if self.storage_failure:
            return Searcher.FINISHED
        if issue is None:
            done = not self._issued_again and (self._ledger.done or not self._issued)
            return Searcher.FINISHED if done else None
        self._issued[trial_id] = issue
        with self._noting():
            for watcher in self._watchers:
                watcher.issued(issue)
            return self._job(issue)
        return Searcher.FINISHED

    def _next(self) -> Issue | None:
        """The first trial that may start: one that waited, or else a new one; those that may not yet wait."""
        for issue in self._issued_again:
            if self._elsewhere is None or self._elsewhere.may_go(issue.number):
                self._issued_again.remove(issue)
                return issue
        if self._issued_again:  # no node is known that others could run on
            return None
        for issue in self._waiting:
            if self._may_start(issue):
                self._waiting.remove(issue)
                return issue
        while len(self._waiting) < self._most_waiting:
            new = self._ledger.next()
            if new is None or self._may_start(new):
                return new
            self._waiting.append(new)
            for watcher in self._watchers:
                watcher.waits(new)
        return None

    def make_sure(self, study: Path) -> None:
        """End the search where another one has taken its study over, before that shows in the journal."""
        with self._noting():
            still_held(study)

    def number_of(self, trial_id: str) -> int:
        """The number in the study of a trial that was issued and has not ended."""
        return self._issued[trial_id].number

    def stopping(self, trial_id: str, epoch: int) -> None:
        """Note that a trial ends with an epoch that is not noted yet."""
        with self._noting():
            self._ledger.stopping(self.number_of(trial_id), epoch)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note the epochs of a result."""
        issue = self._issued[trial_id]
        self._trained.add(issue.number)
        self._losses.pop(issue.number, None)
        if self._elsewhere:
            self._elsewhere.trains(issue.number)
        with self._noting():
            self._note_records(issue, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Close a trial, unless the whole search is being ended: then it stays to be continued."""
        issue = self._issued.pop(trial_id)
        if self._elsewhere:
            self._elsewhere.ended(issue.number)
        with self._noting():
            self._close(issue, result or {}, error)

    def _close(self, issue: Issue, result: dict[str, Any], error: bool) -> None:
        if self.storage_failure or (self.closing and (error or result.get("cause") in TURNED_AWAY)):
            return
        if self._elsewhere and result.get("cause") in TURNED_AWAY:
            self._elsewhere.turned_away(issue.number, result["node"], result["cause"], result["message"])
            self._issued_again.append(issue)
            return
        if error and self._is_lost_to_tune_alone(issue):
            return
        if result.get("attempt"):
            self._ledger.started_on_a_worker(issue.number, result["attempt"])
        if result.get("done") and not error:
            self._note_records(issue, result)
        if error:
            trial = self._ledger.finish(
                issue.number, "failed", "lost", "its worker died again and again, or could not be started"
            )
        elif result.get("cause") == STORAGE:
            self.storage_failure = result.get("message", "")
            return
        elif result.get("cause"):
            trial = self._ledger.finish(issue.number, "failed", result["cause"], result.get("message", ""))
        elif result.get("finished"):
            trial = self._ledger.finish(issue.number, "complete")
        elif self.closing:
            return
        else:
            trial = self._ledger.finish(issue.number, "pruned")
        for watcher in self._watchers:
            watcher.ended(issue, trial)

    def _is_lost_to_tune_alone(self, issue: Issue) -> bool:
        """Whether a trial that Tune has given up is none of the failed ones: it is issued again, or the search ends.

        Tune starts it anew by itself, but hears twice of a worker that dies while it is handed its next trial, and then
        fails that one (2.60). A trial whose workers die again and again fails by itself as it begins; where none
        can even begin, the machines are to blame.
        """
        self._losses[issue.number] += 1
        if self._losses[issue.number] < TRIES:
            self._issued_again.append(issue)
            return True
        if self._elsewhere and issue.number not in self._trained:
            self._elsewhere.never_began(issue.number)
            return True
        return False

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Tune's snapshots are not used."""

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshots are not used."""

    def restore(self, checkpoint_path: str) -> None:
        """Tune's snapshots are not used."""

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """End the search where its journal cannot be written: Tune would hold that against the trial."""
        try:
            yield
        except OSError as error:
            self.storage_failure = told(error)
            if isinstance(error, TakenOver):
                self.taken_over = error

    def _note_records(self, issue: Issue, result: dict[str, Any]) -> None:
        for record in result.pop("records", []):
            self._ledger.report(issue.number, record)
            for watcher in self._watchers:
                watcher.reported(issue, record)


class EndedTrials(LeftOutOfSnapshots, tune.Callback):
    """Empties what Tune keeps of each trial until its end, which nothing asks for once the trial has ended."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._empty(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._empty(trial)

    def _empty(self, trial: Any) -> None:
        trial.config.clear()
        trial.evaluated_params.clear()
        trial.set_experiment_tag("")
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()
        trial.run_metadata.last_result = {"done": True}
        trial._default_result_or_future = None
