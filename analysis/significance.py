"""Intervals and corrected p-values: small functions over arrays of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]


def holm(p: Sequence[float] | Floats, planned: int = 0) -> Floats:
    """Return p-values corrected for their number by Holm's step-down method (1979); NaN stays NaN.

    ``planned``: how many tests there will be, where some have no p yet; they count as the largest ones.
    """
    raw = np.asarray(p, np.float64)
    corrected = np.full(raw.shape, np.nan)
    known = np.flatnonzero(~np.isnan(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    steps = raw[order] * (max(planned, len(order)) - np.arange(len(order)))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return corrected


def smallest_visible_difference(
    standard_error: float, df: float, comparisons: int = 1, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the true difference that a two-sided t-test finds with the given power (noncentral t).

    ``standard_error`` is taken for the true one, though the test will estimate it with ``df``. ``comparisons``
    divides alpha, as Holm's first step does.
    """
    needed = stats.t.isf(alpha / comparisons / 2, df)
    return float(special.nctdtrinc(df, 1 - power, needed) * standard_error)


def mean_interval(estimate: float, pulls: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the t interval of an estimate whose examples pull it by ``pulls`` (examples,); NaN of fewer than two."""
    if len(pulls) < 2:
        return float("nan"), float("nan")
    half_width = stats.t.isf((1 - level) / 2, len(pulls) - 1) * pulls.std(ddof=1) / np.sqrt(len(pulls))
    return float(estimate - half_width), float(estimate + half_width)
