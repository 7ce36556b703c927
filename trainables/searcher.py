"""Between Ray Tune and the ledger: hands out trials, takes results, stops weak ones early."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import Searcher

from trainables.ledger import Issue, Ledger
from trainables.settings import EarlyStopping
from trainables.trainable import STORAGE

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
        watch: is told of every issue, result and end.

    Attributes:
        closing: whether the search is being ended.
        storage_failure: why a trial could not be written, which ends the search; else empty.
    """

    def __init__(self, ledger: Ledger, job: Callable[[Issue], dict[str, Any]], watch: Watcher) -> None:
        super().__init__(metric="score", mode="max")
        self._ledger, self._job, self._watch = ledger, job, watch
        self._issued: dict[str, Issue] = {}
        self.closing = False
        self.storage_failure = ""

    def suggest(self, trial_id: str) -> Any:
        """Issue a trial; None while none is due, FINISHED when the target is reached."""
        if self.closing or self.storage_failure or self._ledger.stopped_by:
            return Searcher.FINISHED
        issue = self._ledger.next()
        if issue is None:
            done = self._ledger.done or not self._issued
            return Searcher.FINISHED if done else None
        self._issued[trial_id] = issue
        self._watch.issued(issue)
        return self._job(issue)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note the epochs of a result."""
        self._note(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Close a trial, unless the whole search is being ended: then it stays to be continued."""
        issue = self._issued.pop(trial_id)
        result = result or {}
        if result.get("attempt"):
            self._ledger.started_on_a_worker(issue.number, result["attempt"])
        if result.get("done") and not error:
            self._note_records(issue, result)
        if error:
            self._ledger.finish(
                issue.number, "failed", "lost", "its worker died again and again, or could not be started"
            )
        elif result.get("cause") == STORAGE:
            self.storage_failure = result.get("message", "")
            return
        elif result.get("cause"):
            self._ledger.finish(issue.number, "failed", result["cause"], result.get("message", ""))
        elif result.get("finished"):
            self._ledger.finish(issue.number, "complete")
        elif self.closing:
            return
        else:
            self._ledger.finish(issue.number, "pruned")
        self._watch.ended(issue)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Tune's snapshots are not used."""

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshots are not used."""

    def restore(self, checkpoint_path: str) -> None:
        """Tune's snapshots are not used."""

    def _note(self, trial_id: str, result: dict[str, Any]) -> None:
        self._note_records(self._issued[trial_id], result)

    def _note_records(self, issue: Issue, result: dict[str, Any]) -> None:
        for record in result.pop("records", []):
            self._ledger.report(issue.number, record)
            self._watch.reported(issue, record)


class Watcher:
    """Is told what happens in a search; this one does nothing with it."""

    def issued(self, issue: Issue) -> None:
        """A trial was handed out."""

    def reported(self, issue: Issue, record: dict[str, Any]) -> None:
        """A trial finished an epoch."""

    def ended(self, issue: Issue) -> None:
        """A trial was closed."""


class SuccessiveHalving(AsyncHyperBandScheduler):
    """ASHA (Li et al. 2020) whose rungs begin with what earlier starts of the study recorded.

    Args:
        settings: grace period and reduction factor.
        epochs: epochs of the longest trial.
        histories: scores by epoch of earlier trials.
    """

    def __init__(self, settings: EarlyStopping, epochs: int, histories: list[dict[int, float]]) -> None:
        super().__init__(
            time_attr="epoch",
            metric="score",
            mode="max",
            grace_period=settings.grace_epochs,
            max_t=max(epochs, settings.grace_epochs),
            reduction_factor=settings.reduction,
            stop_last_trials=False,
        )
        for number, history in enumerate(histories):
            past: Any = SimpleNamespace(trial_id=f"earlier-{number}")
            for epoch, score in sorted(history.items()):
                self._brackets[0].on_result(past, epoch, score)


class EndOfSearch(LeftOutOfSnapshots, tune.Stopper):
    """Ends the whole search when asked to; running trials keep their state for the next start."""

    def __init__(self, searcher: LedgerSearcher, due: Callable[[], bool]) -> None:
        self._searcher, self._due = searcher, due

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether it is time to end."""
        if self._due() or self._searcher.storage_failure:
            self._searcher.closing = True
        return self._searcher.closing
