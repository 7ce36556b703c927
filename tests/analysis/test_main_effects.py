from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.ablation import VERDICTS, main_effects
from analysis.description import Factor
from analysis.tables import strongest

HEAD = Factor(path="head", levels=("cosine", "concat", "cross"))
SWITCH = Factor(path="switch", levels=(False, True))
RATE = Factor(path="rate", low=1e-5, high=1e-3, log=True)
DROPOUT = Factor(path="dropout", low=0.0, high=0.5)


def frame(score: Any, **factors: Any) -> pd.DataFrame:
    """A trials frame with only what the effects need."""
    score = np.asarray(score, float)
    return pd.DataFrame(
        {
            "number": np.arange(len(score)),
            "state": "complete",
            "config_id": [f"c{place}" for place in range(len(score))],
            "report/score": score,
            "report/sst": score / 2,
            **{name: pd.Series(values) for name, values in factors.items()},
        }
    )


def at(table: pd.DataFrame, factor: str, level: str) -> pd.Series:
    rows = table[(table["factor"] == factor) & (table["level"] == level)]
    assert len(rows) == 1
    found: pd.Series = rows.iloc[0]
    return found


def test_a_lone_switch_is_the_pooled_t_test() -> None:
    random = np.random.default_rng(0)
    on = np.arange(20) % 2 == 1
    score = 0.7 + 0.02 * on + 0.01 * random.normal(size=20)
    row = at(main_effects(frame(score, switch=on), [SWITCH], ["sst"]), "switch", "true")
    reference = stats.ttest_ind(score[on], score[~on])
    low, high = reference.confidence_interval()
    assert row["p"] == pytest.approx(reference.pvalue)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
    assert row["effect"] == pytest.approx(score[on].mean() - score[~on].mean())
    assert row["report/sst"] == pytest.approx(score[on].mean() / 2)


def test_a_lone_log_range_is_a_regression_on_doublings() -> None:
    random = np.random.default_rng(1)
    rate = np.exp(random.uniform(np.log(1e-5), np.log(1e-3), 25))
    score = 0.5 + 0.01 * np.log2(rate) + 0.01 * random.normal(size=25)
    row = at(main_effects(frame(score, rate=rate), [RATE], []), "rate", "per doubling")
    reference = stats.linregress(np.log2(rate), score)
    assert (row["effect"], row["se"], row["p"]) == pytest.approx(
        (reference.slope, reference.stderr, reference.pvalue)
    )


def test_all_factors_together_equal_a_reference_least_squares_fit() -> None:
    random = np.random.default_rng(2)
    n = 40
    head = random.choice(["cosine", "concat", "cross"], n)
    dropout = random.uniform(0, 0.5, n)
    score = random.normal(size=n)
    table = main_effects(frame(score, head=head, dropout=dropout), [HEAD, DROPOUT], [])
    design = np.column_stack([np.ones(n), head == "concat", head == "cross", dropout / 0.1])
    solution, residual, *_ = np.linalg.lstsq(design, score, rcond=None)
    covariance = np.linalg.inv(design.T @ design) * residual[0] / (n - 4)
    found = [at(table, "head", "concat"), at(table, "head", "cross"), at(table, "dropout", "per +0.1")]
    np.testing.assert_allclose([row["effect"] for row in found], solution[1:])
    np.testing.assert_allclose([row["se"] for row in found], np.sqrt(np.diag(covariance))[1:])
    p = 2 * stats.t.sf(np.abs(solution[1:]) / np.sqrt(np.diag(covariance))[1:], n - 4)
    np.testing.assert_allclose([row["p"] for row in found], p)


def test_effects_are_adjusted_for_a_factor_that_went_along() -> None:
    random = np.random.default_rng(3)
    cross = random.random(60) < 0.5
    on = np.where(random.random(60) < 0.85, cross, ~cross)  # the switch follows the head and does nothing
    score = 0.6 + 0.1 * cross + 0.005 * random.normal(size=60)
    head = np.where(cross, "cross", "cosine")
    table = main_effects(frame(score, head=head, switch=on), [HEAD, SWITCH], [])
    assert score[on].mean() - score[~on].mean() > 0.05
    assert at(table, "switch", "true")["effect"] == pytest.approx(0, abs=0.005)
    assert at(table, "head", "cross")["effect"] == pytest.approx(0.1, abs=0.005)
    assert at(table, "head", "cross")["verdict"] == "better"
    assert at(table, "switch", "true")["verdict"] == "unsure"
    assert at(table, "head", "concat")["verdict"] == "never ran"


def test_a_conditional_factor_is_compared_where_it_was_active() -> None:
    random = np.random.default_rng(4)
    sampler = random.choice(["annealed", "concurrent"], 60)
    active = sampler == "concurrent"
    on = random.random(60) < 0.5
    score = 0.6 + 0.03 * active - 0.05 * (active & on) + 0.004 * random.normal(size=60)
    pcgrad = [bool(value) if inside else None for value, inside in zip(on, active, strict=True)]
    factors = [
        Factor(path="sampler", levels=("annealed", "concurrent")),
        Factor(path="pcgrad", levels=(False, True)),
    ]
    table = main_effects(frame(score, sampler=sampler, pcgrad=pcgrad), factors, [])
    assert at(table, "pcgrad", "true")["effect"] == pytest.approx(-0.05, abs=0.005)
    assert at(table, "sampler", "concurrent")["effect"] == pytest.approx(0.03, abs=0.005)
    inactive = at(table, "pcgrad", "inactive")
    assert inactive["verdict"] == "implied"
    assert np.isnan(inactive["effect"])
    assert inactive["n"] == (~active).sum()


def test_a_conditional_range_has_its_slope_over_active_configurations_only() -> None:
    random = np.random.default_rng(5)
    epochs = random.choice([0, 1], 50)
    rate = np.where(epochs == 1, np.exp(random.uniform(np.log(1e-5), np.log(1e-3), 50)), np.nan)
    score = 0.6 + np.where(epochs == 1, 0.02 * np.log2(rate / 1e-4), 0) + 0.003 * random.normal(size=50)
    table = main_effects(
        frame(score, epochs=epochs.astype(object), rate=rate),
        [Factor(path="epochs", levels=(0, 1)), RATE],
        [],
    )
    slope = at(table, "rate", "per doubling")
    assert slope["effect"] == pytest.approx(0.02, abs=0.002)
    assert slope["n"] == (epochs == 1).sum()
    assert slope["verdict"] == "better"


def test_factors_that_only_moved_together_are_called_inseparable() -> None:
    random = np.random.default_rng(6)
    on = np.arange(20) % 2 == 1
    other = random.choice(["cosine", "cross"], 20)
    factors = [SWITCH, Factor(path="twin", levels=("a", "b")), HEAD]
    score = 0.1 * (other == "cross") + 0.01 * random.normal(size=20)
    trials = frame(score, switch=on, twin=np.where(on, "b", "a"), head=other)
    table = main_effects(trials, factors, [])
    assert at(table, "switch", "true")["verdict"] == at(table, "twin", "b")["verdict"] == "inseparable"
    assert np.isnan(at(table, "twin", "b")["ci_low"])
    assert at(table, "head", "cross")["effect"] == pytest.approx(0.1, abs=0.02)


def test_too_few_trials_give_level_means_without_intervals() -> None:
    table = main_effects(frame([0.5, 0.6, 0.7], head=["cosine", "concat", "cross"]), [HEAD], [])
    assert at(table, "head", "cross")["effect"] == pytest.approx(0.2)
    assert table["ci_low"].isna().all()
    assert set(table["verdict"]) == {"baseline", "too few"}
    assert set(table["evidence"]) == {"level means"}


def crowded(score: Any) -> pd.DataFrame:
    """Eight configurations of seven factors: too few for one model of all of them."""
    switches = {f"switch{place}": np.random.default_rng(place).permutation(8) % 2 == 1 for place in range(5)}
    head = ["cosine"] * 4 + ["cross"] * 3 + ["concat"]
    inactive = [None, None, True, True, False, False, False, False]
    return frame(score, head=head, dropout=np.linspace(0, 0.5, 8), switch=inactive, **switches)


CROWD = [HEAD, DROPOUT, SWITCH, *(Factor(path=f"switch{place}", levels=(False, True)) for place in range(5))]


def test_without_a_model_levels_are_compared_by_welchs_test_and_ranges_by_regression() -> None:
    score = np.array([0.50, 0.51, 0.52, 0.50, 0.70, 0.73, 0.69, 0.9])
    table = main_effects(crowded(score), CROWD, [])
    row = at(table, "head", "cross")
    reference = stats.ttest_ind(score[4:7], score[:4], equal_var=False)
    low, high = reference.confidence_interval()
    assert (row["effect"], row["p"]) == pytest.approx(
        (score[4:7].mean() - score[:4].mean(), reference.pvalue)
    )
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
    assert row["verdict"] == "better"
    slope, line = at(table, "dropout", "per +0.1"), stats.linregress(np.linspace(0, 5, 8), score)
    assert (slope["effect"], slope["se"], slope["p"]) == pytest.approx((line.slope, line.stderr, line.pvalue))
    assert set(table["evidence"]) == {"level means"}


def test_without_a_model_a_level_seen_once_or_set_by_another_factor_is_not_judged() -> None:
    table = main_effects(crowded([0.50, 0.51, 0.52, 0.50, 0.70, 0.73, 0.69, 0.9]), CROWD, [])
    once, inactive = at(table, "head", "concat"), at(table, "switch", "inactive")
    assert (once["n"], once["verdict"]) == (1, "too few")
    assert once["effect"] == pytest.approx(0.9 - 0.5075)
    assert np.isnan(once["p"])
    assert (inactive["n"], inactive["verdict"]) == (2, "implied")
    assert np.isnan(inactive["effect"])


def test_equal_scores_on_both_sides_are_no_certainty() -> None:
    table = main_effects(crowded([0.5] * 4 + [0.7] * 4), CROWD, [])
    row = at(table, "head", "cross")
    assert row["effect"] == pytest.approx(0.2)
    assert row["verdict"] == "too few"


def test_every_verdict_is_explained() -> None:
    table = main_effects(crowded([0.50, 0.51, 0.52, 0.50, 0.70, 0.73, 0.69, 0.9]), CROWD, [])
    assert set(table["verdict"]) <= set(VERDICTS)


def test_no_trials_give_a_table_of_levels_that_never_ran() -> None:
    table = main_effects(frame([], head=[], rate=[]), [HEAD, RATE], ["sst"])
    assert set(table["verdict"]) == {"never ran"}
    assert (table["n"] == 0).all()


def test_replicates_count_once() -> None:
    random = np.random.default_rng(7)
    on = np.arange(16) % 2 == 1
    trials = frame(random.normal(size=16), switch=on)
    plain = main_effects(trials, [SWITCH], [])
    replicate = trials.iloc[:4].copy()
    same = main_effects(pd.concat([trials, replicate]), [SWITCH], [])
    pd.testing.assert_frame_equal(same, plain)


def test_the_baseline_is_the_first_level_unless_it_hardly_ran() -> None:
    score = np.linspace(0, 1, 12)
    often = main_effects(frame(score, head=["cosine", "concat", "cross"] * 4), [HEAD], [])
    assert at(often, "head", "cosine")["baseline"]
    rarely = main_effects(frame(score, head=["cosine"] + ["cross"] * 11), [HEAD], [])
    assert at(rarely, "head", "cross")["baseline"]


def test_holm_correction_covers_the_whole_table_and_false_positives_stay_rare() -> None:
    random = np.random.default_rng(8)
    factors, wrong, repeats = [HEAD, SWITCH, DROPOUT], 0, 100
    for _ in range(repeats):
        trials = frame(
            random.normal(size=30),
            head=random.choice(["cosine", "concat", "cross"], 30),
            switch=random.random(30) < 0.5,
            dropout=random.uniform(0, 0.5, 30),
        )
        table = main_effects(trials, factors, [])
        assert (table["p_holm"].dropna() >= table["p"].dropna()).all()
        wrong += int((table["p_holm"] < 0.05).any())
    assert wrong / repeats <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)


def test_the_smallest_visible_effect_is_found_about_four_times_in_five() -> None:
    random = np.random.default_rng(9)
    on, repeats, found = np.arange(20) % 2 == 1, 100, 0
    noise_error = np.sqrt(2 / 10)
    visible = (stats.t.isf(0.025, 18) + stats.t.isf(0.2, 18)) * noise_error
    reported = []
    for _ in range(repeats):
        score = visible * on + random.normal(size=20)
        row = at(main_effects(frame(score, switch=on), [SWITCH], []), "switch", "true")
        reported.append(row["visible"])
        found += int(row["p_holm"] < 0.05)
    assert found / repeats == pytest.approx(0.8, abs=0.12)
    assert np.mean(reported) == pytest.approx(visible, rel=0.05)


def test_what_each_row_could_have_shown_is_at_the_level_corrected_for_all_rows() -> None:
    random = np.random.default_rng(10)
    head, on = random.choice(["cosine", "concat"], 20), np.arange(20) % 2 == 1
    table = main_effects(frame(random.normal(size=20), head=head, switch=on), [HEAD, SWITCH], [])
    tested = table[table["p"].notna()]
    assert len(tested) == 2
    reached = stats.nct.sf(stats.t.isf(0.025 / 2, 17), 17, tested["visible"] / tested["se"])
    np.testing.assert_allclose(reached, 0.8)


def test_the_summary_shows_the_factors_with_the_smallest_p_values_in_the_tables_order() -> None:
    table = pd.DataFrame(
        {
            "factor": ["a", "a", "b", "b", "c", "c", "d"],
            "level": list("xyxyxyz"),
            "p": [np.nan, 0.5, np.nan, 0.01, np.nan, np.nan, 0.2],
        }
    )
    assert strongest(table, 2)["factor"].tolist() == ["b", "b", "d"]
    assert strongest(table, 9).equals(table)


def test_replicates_are_averaged_and_count_as_one_configuration() -> None:
    random = np.random.default_rng(3)
    on = np.arange(12) % 2 == 1
    runs = 0.7 + 0.02 * on[:, None] + 0.01 * random.normal(size=(12, 3))
    repeated = frame(runs.ravel(), switch=np.repeat(on, 3))
    repeated["config_id"] = np.repeat([f"c{place}" for place in range(12)], 3)
    row = at(main_effects(repeated, [SWITCH], ["sst"]), "switch", "true")
    means = runs.mean(axis=1)
    assert row["n"] == 6
    assert row["effect"] == pytest.approx(means[on].mean() - means[~on].mean())
    assert row["p"] == pytest.approx(stats.ttest_ind(means[on], means[~on]).pvalue)
