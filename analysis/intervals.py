"""How far a difference between two configurations can be trusted, over other seeds and other examples.

Both configurations ran with the same seeds (replicates r = 1 … K) and answered the same examples
(i = 1 … n). Example i of replicate r adds y_ri to the metric's difference, so that d_r = mean_i y_ri.
The model is that of a two-way table with both ways drawn at random,

    y_ri = difference + seed_r + example_i + both_ri,

so the mean over all has the variance  σ²_seed/K + σ²_example/n + σ²_both/(K n)  and

* the sample variance of d_r, over K, estimates σ²_seed/K + σ²_both/(K n). The examples are the same in
  every d_r, so what they have in common never shows up in it;
* the sample variance over i of mean_r y_ri, over n, estimates σ²_example/n + σ²_both/(K n). The last term
  is in the seeds' part already, so the residual of the two-way table is taken off it.

Tasks have examples of their own, so their examples' parts add up; seeds are shared, so the seeds' part is
that of the replicates' differences of the whole score.

The seeds' part has but K − 1 degrees of freedom. One t distribution for the sum, with Satterthwaite's
degrees of freedom (1946), is too narrow when K is small and the seeds' part the larger one: at K = 3 a
95% interval covers 92%, and p-values of 0.005, which corrections for many tests live on, come up five
times too often. The tail of the ratio is therefore the seeds' t tail and the examples' tail, weighted by
their shares of the variance: exact where only one part matters; between, its 95% intervals cover 95–96.5%
for K ≥ 3, and small p-values are not too frequent. Two replicates need the root of the seeds' share.

Like every t test of few replicates this takes the noise of seeds to be about normal. Where it is large,
skewed, and larger on one side than on the other, equivalence can be claimed wrongly 6 to 8 times in 100.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, ndtr, roots_legendre, stdtr

from analysis.scoring import Floats

_HALVINGS = 50
_FARTHEST = 1e6
"""In standard errors; the t distribution of two replicates reaches so far at p = 6e-7."""
_DRAWS = (48, 6)
"""Quantiles of the variances of seeds and of examples that a power is averaged over."""


@dataclass(frozen=True)
class Difference:
    """Estimated differences (…) and the parts of their variances.

    With one replicate the seeds' part is unknown (NaN), and so is all that follows from it.
    """

    estimate: Floats
    seed_variance: Floats
    example_variance: Floats
    seed_df: int
    """Degrees of freedom of ``seed_variance``: replicates − 1."""
    example_df: Floats
    """Degrees of freedom of ``example_variance``, Satterthwaite's over the tasks."""

    @property
    def se(self) -> Floats:
        """Standard error over seeds and examples."""
        error: Floats = np.sqrt(self.seed_variance + self.example_variance)
        return error

    def tail(self, ratio: Floats) -> Floats:
        """P(error / standard error > ratio), one-sided; NaN where the variance is unknown."""
        variance = self.seed_variance + self.example_variance
        share = np.divide(self.seed_variance, variance, out=np.ones_like(variance), where=variance > 0)
        share = np.where(np.isnan(variance), np.nan, np.sqrt(share) if self.seed_df == 1 else share)
        seeds, examples = (stdtr(df, -ratio) for df in (max(self.seed_df, 1), self.example_df))
        weighted: Floats = np.asarray(share * seeds + (1 - share) * examples, np.float64)
        return weighted

    def critical(self, tail: float) -> Floats:
        """The ratio that an error exceeds with probability ``tail``, in standard errors."""
        low, high = np.zeros_like(self.estimate), np.full_like(self.estimate, _FARTHEST)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            beyond = self.tail(middle) > tail
            low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
        ratio: Floats = np.where(np.isnan(self.se), np.nan, high)
        return ratio


def paired_difference(tasks: Sequence[Floats]) -> Difference:
    """The difference of the mean over ``tasks`` of the metrics of two configurations.

    ``tasks``: for each task y (…, replicates, examples), what each example adds to the difference of the
    task's metric (first configuration's ``scoring.influence`` − the second's); one task alone gives the
    difference of its metric. Needs one replicate and two examples or more.
    """
    by_replicate: Floats = np.mean([one.mean(axis=-1) for one in tasks], axis=0)
    replicates = by_replicate.shape[-1]
    parts = [_example_part(one) for one in tasks]
    variances = np.stack([variance for variance, _ in parts]) / len(tasks) ** 2
    df = np.array([one for _, one in parts], np.float64).reshape(-1, *[1] * (variances.ndim - 1))
    total: Floats = variances.sum(axis=0)
    weights = np.sum(variances**2 / df, axis=0)
    single = replicates == 1
    return Difference(
        estimate=np.asarray(by_replicate.mean(axis=-1), np.float64),
        seed_variance=np.full_like(total, np.nan)
        if single
        else by_replicate.var(axis=-1, ddof=1) / replicates,
        example_variance=total,
        seed_df=replicates - 1,
        example_df=np.divide(total**2, weights, out=np.full_like(total, df.min()), where=weights > 0),
    )


def interval(difference: Difference, level: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper end of the interval that covers the true difference with probability ``level``."""
    half_width = difference.critical((1 - level) / 2) * difference.se
    return difference.estimate - half_width, difference.estimate + half_width


def p_difference(difference: Difference) -> Floats:
    """Two-sided p-value of no difference. Without any spread it is 1 for equal runs and unknown for others."""
    return _tested(difference, lambda size, se: np.minimum(1.0, 2 * difference.tail(size / se)))


def p_equivalent(difference: Difference, delta: float) -> Floats:
    """P-value of a true difference of ``delta`` or more, either way: the larger of two one-sided tests
    (TOST, Schuirmann 1987). Runs that are equal in every answer have 0."""
    p = _tested(difference, lambda size, se: difference.tail((delta - size) / se))
    return np.where((difference.se == 0) & (difference.estimate == 0), 0.0, p)


def visible(difference: Difference, comparisons: int = 1, alpha: float = 0.05, power: float = 0.8) -> Floats:
    """The true difference that would be found with the given power if the parts of the variance were what they
    are estimated to be; ``comparisons`` divides alpha, as Holm's first step does.

    Found is what has p below the level. How large an estimate that takes depends on the variances that the
    study itself would estimate, so the power is a mean over these; of one part alone it is that of the
    noncentral t.
    """
    weights, studies = _estimates_of_variance(difference)
    needed = studies.critical(alpha / comparisons / 2) * studies.se
    se = np.asarray(difference.se)[..., None]
    unit = np.where(se > 0, se, 1.0)
    low, high = np.zeros_like(unit), np.full_like(unit, _FARTHEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = ndtr(middle - needed / unit) + ndtr(-middle - needed / unit)
        missed = np.sum(weights * found, axis=-1, keepdims=True) < power
        low, high = np.where(missed, middle, low), np.where(missed, high, middle)
    return np.asarray(high[..., 0] * difference.se, np.float64)


def _estimates_of_variance(true: Difference) -> tuple[Floats, Difference]:
    """Probabilities (draws,) and what studies with these ``true`` parts would estimate them at (…, draws)."""
    nodes, weights = zip(*(roots_legendre(count) for count in _DRAWS), strict=True)
    seeds, examples = (grid.ravel() for grid in np.meshgrid(*((one + 1) / 2 for one in nodes)))
    probabilities = np.prod(np.meshgrid(*(one / 2 for one in weights)), axis=0).ravel()
    seed_df, example_df = max(true.seed_df, 1), np.asarray(true.example_df)[..., None]
    drawn = np.asarray(true.seed_variance)[..., None] * chdtri(seed_df, 1 - seeds) / seed_df
    return np.asarray(probabilities, np.float64), Difference(
        estimate=np.zeros_like(drawn),
        seed_variance=drawn,
        example_variance=np.asarray(true.example_variance)[..., None]
        * chdtri(example_df, 1 - examples)
        / example_df,
        seed_df=true.seed_df,
        example_df=example_df,
    )


def _example_part(one: Floats) -> tuple[Floats, int]:
    """Variance of the mean that is due to the choice of examples alone, and its degrees of freedom."""
    replicates, examples = one.shape[-2:]
    by_example = one.mean(axis=-2)
    variance = by_example.var(axis=-1, ddof=1) / examples
    if replicates > 1:
        residual = one - by_example[..., None, :] - one.mean(axis=-1, keepdims=True)
        residual += one.mean(axis=(-2, -1), keepdims=True)
        both = np.sum(residual**2, axis=(-2, -1)) / ((replicates - 1) * (examples - 1))
        variance = np.maximum(variance - both / (replicates * examples), 0.0)
    return np.asarray(variance, np.float64), examples - 1


def _tested(difference: Difference, p: Callable[[Floats, Floats], Floats]) -> Floats:
    """``p`` of the size and standard error where there is one; without any spread, 1 or NaN."""
    size, se = np.abs(difference.estimate), difference.se
    with np.errstate(divide="ignore", invalid="ignore"):
        known = p(size, se)
    return np.where(se == 0, np.where(size == 0, 1.0, np.nan), known)
