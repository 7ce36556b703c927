"""The ensemble of one task: its members, what it reaches where it was chosen and elsewhere, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.description import TaskInfo
from analysis.scoring import Floats, Mask, Outputs, influence, metric, to_unit
from analysis.selection import Candidates, choose_weights
from analysis.significance import mean_interval


@dataclass(frozen=True)
class TaskEnsemble:
    """The ensemble of one task; metrics are accuracy or Pearson's r."""

    members: dict[int, float]
    """Trial number → weight; weights sum to 1, heaviest first."""
    pool: int
    """How many trials it was chosen from."""
    select: float
    report: float
    report_low: float
    report_high: float
    """95% interval of ``report`` over its examples."""
    single: int
    """The one trial that is best on the select half."""
    single_select: float
    single_report: float
    gain_select: float
    """select − single_select: what the ensemble gains where it was chosen. Minus ``gain``, it is the choice's own
    optimism, without the difference between the halves' examples."""
    gain: float
    """report − single_report."""
    gain_low: float
    gain_high: float
    """95% interval of the gain over the report half's examples."""
    optimism: float
    """select − report: how much better the ensemble looks where it was chosen; an easier half adds to it."""
    optimism_low: float
    optimism_high: float
    """95% interval of the optimism over both halves' examples, for the members as they are; NaN where these are
    the same examples."""
    halves_differ: bool
    """False where members were chosen and quoted on the same examples (optimistic)."""


def choose_one(kind: str, outputs: Outputs, method: str, rounds: int) -> TaskEnsemble:
    """Choose on the select half by one of :data:`analysis.selection.METHODS`, and quote on the report half."""
    labels = outputs.labels[outputs.select]
    candidates = Candidates(kind, outputs.values[:, outputs.select], labels)
    weights = choose_weights(method, candidates, rounds)
    single = candidates.order[0]
    blend = np.tensordot(weights, outputs.values, axes=1)
    select, select_pulls = _quoted(kind, blend, outputs, outputs.select)
    report, pulls = _quoted(kind, blend, outputs, outputs.report)
    single_report, single_pulls = _quoted(kind, outputs.values[single], outputs, outputs.report)
    report_low, report_high = mean_interval(report, pulls)
    gain_low, gain_high = mean_interval(report - single_report, pulls - single_pulls)
    # The halves are different examples, so their errors add up as squares.
    widths = [mean_interval(0.0, one)[1] for one in (pulls, select_pulls)]
    around = float(np.linalg.norm(widths)) if outputs.halves_differ else np.nan
    return TaskEnsemble(
        members={
            outputs.numbers[index]: float(weights[index])
            for index in np.argsort(-weights, kind="stable")
            if weights[index]
        },
        pool=len(outputs.numbers),
        select=select,
        report=report,
        report_low=report_low,
        report_high=report_high,
        single=outputs.numbers[single],
        single_select=float(candidates.alone[single]),
        single_report=single_report,
        gain_select=select - float(candidates.alone[single]),
        gain=report - single_report,
        gain_low=gain_low,
        gain_high=gain_high,
        optimism=select - report,
        optimism_low=select - report - around,
        optimism_high=select - report + around,
        halves_differ=outputs.halves_differ,
    )


def _quoted(kind: str, values: Floats, outputs: Outputs, half: Mask) -> tuple[float, Floats]:
    """The metric on a half, and what each example adds to it, in the metric's unit."""
    reported, labels = values[half], outputs.labels[half]
    # Influences are in the score's unit, in which Pearson's r counts half.
    scale = 2.0 if kind == "regression" else 1.0
    return float(metric(kind, reported, labels)), scale * influence(kind, reported, labels)


def score_row(ensembles: Mapping[str, TaskEnsemble], tasks: Mapping[str, TaskInfo]) -> dict[str, object]:
    """The row of the score in :func:`analysis.ensemble.ensemble_table`, from ensembles of all tasks."""

    def mean(name: str) -> float:
        return float(
            np.mean([to_unit(tasks[task].kind, getattr(one, name)) for task, one in ensembles.items()])
        )

    # Of a difference or a width, regression's shift cancels and only its half remains.
    shares = [0.5 if tasks[task].kind == "regression" else 1.0 for task in ensembles]

    def half_width(name: str) -> float:
        """The tasks' examples are different ones, so their errors add up as squares."""
        widths = [getattr(one, f"{name}_high") - getattr(one, name) for one in ensembles.values()]
        return float(np.linalg.norm(np.multiply(shares, widths)) / len(ensembles))

    report = mean("report")
    gain, optimism = report - mean("single_report"), mean("select") - report
    return {
        "task": "score",
        "members": len({number for one in ensembles.values() for number in one.members}),
        "pool": max(one.pool for one in ensembles.values()),
        "select": mean("select"),
        "report": report,
        "report_low": report - half_width("report"),
        "report_high": report + half_width("report"),
        "optimism": optimism,
        "optimism_low": optimism - half_width("optimism"),
        "optimism_high": optimism + half_width("optimism"),
        "single": ", ".join(str(one.single) for one in ensembles.values()),
        "single_report": mean("single_report"),
        "gain_select": mean("select") - mean("single_select"),
        "gain": gain,
        "gain_low": gain - half_width("gain"),
        "gain_high": gain + half_width("gain"),
    }
