"""The scores that a study's effects are computed from: final ones, or those of a common epoch.

A search that stops trials early leaves final scores of its survivors only. Effects over these
would be wrong, since a level survives by what it did; so they are taken at the latest epoch
that nearly all trials reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.study import Study

ENOUGH = 0.9
"""Share of the finished trials that must have reached the common epoch."""
FINISHED = ("complete", "pruned")
NO_SCORES = "histories lack scored epochs, so effects cannot be computed"


@dataclass(frozen=True)
class Compared:
    """The trials whose scores can be compared, and how long these had trained."""

    trials: pd.DataFrame
    """Rows of ``Study.trials``, their metrics those of ``epoch``."""
    epoch: int | None = None
    """The common epoch; None when the metrics are the final ones."""
    last: int = 0
    """The last epoch that any trial reached."""
    finished: int = 0
    """How many trials were complete or stopped early, of which ``trials`` reached the epoch."""
    first_runs: bool = False
    """Whether replicates were left out."""
    reason: str = ""
    """Why ``trials`` are none though some finished."""

    @property
    def when(self) -> str:
        """``after epoch 1 of 3``; empty for final scores."""
        return "" if self.epoch is None else f"after epoch {self.epoch} of {self.last}"

    @property
    def description(self) -> str:
        """Which scores these are, in a sentence or two."""
        if self.reason:
            return f"{self.reason[0].upper()}{self.reason[1:]}."
        if self.epoch is None:
            return "Final scores of all complete trials; no trial was stopped early."
        reached = len(self.trials)
        which = (
            f"all {reached} trials, whether stopped early or not, so that surviving selects nothing"
            if reached == self.finished
            else f"the {reached} of {self.finished} trials that reached it, stopped early later or not"
        )
        longer = "; at full length the effects may differ" if self.epoch < self.last else ""
        first = (
            " Only the first run of a configuration counts, since only survivors were run again."
            if self.first_runs
            else ""
        )
        return f"Scores {self.when} of {which}{longer}.{first}"


def at_common_epoch(study: Study) -> Compared:
    """Return the finished trials with their final metrics or, if any was stopped early, with those
    of the latest epoch that at least ``ENOUGH`` of them reached; those that did not are left out.

    Running and failed trials do not count. Replicates count only among final scores: they are run
    for survivors alone, and would even out the luck of these but not that of the stopped ones.
    """
    finished = study.trials[study.trials["state"].isin(FINISHED)]
    if not (finished["state"] == "pruned").any():
        return Compared(finished, finished=len(finished))
    first = finished[finished["replicate"] == 0]
    epochs = _evaluated(study, first)
    reached, counts = np.unique(epochs["epoch"].to_numpy(np.int64), return_counts=True)
    if not len(reached):
        return Compared(first.head(0), finished=len(first), reason=NO_SCORES)
    enough = reached[counts / len(first) >= ENOUGH]
    epoch = int(enough.max() if len(enough) else reached[counts.argmax()])
    own = epochs[epochs["epoch"] == epoch].set_index("number")[study.metric_columns]
    trials = first.drop(columns=study.metric_columns).join(own.astype("float64"), on="number", how="inner")
    trials = trials.assign(score=trials["select/score"])
    return Compared(trials, epoch, int(reached.max()), len(first), len(first) < len(finished))


def _evaluated(study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    """The epochs of ``trials`` that have scores, each once."""
    history = study.scored_epochs.reindex(columns=["number", "epoch", *study.metric_columns])
    known = history[history["number"].isin(trials["number"])]
    return known.drop_duplicates(["number", "epoch"], keep="last")
