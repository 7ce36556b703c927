"""Ensembles from stored predictions: greedy forward selection with replacement (Caruana 2004).

Each task has an ensemble of its own. Members' probabilities (or scores) are averaged;
they are chosen on the select half and quoted on the report half.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.scoring import Floats, Outputs, influence, metric, stack, to_unit
from analysis.significance import normal_interval
from analysis.study import TaskInfo

ROUNDS = 50


@dataclass(frozen=True)
class TaskEnsemble:
    """The ensemble of one task; metrics are accuracy or Pearson's r."""

    members: dict[int, float]
    """Trial number → weight; weights sum to 1, heaviest first."""
    pool: int
    """How many trials it was chosen from."""
    select: float
    report: float
    single: int
    """The one trial that is best on the select half."""
    single_select: float
    single_report: float
    gain: float
    """report − single_report."""
    gain_low: float
    gain_high: float
    """95% interval of the gain over the report half's examples."""
    halves_differ: bool
    """False where members were chosen and quoted on the same examples (optimistic)."""

    @property
    def optimism(self) -> float:
        """How much better the ensemble looks where it was chosen: select − report."""
        return self.select - self.report


def greedy(
    predictions: Mapping[str, pd.DataFrame], tasks: Mapping[str, TaskInfo], rounds: int = ROUNDS
) -> dict[str, TaskEnsemble]:
    """Choose an ensemble for each task from its stored predictions (``Study.predictions``).

    Sorted initialisation: the best trials join while the best such prefix is sought; then
    ``rounds`` times the trial that helps most joins again; the earliest best step is kept.
    Tasks without labelled dev predictions are left out.
    """
    found: dict[str, TaskEnsemble] = {}
    for task, frame in predictions.items():
        outputs = stack(frame)
        if outputs is not None:
            found[task] = _choose(tasks[task].kind, outputs, rounds)
    return found


def members_table(ensembles: Mapping[str, TaskEnsemble]) -> pd.DataFrame:
    """One row a member: task, number, weight."""
    rows = [
        (task, number, weight)
        for task, ensemble in ensembles.items()
        for number, weight in ensemble.members.items()
    ]
    return pd.DataFrame(rows, columns=["task", "number", "weight"])


def ensemble_table(ensembles: Mapping[str, TaskEnsemble], tasks: Mapping[str, TaskInfo]) -> pd.DataFrame:
    """One row a task, and ``score`` over all when every task has one: members, pool, select, report,
    optimism, single (best trial on the select half), single_report, gain with its 95% interval."""
    rows = [
        {
            "task": task,
            "members": len(one.members),
            "pool": one.pool,
            "select": one.select,
            "report": one.report,
            "optimism": one.optimism,
            "single": str(one.single),
            "single_report": one.single_report,
            "gain": one.gain,
            "gain_low": one.gain_low,
            "gain_high": one.gain_high,
        }
        for task, one in ensembles.items()
    ]
    if ensembles and len(ensembles) == len(tasks):
        rows.append(_score_row(ensembles, tasks))
    names = "task members pool select report optimism single single_report gain gain_low gain_high"
    return pd.DataFrame(rows, columns=names.split())


def _score_row(ensembles: Mapping[str, TaskEnsemble], tasks: Mapping[str, TaskInfo]) -> dict[str, object]:
    def mean(name: str) -> float:
        return float(
            np.mean([to_unit(tasks[task].kind, getattr(one, name)) for task, one in ensembles.items()])
        )

    # A gain is a difference, so regression's shift by one cancels and only its half remains.
    shares = [0.5 if tasks[task].kind == "regression" else 1.0 for task in ensembles]
    half_widths = [one.gain_high - one.gain for one in ensembles.values()]
    gain = mean("report") - mean("single_report")
    half_width = float(np.linalg.norm(np.multiply(shares, half_widths)) / len(ensembles))
    return {
        "task": "score",
        "members": len({number for one in ensembles.values() for number in one.members}),
        "pool": max(one.pool for one in ensembles.values()),
        "select": mean("select"),
        "report": mean("report"),
        "optimism": mean("select") - mean("report"),
        "single": ", ".join(str(one.single) for one in ensembles.values()),
        "single_report": mean("single_report"),
        "gain": gain,
        "gain_low": gain - half_width,
        "gain_high": gain + half_width,
    }


def _choose(kind: str, outputs: Outputs, rounds: int) -> TaskEnsemble:
    chosen = outputs.values[:, outputs.select]
    labels = outputs.labels[outputs.select]
    alone = metric(kind, chosen, labels)
    order = np.argsort(-alone, kind="stable")
    sums = _PearsonSums(chosen[..., 0], labels) if kind == "regression" else _Margins(kind, chosen, labels)
    weights = Counter(_best_path(sums, order, rounds))
    counts = np.array([weights[index] for index in range(len(outputs.numbers))], np.float64)
    shares = counts / counts.sum()
    blend = np.tensordot(shares, outputs.values, axes=1)
    single = int(order[0])
    report_labels = outputs.labels[outputs.report]
    report, single_report = (
        float(metric(kind, values[outputs.report], report_labels))
        for values in (blend, outputs.values[single])
    )
    pulls = [
        influence(kind, values[outputs.report], report_labels) for values in (blend, outputs.values[single])
    ]
    scale = (
        2.0 if kind == "regression" else 1.0
    )  # influences are in the score's unit, the table in the metric's
    low, high = normal_interval(report - single_report, scale * (pulls[0] - pulls[1]))
    return TaskEnsemble(
        members={
            outputs.numbers[index]: float(shares[index]) for index in np.argsort(-shares) if shares[index]
        },
        pool=len(outputs.numbers),
        select=float(metric(kind, blend[outputs.select], labels)),
        report=report,
        single=outputs.numbers[single],
        single_select=float(alone[single]),
        single_report=single_report,
        gain=report - single_report,
        gain_low=low,
        gain_high=high,
        halves_differ=outputs.halves_differ,
    )


def _best_path(sums: _Margins | _PearsonSums, order: np.ndarray, rounds: int) -> list[int]:
    """The members, with repeats, of the best ensemble met on the way."""
    path, scores = [], []
    for index in order:
        sums.add(int(index))
        path.append(int(index))
        scores.append(sums.score())
    path = path[: int(np.argmax(scores)) + 1]
    best, best_score = list(path), max(scores)
    sums.clear()
    for index in path:
        sums.add(index)
    for _ in range(rounds):
        candidates = sums.score_with_each()
        index = int(np.argmax(candidates))
        sums.add(index)
        path.append(index)
        if candidates[index] > best_score + 1e-12:
            best, best_score = list(path), float(candidates[index])
    return best


class _Margins:
    """Accuracy of a growing sum of probabilities.

    An example is right when every other class stays below its label's, so the sums of
    these margins are all that is needed: (other classes, trials, examples), negative = right.
    """

    def __init__(self, kind: str, values: Floats, labels: Floats) -> None:
        if kind == "binary":
            self._margins = np.where(labels == 1, 0.5 - values[..., 0], values[..., 0] - 0.5)[None]
        else:
            true = labels.astype(np.int64)
            rows = np.arange(len(true))
            shifts = range(1, values.shape[-1])
            others = [values[:, rows, (true + shift) % values.shape[-1]] for shift in shifts]
            self._margins = np.stack(others) - values[:, rows, true]
        self.clear()

    def clear(self) -> None:
        self._total = np.zeros((len(self._margins), self._margins.shape[2]))

    def add(self, index: int) -> None:
        self._total += self._margins[:, index]

    def score(self) -> float:
        return float((self._total < 0).all(axis=0).mean())

    def score_with_each(self) -> Floats:
        right = np.ones(self._margins.shape[1:], bool)
        for margins, total in zip(self._margins, self._total, strict=True):
            right &= margins < -total
        return np.asarray(right.mean(axis=1), np.float64)


class _PearsonSums:
    """Pearson's r of a growing sum of scores, from the trials' Gram matrix alone."""

    def __init__(self, scores: Floats, labels: Floats) -> None:
        centred = scores - scores.mean(axis=1, keepdims=True)
        label = labels - labels.mean()
        norm = np.linalg.norm(label)
        self._gram = centred @ centred.T
        self._with_label = centred @ label / (norm if norm > 0 else 1.0)
        self.clear()

    def clear(self) -> None:
        self._variance, self._covariance = 0.0, 0.0
        self._shared = np.zeros(len(self._gram))

    def add(self, index: int) -> None:
        self._variance += self._gram[index, index] + 2 * self._shared[index]
        self._covariance += self._with_label[index]
        self._shared += self._gram[index]

    def score(self) -> float:
        return float(_ratio(np.array([self._covariance]), np.array([self._variance]))[0])

    def score_with_each(self) -> Floats:
        variance = self._variance + np.diag(self._gram) + 2 * self._shared
        return _ratio(self._covariance + self._with_label, variance)


def _ratio(covariance: Floats, variance: Floats) -> Floats:
    useful = variance > 1e-18
    ratio: Floats = np.where(useful, covariance / np.sqrt(np.where(useful, variance, 1.0)), 0.0)
    return ratio
