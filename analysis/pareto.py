"""The trials that no other trial beats in every task, and how the front of them grew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from analysis.scoring import Floats, Mask

REFERENCE = 0.0
"""Corner of the hypervolume in each task unless another is given: no right answer, no correlation."""


def pareto_front(trials: pd.DataFrame, tasks: Iterable[str], half: str = "select") -> pd.DataFrame:
    """The complete trials whose ``{half}/{task}`` no other trial equals or exceeds in all tasks and exceeds in one.

    Returns their rows of ``trials``, best score first. Trials are chosen on ``half``, so quote another one.
    """
    columns = [f"{half}/{task}" for task in tasks]
    known = _known(trials, columns)
    front = known[non_dominated(known[columns].to_numpy(np.float64))]
    return front.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def hypervolume_over_time(
    trials: pd.DataFrame,
    tasks: Iterable[str],
    half: str = "select",
    reference: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """One row a complete trial in the order of their numbers: number, hypervolume (of the front of all trials
    so far), on_front (whether it was on the front when it came).

    ``reference``: the metric of each task from which volume counts, by default ``REFERENCE``; a trial that is
    not above it in every task adds nothing. With references of 0, 1 is the volume of perfect answers.
    """
    names = list(tasks)
    columns = [f"{half}/{task}" for task in names]
    known = _known(trials, columns).sort_values("number", kind="stable")
    corner = np.array([(reference or {}).get(task, REFERENCE) for task in names], np.float64)
    front: Floats = np.empty((0, len(names)))
    volume, rows = 0.0, []
    for number, point in zip(known["number"], known[columns].to_numpy(np.float64), strict=True):
        beaten = bool(((front >= point).all(axis=1) & (front > point).any(axis=1)).any())
        if not beaten:
            front = np.vstack([front[~(front <= point).all(axis=1)], point])
            volume = hypervolume(front, corner)
        rows.append((int(number), volume, not beaten))
    return pd.DataFrame(rows, columns=["number", "hypervolume", "on_front"])


def non_dominated(points: Floats) -> Mask:
    """Which of the points (points, objectives), all to be maximised, no other point dominates; equal points stay."""
    at_least = (points[:, None] >= points[None]).all(axis=2)
    above = (points[:, None] > points[None]).any(axis=2)
    return np.asarray(~(at_least & above).any(axis=0), np.bool_)


def hypervolume(points: Floats, reference: Floats) -> float:
    """Volume that lies below at least one of the points (points, objectives) and above ``reference`` (objectives,).

    Sliced along the last objective (HSO, While et al. 2006); points need not be a front.
    """
    inside = points[(points > reference).all(axis=1)]
    if not len(inside):
        return 0.0
    if inside.shape[1] == 1:
        return float(inside.max() - reference[0])
    ordered = inside[np.argsort(-inside[:, -1], kind="stable")]
    floors = np.append(ordered[1:, -1], reference[-1])
    volume = 0.0
    for count, height in enumerate(ordered[:, -1] - floors, start=1):
        if height > 0:
            volume += float(height) * hypervolume(ordered[:count, :-1], reference[:-1])
    return volume


def _known(trials: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return trials[(trials["state"] == "complete") & trials[columns].notna().all(axis=1)]
