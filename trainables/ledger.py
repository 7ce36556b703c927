"""The account of a study's trials: what to run next, what came of it.

Everything stands in Optuna's journal before it is acted on, so a driver that dies at any
moment leaves a study that the next one continues: unfinished trials are issued again with
their stored parameters, finished ones stay.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from minbert.canonical import config_id
from minbert.config import TrainConfig
from minbert.history import Record, summarise
from minbert.seeds import stream_seed
from trainables.spaces import Space

EQUAL_FAILURES = 5
"""A study stops when this many trials in a row fail for the same cause."""

_ABANDONED = "abandoned"  # killed while being asked for: holds no complete configuration, counts nowhere
Outcome = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Issue:
    """A trial to run.

    Attributes:
        number: its number in the study.
        config: what to train.
        replicate: 0 for a new configuration, above for a repetition with another seed.
    """

    number: int
    config: TrainConfig
    replicate: int


class Ledger:
    """Asks for configurations and records results.

    Args:
        study: the Optuna study of the journal.
        space: where configurations come from.
        pinned: leaves that hold for all trials (sources, numerics).
        seed: the study's seed.
        trials, replicates: runs in all, and runs of each configuration.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        pinned: dict[str, Any],
        seed: int,
        trials: int,
        replicates: int,
    ) -> None:
        self._study, self._space, self._pinned, self._seed = study, space, pinned, seed
        self.target, self._replicates = trials, replicates
        self._open: dict[int, Trial] = {}
        self._reported: dict[int, list[Record]] = {}
        self._in_journal: dict[int, set[int]] = {}
        self._again: deque[FrozenTrial] = deque()
        self._due: deque[tuple[dict[str, Any], int]] = deque()
        self._causes: list[str] = []
        self._take_stock()

    def next(self) -> Issue | None:
        """The next trial to run, or None when none is left to hand out now."""
        if self._again:
            return self._issue_again(self._again.popleft())
        if self.started >= self.target or self.stopped_by:
            return None
        params, replicate = self._due.popleft() if self._due else (None, 0)
        if params is not None:
            self._study.enqueue_trial(params, user_attrs={"replicate": replicate})
        trial = self._study.ask()
        drawn = self._space.ask(trial)
        return self._open_trial(trial, self._configure(drawn, replicate), replicate)

    def report(self, number: int, record: Record) -> None:
        """Note an epoch of a running trial; a restarted worker reports its earlier epochs once more."""
        records = self._reported.setdefault(number, [])
        if any((seen["stage"], seen["epoch"]) == (record["stage"], record["epoch"]) for seen in records):
            return
        records.append(record)
        if "select" in record and record["epoch"] not in self._in_journal.get(number, ()):
            self._open[number].report(record["select"]["score"], record["epoch"])

    def finish(self, number: int, outcome: Outcome, cause: str = "", message: str = "") -> None:
        """Close a trial: state, metrics of its best epoch, costs, cause of a failure."""
        trial, records = self._open.pop(number), self._reported.pop(number, [])
        if any("select" in record for record in records):
            self._note_summary(trial, records)
        elif outcome != "failed":
            outcome, cause, message = "failed", "no_result", "the trial ended without a score"
        if outcome == "failed":
            trial.set_user_attr("cause", cause)
            trial.set_user_attr("message", message[:500])
            self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        elif outcome == "pruned":
            self._study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            best = max(record["select"]["score"] for record in records if "select" in record)
            self._study.tell(trial, best, skip_if_finished=True)
            self._plan_replicate(trial)
        self._causes.append(cause if outcome == "failed" else "")

    @property
    def stopped_by(self) -> str:
        """The cause that ended the study early: the same failure several times in a row; else empty."""
        last = self._causes[-EQUAL_FAILURES:]
        same = len(last) == EQUAL_FAILURES and len(set(last)) == 1
        return last[-1] if same else ""

    @property
    def started(self) -> int:
        """Trials that count against the target, running ones included."""
        return len(self.trials())

    @property
    def unfinished(self) -> int:
        """Trials that are still to run or running."""
        return self.target - sum(trial.state.is_finished() for trial in self.trials())

    def trials(self) -> list[FrozenTrial]:
        """All trials that count."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if not _ignored(trial)]

    def histories(self) -> list[dict[int, float]]:
        """Scores by epoch of every finished trial that has any; a running one reports its own again."""
        return [trial.intermediate_values for trial in self.trials() if trial.state.is_finished()]

    def _take_stock(self) -> None:
        """Sort what an earlier driver left: trials to issue again, torn ones to close, replicates due."""
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state is TrialState.WAITING or (
                trial.state is TrialState.RUNNING and "config_id" not in trial.user_attrs
            ):
                self._abandon(trial)
            elif trial.state is TrialState.RUNNING:
                self._again.append(trial)
        by_config: dict[str, list[FrozenTrial]] = {}
        for trial in self.trials():
            by_config.setdefault(trial.user_attrs["config_id"], []).append(trial)
        for group in by_config.values():
            first = group[0]
            if first.state is TrialState.COMPLETE:
                done = {trial.user_attrs["replicate"] for trial in group}
                missing = [number for number in range(1, self._replicates) if number not in done]
                self._due.extend((first.params, number) for number in missing)

    def _abandon(self, frozen: FrozenTrial) -> None:
        if frozen.state is TrialState.WAITING:
            self._study.ask()  # the oldest waiting trial becomes the running one that is closed here
        trial = Trial(self._study, frozen._trial_id)
        trial.set_user_attr(_ABANDONED, True)
        self._study.tell(frozen.number, state=TrialState.FAIL, skip_if_finished=True)

    def _issue_again(self, frozen: FrozenTrial) -> Issue:
        replicate = frozen.user_attrs["replicate"]
        config = self._configure(frozen.params, replicate)
        self._open[frozen.number] = Trial(self._study, frozen._trial_id)
        self._in_journal[frozen.number] = set(frozen.intermediate_values)
        return Issue(frozen.number, config, replicate)

    def _open_trial(self, trial: Trial, config: TrainConfig, replicate: int) -> Issue:
        trial.set_user_attr("replicate", replicate)
        trial.set_user_attr("seed", config.seed)
        trial.set_user_attr("config_id", config_id(config))  # last: from here on the trial is whole
        self._open[trial.number] = trial
        return Issue(trial.number, config, replicate)

    def _configure(self, params: dict[str, Any], replicate: int) -> TrainConfig:
        config = self._space.config(params)
        seed = stream_seed(self._seed, "replicate", replicate)
        return config.model_copy(update={**self._pinned, "seed": seed})

    def _note_summary(self, trial: Trial, records: list[Record]) -> None:
        summary = summarise(records)
        trial.set_user_attr("best_epoch", summary.best_epoch)
        trial.set_user_attr("epochs", summary.epochs)
        trial.set_user_attr("metrics", {k: v for k, v in summary.metrics.items() if math.isfinite(v)})
        trial.set_user_attr("cost_paid", round(summary.cost_paid, 4))
        trial.set_user_attr("cost_alone", round(summary.cost_alone, 4))

    def _plan_replicate(self, trial: Trial) -> None:
        """A configuration that finished its first run gets its other replicates."""
        attributes = trial.user_attrs
        if attributes["replicate"] == 0:
            self._due.extend((trial.params, number) for number in range(1, self._replicates))


def build_sampler(space: Space, seed: int, trials_so_far: int) -> optuna.samplers.BaseSampler:
    """The sampler of a space; its seed moves on with the study, so that a restart draws new points."""
    settings = space.settings
    if settings.sampler == "random":
        return optuna.samplers.RandomSampler(seed=(seed + trials_so_far) % 2**32)
    return optuna.samplers.TPESampler(
        n_startup_trials=settings.startup_trials,
        multivariate=True,
        group=True,
        constant_liar=True,
        seed=(seed + trials_so_far) % 2**32,
    )


def _ignored(trial: FrozenTrial) -> bool:
    whole = "config_id" in trial.user_attrs
    return not whole or bool(trial.user_attrs.get(_ABANDONED))
