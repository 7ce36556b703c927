"""Ray Tune's part of a search: it starts trials in free slots and carries their results to the searcher."""

from __future__ import annotations

import functools
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from ray import tune

from trainables.machines.elsewhere import requested
from trainables.machines.placement import Placement
from trainables.running.end_of_search import EndOfSearch
from trainables.running.lost_nodes import UncountedLosses
from trainables.running.searcher import EndedTrials, LedgerSearcher, LeftOutOfSnapshots
from trainables.running.successive_halving import SuccessiveHalving
from trainables.spaces.space import Space
from trainables.studies.ledger import Ledger
from trainables.watching.progress import Progress

_MOST_ISSUES = 10**9  # no bound: the searcher says when there are no more
_RESTARTS = 30
"""Of a trial, but those for a lost node; without a checkpoint in between it is given up much earlier."""


def tune_trials(
    trainable: type[tune.Trainable],
    place: Path,
    placement: Placement,
    slots: int,
    ledger: Ledger,
    searcher: LedgerSearcher,
    scheduler: SuccessiveHalving | None,
    stopper: EndOfSearch,
    progress: Progress,
) -> None:
    """Run trials until the searcher has no more, or the search is ended.

    Args:
        trainable: what trains a trial.
        place: a folder of this start's own, for Tune's files; it is removed at the end.
        placement: what a trial gets, and how many the cluster has room for.
        slots: trials at a time.
        ledger: the study's account.
        searcher: hands out trials and takes their results.
        scheduler: stops weak trials early; None: nothing does.
        stopper: ends the search.
        progress: the display.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    if slots > placement.slots_now:  # a cluster that grows is told at once of all that it shall grow for
        os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(slots))
    tune.Tuner(
        tune.with_resources(trainable, functools.partial(requested, placement.trial)),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=_MOST_ISSUES,  # the searcher says when there are no more
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_dirname_creator=_trial_folder_name,
        ),
        run_config=tune.RunConfig(
            name=place.name,
            storage_path=str(place.parent.absolute()),
            failure_config=tune.FailureConfig(max_failures=_RESTARTS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_Tick(progress, stopper), EndedTrials(), UncountedLosses()],
            stop=stopper,
            verbose=0,
        ),
    ).fit()
    shutil.rmtree(place.parent, ignore_errors=True)


def early_stopping(space: Space, ledger: Ledger, searcher: LedgerSearcher) -> SuccessiveHalving | None:
    """What stops weak trials of a space early; None where it asks for nothing of the kind."""
    settings = space.settings.early_stopping
    if settings is None:
        return None
    epochs = max(config.running_stages()[-1][1].last_epoch for config in space.representatives)
    return SuccessiveHalving(
        settings, epochs, ledger.histories(), ledger.stops(), searcher.number_of, searcher.stopping
    )


def _trial_folder_name(trial: Any) -> str:
    return str(trial.trial_id)


class _Tick(LeftOutOfSnapshots, tune.Callback):
    """Lets the progress display draw while Tune runs, and the search see who still runs when it ends."""

    def __init__(self, progress: Progress, stopper: EndOfSearch) -> None:
        self._progress, self._stopper = progress, stopper

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._progress.tick()
        self._stopper.look(trials)
