"""The account of a study's trials: what to run next, what came of it.

Everything stands in Optuna's journal before it is acted on, so a driver that dies at any
moment leaves a study that the next one continues: unfinished trials are issued again with
their stored parameters, finished ones stay.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from minbert.canonical import config_id
from minbert.config import TrainConfig
from minbert.files.failpoints import reach
from minbert.history import Record, is_evaluated, summarise
from minbert.seeds import stream_seed
from trainables.designs.design import REDRAWS, Proposal, build_design
from trainables.spaces.runs import RUN
from trainables.spaces.space import Space
from trainables.studies.attempts import LOST_NODES

EQUAL_FAILURES = 5
"""A study stops when this many trials in a row fail for the same cause."""
EXHAUSTED = "exhausted"
"""Key of study.yaml: how many trials ran where the space has no more of them than that, fewer than were asked for."""

_UNCOUNTED = "abandoned"  # killed while being asked for, or a copy of an earlier trial: counts nowhere
_STOPS_AFTER = "stops_after"
Outcome = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Issue:
    """A trial to run.

    Attributes:
        number: its number in the study.
        config: what to train.
        replicate: 0 for a new configuration, above for a repetition with another seed.
        run: name of the run in a listed space; else empty.
    """

    number: int
    config: TrainConfig
    replicate: int
    run: str = ""


class Ledger:
    """Asks for configurations and records results.

    Args:
        study: the Optuna study of the journal.
        space: where configurations come from.
        pinned: leaves that hold for all trials (sources, numerics).
        seed: the study's seed.

    Attributes:
        target: how many trials are to run; those that were begun count even where fewer are asked for now.
        beyond: how many trials that were begun are more than is asked for now.
        states: how many of the trials that count are in each state.

    Raises:
        UserError: the space does not fit its design.
    """

    def __init__(self, study: optuna.Study, space: Space, pinned: dict[str, Any], seed: int) -> None:
        self._study, self._space, self._pinned, self._seed = study, space, pinned, seed
        self._design = build_design(space, self._identify)
        self.target = self._design.runs
        self._open: dict[int, Trial] = {}
        self._reported: dict[int, list[Record]] = {}
        self._in_journal: dict[int, set[int]] = {}
        self._again: deque[FrozenTrial] = deque()
        self._idle: tuple[int, int] | None = None
        self._causes: list[str] = []
        self._account: dict[tuple[str, int], FrozenTrial] = {}
        self._distributions: dict[tuple[str, BaseDistribution], BaseDistribution] = {}
        self.states: Counter[TrialState] = Counter()
        self._take_stock()
        self.beyond = max(self.started - self.target, 0) if self._again else 0
        self.target += self.beyond

    def next(self) -> Issue | None:
        """The next trial to run, or None when none is left to hand out now."""
        if self._again:
            return self._issue_again(self._again.popleft())
        if self.started >= self.target or self.stopped_by or self._idle == self._progress():
            return None
        for redrawn in range(REDRAWS + 1):
            proposal = next(self._design.proposals(self._account, redrawn), None)
            if proposal is None:
                break
            issue = self._start(proposal, redrawn == REDRAWS)
            if issue is not None:
                return issue
        self._idle = self._progress()
        return None

    def report(self, number: int, record: Record) -> None:
        """Note an epoch of a running trial; a restarted worker reports its earlier epochs once more."""
        records = self._reported.setdefault(number, [])
        if any((seen["stage"], seen["epoch"]) == (record["stage"], record["epoch"]) for seen in records):
            return
        records.append(record)
        if is_evaluated(record) and record["epoch"] not in self._in_journal.get(number, ()):
            reach("ledger.before_report")
            self._open[number].report(record["select"]["score"], record["epoch"])
            reach("ledger.after_report")

    def stopping(self, number: int, epoch: int) -> None:
        """Note, before an epoch is noted, that a running trial ends with it; else a new driver would not know."""
        self._open[number].set_user_attr(_STOPS_AFTER, epoch)

    def stops(self) -> dict[int, int]:
        """The epoch that a trial ends with, by number, of those that were to be stopped early."""
        return {
            trial.number: trial.user_attrs[_STOPS_AFTER]
            for trial in self.trials()
            if _STOPS_AFTER in trial.user_attrs
        }

    def started_on_a_worker(self, number: int, times: int) -> None:
        """Note how often a trial was started; more than once after a worker or a driver was lost."""
        self._open[number].set_user_attr("attempts", times)

    def finish(self, number: int, outcome: Outcome, cause: str = "", message: str = "") -> FrozenTrial:
        """Close a trial: state, metrics of its best epoch, costs, cause of a failure; returns what it came to."""
        trial, records = self._open.pop(number), self._reported.pop(number, [])
        self._in_journal.pop(number, None)
        score = None
        if any(map(is_evaluated, records)):
            score = self._note_summary(trial, records)
        elif outcome != "failed":
            outcome, cause, message = "failed", "no_result", "the trial ended without a score"
        reach("ledger.before_tell")
        if outcome == "failed":
            trial.set_user_attr("cause", cause)
            trial.set_user_attr("message", message[:500])
            self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        elif outcome == "pruned":
            self._study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            self._study.tell(trial, score, skip_if_finished=True)
        reach("ledger.after_tell")
        self._causes.append(cause if outcome == "failed" else "")
        self.states[TrialState.RUNNING] -= 1
        return self._count(self._record(trial))

    @property
    def stopped_by(self) -> str:
        """The cause that ended the study early: the same failure several times in a row; else empty."""
        return equal_cause(self._causes)

    @property
    def started(self) -> int:
        """Trials that count against the target, running ones included."""
        return self.states.total()

    @property
    def done(self) -> bool:
        """Whether nothing is left to run: the target is reached, or the design has no more to propose."""
        if self.unfinished <= 0:
            return True
        running = bool(self._again or self._open)
        return not running and next(self._design.proposals(self._account, REDRAWS), None) is None

    @property
    def unfinished(self) -> int:
        """Trials that are still to run or running."""
        finished = sum(count for state, count in self.states.items() if state.is_finished())
        return self.target - finished

    def trials(self) -> list[FrozenTrial]:
        """All trials that count."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if is_counted(trial)]

    def histories(self) -> dict[int, dict[int, float]]:
        """Scores by epoch of every trial, by number; those of an unfinished one so far."""
        return {trial.number: trial.intermediate_values for trial in self.trials()}

    def _take_stock(self) -> None:
        """Sort what an earlier driver left: trials to issue again, torn ones to close."""
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state is TrialState.WAITING or (
                trial.state is TrialState.RUNNING and "config_id" not in trial.user_attrs
            ):
                self._abandon(trial)
            elif trial.state is TrialState.RUNNING:
                self._again.append(trial)
        for trial in self.trials():
            self._count(trial)

    def _count(self, trial: FrozenTrial) -> FrozenTrial:
        """Note the state that a trial is in now; walking through all of them each time would take ever longer."""
        self.states[trial.state] += 1
        name = (trial.user_attrs["config_id"], trial.user_attrs["replicate"])
        if self._account.setdefault(name, trial).number == trial.number:
            self._account[name] = trial
        # Optuna makes distributions anew for each trial: half of the memory that its record takes.
        for path, own in trial.distributions.items():
            trial.distributions[path] = self._distributions.setdefault((path, own), own)
        return trial

    def _record(self, trial: Trial) -> FrozenTrial:
        """The storage's own record of a trial; a list of all of them would take ever longer to make."""
        return self._study._storage.get_trial(trial._trial_id)

    def _progress(self) -> tuple[int, int]:
        """Trials started and finished: while these stay the same, so does what the design proposes."""
        return self.started, self.target - self.unfinished

    def _start(self, proposal: Proposal, repeat: bool) -> Issue | None:
        """Start what was proposed; None when the sampler drew what was started before and may draw again."""
        if proposal.params is not None:
            self._study.enqueue_trial(proposal.params, user_attrs={"replicate": proposal.replicate})
            reach("ledger.enqueued")
        trial = self._study.ask()
        reach("ledger.asked")
        params = self._space.ask(trial)
        reach("ledger.drawn")
        config = self._configure(params, proposal.replicate)
        earlier = self._account.get((config_id(config), proposal.replicate))
        if proposal.params is None and earlier is not None and not repeat:
            self._copy(trial, earlier)
            return None
        return self._open_trial(trial, Issue(trial.number, config, proposal.replicate, params.get(RUN, "")))

    def _copy(self, trial: Trial, earlier: FrozenTrial) -> None:
        """Tell the sampler what is known of a configuration that it drew again; nothing is trained."""
        trial.set_user_attr(_UNCOUNTED, True)
        trial.set_user_attr("copied_from", earlier.number)
        if earlier.state is TrialState.COMPLETE:
            self._study.tell(trial, earlier.value)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def _abandon(self, frozen: FrozenTrial) -> None:
        if frozen.state is TrialState.WAITING:
            self._study.ask()  # the oldest waiting trial becomes the running one that is closed here
        trial = Trial(self._study, frozen._trial_id)
        trial.set_user_attr(_UNCOUNTED, True)
        reach("ledger.abandoning")
        self._study.tell(frozen.number, state=TrialState.FAIL, skip_if_finished=True)

    def _issue_again(self, frozen: FrozenTrial) -> Issue:
        replicate = frozen.user_attrs["replicate"]
        config = self._configure(frozen.params, replicate)
        reach("ledger.issuing_again")
        trial = self._open[frozen.number] = Trial(self._study, frozen._trial_id)
        if "cause" in frozen.user_attrs:  # noted, but the driver was lost before the trial was closed
            trial.set_user_attr("cause", None)
        self._in_journal[frozen.number] = set(frozen.intermediate_values)
        return Issue(frozen.number, config, replicate, frozen.params.get(RUN, ""))

    def _open_trial(self, trial: Trial, issue: Issue) -> Issue:
        trial.set_user_attr("replicate", issue.replicate)
        trial.set_user_attr("seed", issue.config.seed)
        trial.set_user_attr("config_id", config_id(issue.config))  # last: from here on the trial is whole
        reach("ledger.whole")
        self._open[trial.number] = trial
        self._count(self._record(trial))
        return issue

    def _identify(self, params: dict[str, Any]) -> str:
        return config_id(self._configure(params, 0))

    def _configure(self, params: dict[str, Any], replicate: int) -> TrainConfig:
        return configured(self._space, self._pinned, self._seed, params, replicate)

    def _note_summary(self, trial: Trial, records: list[Record]) -> float:
        """Note what a trial came to; returns its score."""
        summary = summarise(records)
        trial.set_user_attr("best_epoch", summary.best_epoch)
        trial.set_user_attr("epochs", summary.epochs)
        trial.set_user_attr("metrics", {k: v for k, v in summary.metrics.items() if math.isfinite(v)})
        trial.set_user_attr("constant", list(summary.constant))
        trial.set_user_attr("cost_paid", round(summary.cost_paid, 4))
        trial.set_user_attr("cost_alone", round(summary.cost_alone, 4))
        return summary.metrics["select/score"]


def equal_cause(causes: Sequence[str]) -> str:
    """The cause for which a study stops; empty where it goes on.

    Args:
        causes: of the trials that have ended, in order; empty of one that did not fail. Lost nodes are nobody's fault.
    """
    counted = (cause for cause in reversed(causes) if cause != LOST_NODES)
    last = list(islice(counted, EQUAL_FAILURES))
    return last[0] if len(last) == EQUAL_FAILURES and len(set(last)) == 1 else ""


def configured(
    space: Space, pinned: Mapping[str, Any], seed: int, params: Mapping[str, Any], replicate: int
) -> TrainConfig:
    """The configuration that a study trains for values of the factors.

    Args:
        space: the space.
        pinned: leaves that hold for all trials.
        seed: the study's seed.
        params: values of the factors that apply, as Optuna stores them.
        replicate: which repetition of the configuration.
    """
    config = space.config(params)
    return config.model_copy(update={**pinned, "seed": stream_seed(seed, "replicate", replicate)})


def is_counted(trial: FrozenTrial) -> bool:
    """Whether a trial of a journal counts: it is whole, and no copy of an earlier one."""
    return "config_id" in trial.user_attrs and not trial.user_attrs.get(_UNCOUNTED)
