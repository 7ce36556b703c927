"""Intervals and corrected p-values: small functions over arrays of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]


def holm(p: Sequence[float] | Floats) -> Floats:
    """Return p-values corrected for their number by Holm's step-down method (1979); NaN stays NaN."""
    raw = np.asarray(p, np.float64)
    corrected = np.full(raw.shape, np.nan)
    known = np.flatnonzero(~np.isnan(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    steps = raw[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return corrected


def smallest_visible_difference(
    standard_error: float, df: float, comparisons: int = 1, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the true difference that a two-sided t-test would have found with the given power.

    ``comparisons`` divides alpha, as Holm's first step does.
    """
    needed = stats.t.isf(alpha / comparisons / 2, df) + stats.t.isf(1 - power, df)
    return float(needed * standard_error)


def normal_interval(estimate: float, pulls: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of an estimate whose examples pull it by ``pulls`` (examples,)."""
    if len(pulls) < 2:
        return float("nan"), float("nan")
    half_width = stats.norm.isf((1 - level) / 2) * pulls.std(ddof=1) / np.sqrt(len(pulls))
    return float(estimate - half_width), float(estimate + half_width)


def combined_interval(
    estimate: float, components: Sequence[tuple[float, float]], level: float = 0.95
) -> tuple[float, float]:
    """Return the t interval of an estimate whose variance is a sum of independent estimated parts.

    ``components``: (variance, degrees of freedom) each; the degrees of freedom of the sum are
    Satterthwaite's (1946).
    """
    variance = sum(part for part, _ in components)
    if not variance > 0:
        return float(estimate), float(estimate)
    df = variance**2 / sum(part**2 / freedom for part, freedom in components if part > 0)
    half_width = stats.t.isf((1 - level) / 2, df) * np.sqrt(variance)
    return float(estimate - half_width), float(estimate + half_width)
