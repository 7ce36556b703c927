"""Trials that give every example of a task one answer: their scores look like others, and say nothing."""

from __future__ import annotations

from analysis.study import Study


def counted_constants(study: Study) -> dict[int, list[str]]:
    """The tasks that complete trials answered alike on all of dev at the epoch that counts, by the trial's number."""
    trials = study.trials.loc[study.trials["state"] == "complete", ["number", "best_epoch"]]
    epochs = study.scored_epochs.reindex(columns=["number", "epoch", "constant"])
    counted = trials.merge(epochs, left_on=["number", "best_epoch"], right_on=["number", "epoch"])
    told = zip(counted["number"], counted["constant"], strict=True)
    return {int(number): list(tasks) for number, tasks in told if isinstance(tasks, list) and tasks}
