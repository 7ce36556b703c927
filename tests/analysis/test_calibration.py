"""The tests and intervals of the ablation table keep their levels: many simulated studies without files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from analysis.intervals import Difference, interval, p_difference, p_equivalent, paired_difference, visible
from analysis.scoring import influence
from analysis.significance import holm

STUDIES = 2500
LIMIT = 0.05 + 3 * np.sqrt(0.05 * 0.95 / STUDIES)
"""5%, and three standard errors of a rate among so many studies."""
SEED_DOMINATED = (0.5, 0.2)
"""How much a configuration varies with its seed, and how much its own examples differ."""
EXAMPLE_DOMINATED = (0.05, 1.5)
SITUATIONS = [SEED_DOMINATED, EXAMPLE_DOMINATED, (0.3, 0.7)]
NAMES = ["seed-dominated", "example-dominated", "both"]


def accuracies(
    random: np.random.Generator,
    shape: tuple[int, int],
    spread: tuple[float, float],
    shifts: Sequence[float],
) -> np.ndarray:
    """Right or wrong (studies, configurations, replicates, examples): some examples are hard for all,
    others for a configuration, whatever its seed; ``shifts`` are the configurations' abilities."""
    (replicates, examples), (seeds, own), count = shape, spread, len(shifts)
    ability = np.reshape(shifts, (1, count, 1, 1)) + seeds * draw(random, count, replicates, 1)
    ability = ability + own * draw(random, count, 1, examples) + draw(random, 1, 1, examples)
    return np.asarray(ability + draw(random, count, replicates, examples) > 0, np.float64)


def pearsons(
    random: np.random.Generator,
    shape: tuple[int, int],
    spread: tuple[float, float],
    correlations: Sequence[float],
) -> np.ndarray:
    """Influences on (r + 1)/2 of scores whose true correlation with the labels is drawn with the seed,
    around the configuration's own."""
    (replicates, examples), (seeds, own), count = shape, spread, len(correlations)
    labels = draw(random, 1, 1, examples)
    true = np.reshape(correlations, (1, count, 1, 1)) + 0.08 * seeds * draw(random, count, replicates, 1)
    noise = own * draw(random, count, 1, examples) + 0.8 * draw(random, count, replicates, examples)
    scores = true * labels + np.sqrt((1 - true**2) / (own**2 + 0.64)) * noise
    return influence("regression", scores[..., None], labels)


def draw(random: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(random.standard_normal((STUDIES, *shape), np.float32))


def against_first(pulls: np.ndarray) -> np.ndarray:
    return np.asarray(pulls[:, 1:] - pulls[:, :1])


def covered(found: Difference, truth: float) -> float:
    low, high = interval(found)
    return float(np.mean((low <= truth) & (truth <= high)))


def accuracy_gap(spread: tuple[float, float], shift: float) -> float:
    return float(stats.norm.cdf(shift / np.sqrt(2 + spread[0] ** 2 + spread[1] ** 2)) - 0.5)


@pytest.mark.parametrize("spread", SITUATIONS, ids=NAMES)
@pytest.mark.parametrize("replicates", [3, 5])
def test_intervals_of_accuracies_cover_the_truth_93_to_97_times_in_100(
    replicates: int, spread: tuple[float, float]
) -> None:
    random = np.random.default_rng(10 * replicates)
    found = paired_difference([against_first(accuracies(random, (replicates, 200), spread, (0.0, 0.5)))])
    assert 0.93 <= covered(found, accuracy_gap(spread, 0.5)) <= 0.97


@pytest.mark.parametrize("spread", SITUATIONS, ids=NAMES)
@pytest.mark.parametrize("replicates", [3, 5])
def test_intervals_of_pearsons_r_cover_the_truth_93_to_97_times_in_100(
    replicates: int, spread: tuple[float, float]
) -> None:
    random = np.random.default_rng(10 * replicates + 1)
    found = paired_difference([against_first(pearsons(random, (replicates, 200), spread, (0.6, 0.7)))])
    assert 0.93 <= covered(found, 0.05) <= 0.97


@pytest.mark.parametrize("spread", SITUATIONS, ids=NAMES)
@pytest.mark.parametrize("replicates", [3, 5])
def test_without_effects_5_tables_in_100_at_most_call_any_of_six_levels_different(
    replicates: int, spread: tuple[float, float]
) -> None:
    random = np.random.default_rng(10 * replicates + 2)
    tasks = [
        accuracies(random, (replicates, 60), spread, [0.0] * 7),
        pearsons(random, (replicates, 60), spread, [0.7] * 7),
    ]
    p = p_difference(paired_difference([against_first(pulls) for pulls in tasks]))
    wrong = np.mean([(holm(one) < 0.05).any() for one in p])
    assert wrong <= LIMIT
    assert wrong > 0.005  # so a real effect has a chance


@pytest.mark.parametrize("spread", SITUATIONS, ids=NAMES)
@pytest.mark.parametrize("replicates", [3, 5])
def test_equivalence_is_wrongly_claimed_5_times_in_100_at_most(
    replicates: int, spread: tuple[float, float]
) -> None:
    random = np.random.default_rng(10 * replicates + 3)
    found = paired_difference([against_first(accuracies(random, (replicates, 200), spread, (0.0, 0.5)))])
    assert np.mean(p_equivalent(found, accuracy_gap(spread, 0.5)) < 0.05) <= LIMIT
    found = paired_difference([against_first(pearsons(random, (replicates, 200), spread, (0.6, 0.7)))])
    assert np.mean(p_equivalent(found, 0.05) < 0.05) <= LIMIT


@pytest.mark.parametrize("spread", [(1.0, 0.5), (0.05, 2.0), (0.3, 1.5)], ids=NAMES)
@pytest.mark.parametrize("comparisons", [1, 9])
@pytest.mark.parametrize("replicates", [3, 5])
def test_a_difference_as_large_as_the_visible_one_is_found_four_times_in_five(
    replicates: int, comparisons: int, spread: tuple[float, float]
) -> None:
    random = np.random.default_rng(10 * replicates + comparisons)
    (seeds, own), both, examples = spread, 0.5, 40
    true = Difference(
        estimate=np.array(0.0),
        seed_variance=np.array(seeds**2 / replicates + both**2 / replicates / examples),
        example_variance=np.array(own**2 / examples),
        seed_df=replicates - 1,
        example_df=np.array(examples - 1.0),
    )
    pulls = visible(true, comparisons) + seeds * draw(random, replicates, 1)
    pulls = pulls + own * draw(random, 1, examples) + both * draw(random, replicates, examples)
    found = np.mean(p_difference(paired_difference([pulls])) < 0.05 / comparisons)
    assert 0.78 <= found <= 0.84


def exact_levels(replicates: int, alpha: float, satterthwaite: bool) -> np.ndarray:
    """False positives by quadrature, for all shares of the variance, the examples' part known."""
    df = replicates - 1
    quantiles = (np.arange(500) + 0.5) / 500
    examples = np.array([0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 30, 100])[:, None]
    seeds = np.broadcast_to(stats.chi2.ppf(quantiles, df) / df, (len(examples), 500))
    known = np.broadcast_to(examples, seeds.shape)
    found = Difference(np.zeros_like(seeds), seeds, known, df, np.full_like(seeds, 1e9))
    critical = found.critical(alpha / 2)
    if satterthwaite:
        critical = stats.t.isf(alpha / 2, df * (seeds + known) ** 2 / seeds**2)
    return np.asarray(2 * stats.norm.sf(critical * found.se / np.sqrt(1 + examples)).mean(axis=1))


@pytest.mark.parametrize("replicates", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.005])
def test_false_positives_keep_to_the_level_whatever_the_parts_of_the_variance(
    replicates: int, alpha: float
) -> None:
    levels = exact_levels(replicates, alpha, satterthwaite=False)
    assert levels.max() <= 1.04 * alpha
    if replicates > 2 and alpha == 0.05:
        assert levels.min() >= 0.035


def test_satterthwaites_degrees_of_freedom_alone_do_not_keep_the_level() -> None:
    assert exact_levels(3, 0.05, satterthwaite=True).max() > 0.075
    assert exact_levels(3, 0.005, satterthwaite=True).max() > 5 * 0.005
