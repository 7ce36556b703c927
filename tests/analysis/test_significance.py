from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.significance import combined_interval, holm, normal_interval, smallest_visible_difference


def test_holm_equals_published_values() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") in R
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_missing_values_out_of_the_family() -> None:
    np.testing.assert_allclose(holm([0.02, np.nan, 0.04]), [0.04, np.nan, 0.04])
    assert holm([]).size == 0
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])


def test_the_visible_difference_grows_with_the_number_of_comparisons() -> None:
    one = smallest_visible_difference(1.0, 1e6)
    assert one == pytest.approx(stats.norm.isf(0.025) + stats.norm.isf(0.2), rel=1e-4)
    assert smallest_visible_difference(1.0, 1e6, comparisons=10) > one
    assert smallest_visible_difference(2.0, 1e6) == pytest.approx(2 * one)


def test_two_samples_combined_give_welchs_interval() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(1, 1, 5), random.normal(0, 3, 7)
    components = [(sample.var(ddof=1) / len(sample), len(sample) - 1.0) for sample in (a, b)]
    reference = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert combined_interval(a.mean() - b.mean(), components) == pytest.approx(
        (reference.low, reference.high)
    )


def test_an_estimate_without_spread_is_its_own_interval() -> None:
    assert combined_interval(0.5, [(0.0, 10.0)]) == (0.5, 0.5)


def test_the_normal_interval_covers_the_mean_about_95_times_in_100() -> None:
    random = np.random.default_rng(1)
    samples = random.normal(2.0, 1.0, size=(1000, 200))
    inside = [
        low <= 2.0 <= high for low, high in (normal_interval(float(one.mean()), one) for one in samples)
    ]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)
