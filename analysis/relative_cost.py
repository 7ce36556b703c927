"""What a level costs against its base: seconds and optimiser steps, over pairs of runs of one replicate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.scoring import Floats
from analysis.study import Study

COLUMNS = ("relative_cost", "relative_cost_low", "relative_cost_high", "relative_steps")
AGREE = 1.5
"""Ratios of seconds of which the largest is more than so many times the smallest are noise of the machine."""


def relative_cost(own: pd.DataFrame, base: pd.DataFrame, pairs: pd.Index[Any]) -> dict[str, float]:
    """``COLUMNS`` of a level: the geometric mean of the pairs' ratios of seconds, the smallest and the largest of
    them, and the ratio of the steps; NaN where they are not recorded.

    ``own`` and ``base``: runs by replicate with cost_alone (seconds) and, where known, steps; ``pairs``: replicates.
    """
    found = dict.fromkeys(COLUMNS, float("nan"))
    seconds = _ratios(own, base, pairs, "cost_alone")
    if len(seconds):
        mean = np.exp(np.log(seconds).mean())
        found |= zip(COLUMNS, map(float, (mean, seconds.min(), seconds.max())), strict=False)
    steps = _ratios(own, base, pairs, "steps")
    if len(steps):
        found["relative_steps"] = float(np.exp(np.log(steps).mean()))
    return found


def trained_steps(study: Study) -> pd.Series[float]:
    """The optimiser steps of every trial, all stages together, by number; none of a trial with a damaged history,
    which may lack a stage's last epoch."""
    history = study.history
    if "step" not in history:
        return pd.Series(dtype="float64")
    whole = [
        number for number in history["number"].unique() if study.history_file(number) not in study.damaged
    ]
    of_stages = history[history["number"].isin(whole)].groupby(["number", "stage"])["step"].max()
    return of_stages.groupby("number").sum(min_count=1).astype("float64")


def cost_text(ratio: float, low: float, high: float) -> str:
    """``1.21×``; where the pairs disagree, their range instead."""
    if np.isnan(ratio):
        return "–"
    return f"{ratio:.2f}×" if high <= AGREE * low else f"noisy, {low:.2f} to {high:.2f}×"


def _ratios(own: pd.DataFrame, base: pd.DataFrame, pairs: pd.Index[Any], name: str) -> Floats:
    """The pairs' ratios, of those where both sides are known and above 0."""
    if name not in own or name not in base:
        return np.zeros(0)
    both = [one.loc[pairs, name].to_numpy(np.float64) for one in (own, base)]
    known = (both[0] > 0) & (both[1] > 0)
    ratios: Floats = both[0][known] / both[1][known]
    return ratios
