"""What a study measures for one contrast: the difference, and the parts of its uncertainty.

A contrast is a weighted sum of cells, a cell being a trained run's metric for one task (or a cost). Replicates
have the same seeds across runs, so their weighted sums are paired; so are the dev examples, which all runs share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.claim_errors import Gone, long_errors
from analysis.claim_forms import Contrast
from analysis.intervals import Difference, interval, paired_difference
from analysis.listed_forms import RUN, runs_of, trained_runs
from analysis.quoted import left_out, told
from analysis.scoring import Floats, Outputs, influence, stack
from analysis.study import WORDS, Study

Cells = Mapping[tuple[str, str], float]
"""Weights by trained run and task; costs, ``seconds`` and ``memory``, have their own name for the task."""

COSTS = ("seconds", "memory")
"""Seconds that a run takes by itself, and its largest peak of memory in MiB."""
_MIB = 2**20


class NotMeasured(Exception):
    """The study cannot say anything of a contrast; the message is why."""


@dataclass(frozen=True)
class Measured:
    """A contrast in a study."""

    difference: Difference
    """Over examples and, with two replicates or more, seeds."""
    replicates: int
    runs: frozenset[tuple[str, str]]
    """The trained runs, each with a task."""
    missing: str = ""
    """Why there is no interval at all, such as that predictions are not stored."""
    left_out: str = ""
    """The complete replicates that do not count, and why."""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval of the difference, NaN when a part of its noise is ``missing``."""
        if self.missing:
            return float("nan"), float("nan")
        low, high = interval(self.difference, level)
        return float(low), float(high)


def measure(study: Study, contrast: Contrast) -> Measured:
    """Measure a contrast in the study that has its runs.

    Raises:
        NotMeasured: nothing is recorded of the metric, or a run is not complete.
    """
    cells = _cells(study, contrast)
    if not cells:
        raise NotMeasured("both sides are the same run in this study")
    values = _values(study, cells, contrast)
    common = values.dropna()
    if common.empty:
        raise NotMeasured(_why_missing(study, values, cells))
    if contrast.error_from is not None:
        return _measured_errors(study, cells, contrast.error_from, list(common.index))
    weights = np.array(list(cells.values()))
    if contrast.metric in COSTS:
        differences: Floats = common.to_numpy(np.float64) @ weights
        missing = "" if len(differences) > 1 else "one run each"
        return Measured(_difference(differences, ()), len(differences), frozenset(cells), missing)
    stacked, reasons = _stacked(study, cells, list(common.index))
    usable, missing, without = _sorted_out(study, [run for run, _ in cells], list(common.index), reasons)
    pulls = [] if missing else _pulls(study, cells, usable, stacked)
    differences = common.loc[usable].to_numpy(np.float64) @ weights
    return Measured(_difference(differences, pulls), len(usable), frozenset(cells), missing, without)


def _measured_errors(study: Study, cells: Cells, least: int, replicates: list[int]) -> Measured:
    """A contrast of mean signed errors on long examples; not a number where texts or predictions are gone."""
    runs = list(dict.fromkeys(run for run, _ in cells))
    (task,) = {task for _, task in cells}
    every = [number for run in runs for number in _numbers(study, run, replicates)]
    try:
        errors, reasons = long_errors(study, task, every, least)
    except Gone as why:
        return _unknown(cells, replicates, str(why))
    usable, missing, without = _sorted_out(study, runs, replicates, reasons)
    if missing:
        return _unknown(cells, replicates, missing)
    if len(next(iter(errors.values()))) < 2:
        raise NotMeasured(f"fewer than two {task} dev examples have {least} characters or more")
    blocks = np.stack([[errors[number] for number in _numbers(study, run, usable)] for run in runs])
    pulls: Floats = np.tensordot(np.array([cells[run, task] for run in runs]), blocks, axes=1)
    return Measured(_difference(pulls.mean(axis=1), [pulls]), len(usable), frozenset(cells), left_out=without)


def _unknown(cells: Cells, replicates: list[int], why: str) -> Measured:
    nothing = _difference(np.full(len(replicates), np.nan), ())
    return Measured(nothing, len(replicates), frozenset(cells), why)


def _stacked(study: Study, cells: Cells, replicates: list[int]) -> tuple[dict[str, Outputs], dict[int, str]]:
    """The predictions of each task's runs, and by trial why others have none that can be used."""
    stacked: dict[str, Outputs] = {}
    reasons: dict[int, str] = {}
    for task in dict.fromkeys(task for _, task in cells):
        runs = [run for run, other in cells if other == task]
        every = sorted({number for run in runs for number in _numbers(study, run, replicates)})
        outputs = stack(study.predictions(task, every))
        reasons |= left_out(study, task, every, outputs)
        if outputs is not None:
            stacked[task] = outputs
    return stacked, reasons


def _sorted_out(
    study: Study, runs: Sequence[str], replicates: list[int], reasons: Mapping[int, str]
) -> tuple[list[int], str, str]:
    """Replicates without a trial that has a reason against it; else why there is none, or why some are not among them."""
    own = _complete(study)
    bad = set(own.loc[own[RUN].isin(runs) & own["number"].isin(list(reasons)), "replicate"])
    usable = [replicate for replicate in replicates if replicate not in bad]
    if not usable:
        return replicates, "; ".join(dict.fromkeys(reasons.values())), ""
    dropped = len(replicates) - len(usable)
    many = "replicate" if dropped == 1 else "replicates"
    return usable, "", f"{dropped} {many} left out (trial {told(reasons)})" if dropped else ""


def _numbers(study: Study, run: str, replicates: list[int]) -> list[int]:
    """The run's complete trials of these replicates, in the replicates' order."""
    complete = _complete(study)
    own = complete[(complete[RUN] == run) & complete["replicate"].isin(replicates)]
    return [int(number) for number in own["number"]]


def _difference(differences: Floats, pulls: Sequence[Floats]) -> Difference:
    """The mean of ``differences`` (replicates,), whose examples' part comes from ``pulls`` (replicates, examples)
    of each task; of one replicate the examples' part is all that is known."""
    replicates = len(differences)
    known = paired_difference([one * len(pulls) for one in pulls]) if pulls else None
    return Difference(
        estimate=np.asarray(differences.mean()),
        seed_variance=np.asarray(differences.var(ddof=1) / replicates if replicates > 1 else 0.0),
        example_variance=known.example_variance if known else np.asarray(0.0),
        seed_df=replicates - 1,
        example_df=known.example_df if known else np.asarray(1.0),
    )


def _cells(study: Study, contrast: Contrast) -> dict[tuple[str, str], float]:
    """The contrast in what was trained; runs that were trained as one cancel."""
    runs = runs_of(study)
    shares = _shares(study, contrast.metric)
    found: dict[tuple[str, str], float] = defaultdict(float)
    for name, weight in contrast.weights().items():
        if name not in runs:
            raise NotMeasured(f"the study has no {name}")
        trained = trained_runs(runs, name, list(study.tasks))
        if contrast.metric in COSTS:
            members = set(trained.values())
            if contrast.metric == "memory" and len(members) > 1:
                raise NotMeasured(f"{name} is several runs, whose memory does not add up")
            for member in members:
                found[member, contrast.metric] += weight
            continue
        for task, share in shares.items():
            if task not in trained:
                raise NotMeasured(f"{name} has no {task}")
            found[trained[task], task] += weight * share
    return {cell: weight for cell, weight in found.items() if abs(weight) > 1e-12}


def _shares(study: Study, metric: str) -> dict[str, float]:
    """How much a change of each task's metric changes ``metric``."""
    if metric in study.tasks:
        return {metric: 1.0}
    halved = {
        task: 0.5 if metric == "overall" and info.kind == "regression" else 1.0
        for task, info in study.tasks.items()
    }
    return {task: share / len(halved) for task, share in halved.items()}


def _values(study: Study, cells: Cells, contrast: Contrast) -> pd.DataFrame:
    """(replicates, cells) in their order: what each complete trial has, NaN where there is none."""
    trials = _complete(study)
    if contrast.gap:
        trials = _with_gaps(study, trials)
    if contrast.metric == "memory":
        trials = _with_memory(study, trials)
    names = {"seconds": "cost_alone", "memory": "memory"}
    columns = {}
    for run, task in cells:
        name = names.get(task, f"dev/{task}")
        columns[run, task] = trials[trials[RUN] == run].set_index("replicate")[name]
    return pd.DataFrame(columns).sort_index()


def _complete(study: Study) -> pd.DataFrame:
    """The complete trials, one a run and replicate, replicates in their order."""
    complete = study.trials[study.trials["state"] == "complete"]
    return complete.drop_duplicates([RUN, "replicate"], keep="last").sort_values("replicate")


def _with_gaps(study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with train minus dev scores, at the epoch that counts, in place of the dev scores."""
    names = [f"train/{task}" for task in study.tasks]
    epochs = study.scored_epochs.reindex(columns=["number", "epoch", *names])
    if epochs[names].isna().all(axis=None):
        raise NotMeasured("scores on train are not recorded")
    both = trials.merge(epochs, left_on=["number", "best_epoch"], right_on=["number", "epoch"], how="left")
    gaps = {f"dev/{task}": both[f"train/{task}"] - both[f"dev/{task}"] for task in study.tasks}
    return both.assign(**gaps)


def _with_memory(study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with their largest peak of memory, MiB."""
    history = study.history.reindex(columns=["number", "peak_memory_bytes"])
    if history["peak_memory_bytes"].isna().all():
        raise NotMeasured("memory is not recorded")
    peaks = history.groupby("number")["peak_memory_bytes"].max() / _MIB
    return trials.assign(memory=trials["number"].map(peaks))


def _why_missing(study: Study, values: pd.DataFrame, cells: Cells) -> str:
    trials = study.trials
    absent = sorted({run for run, task in cells if values[run, task].isna().all()})
    if not absent:
        return "no replicate is complete for all its runs"
    states = trials.loc[trials[RUN].isin(absent), "state"]
    some = (
        ", ".join(f"{count} {state}" for state, count in states.replace(WORDS).value_counts().items())
        or "not started"
    )
    return f"not complete: {', '.join(absent)} ({some})"


def _pulls(study: Study, cells: Cells, replicates: list[int], stacked: Mapping[str, Outputs]) -> list[Floats]:
    """What each example adds to the contrast, (replicates, examples) a task, in the metrics' own units."""
    found = []
    for task, outputs in stacked.items():
        weights = {run: weight for (run, other), weight in cells.items() if other == task}
        numbers = {run: _numbers(study, run, replicates) for run in weights}
        found.append(_task_pulls(study.tasks[task].kind, outputs, weights, numbers))
    return found


def _task_pulls(
    kind: str, outputs: Outputs, weights: Mapping[str, float], numbers: Mapping[str, list[int]]
) -> Floats:
    own = influence(kind, outputs.values, outputs.labels)
    unit = 2.0 if kind == "regression" else 1.0  # influences are of the metric mapped to [0, 1]
    places = {number: place for place, number in enumerate(outputs.numbers)}
    added = [
        unit * weight * own[[places[number] for number in numbers[run]]] for run, weight in weights.items()
    ]
    return np.asarray(np.sum(added, axis=0), np.float64)
