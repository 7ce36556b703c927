"""PED-ANOVA importances of a sampled study's factors."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import create_trial

from analysis.description import Factor
from analysis.importance import MIN_CONFIGURATIONS, importance
from tests.analysis.conftest import FACTORS, HEAD_EFFECT, distribution, sample_parameters

HEAD, DROPOUT = "tasks.sts.head.kind", "stages.finetune.dropout"
AXES = [Factor.model_validate(factor) for factor in FACTORS]


def sampled(count: int) -> pd.DataFrame:
    """Trials whose sts depends on the head alone, and sst on dropout alone."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        drawn = sample_parameters(random)
        metrics = {
            "report/sst": -drawn[DROPOUT] + 0.02 * random.normal(),
            "report/sts": HEAD_EFFECT[drawn[HEAD]] + 0.02 * random.normal(),
        }
        score = np.mean(list(metrics.values()))
        factors = {factor.path: drawn.get(factor.path) for factor in AXES}
        rows.append(
            {"number": number, "config_id": f"c{number}", "report/score": score, **metrics, **factors}
        )
    return pd.DataFrame(rows)


def optunas_shares(trials: pd.DataFrame, best: float) -> dict[str, float]:
    """Optuna's own importances for sts, adding up to 1, in a study of the same trials."""
    study = optuna.create_study(direction="maximize")
    spaces = {factor["path"]: distribution(factor) for factor in FACTORS}
    for row in trials.to_dict("records"):
        active = {name: row[name] for name in spaces if not pd.isna(row[name])}
        kept = {name: spaces[name] for name in active}
        study.add_trial(create_trial(params=active, distributions=kept, value=row["report/sts"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = PedAnovaImportanceEvaluator(target_quantile=best).evaluate(study)
    return {name: value / sum(raw.values()) for name, value in raw.items()}


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return sampled(150)


def test_each_objective_is_led_by_the_factor_that_decides_it(trials: pd.DataFrame) -> None:
    table = importance(trials, AXES, ["sst", "sts"], resamples=10).table
    first = table.groupby("objective", sort=False)["factor"].first()
    assert (first["report/sst"], first["report/sts"]) == (DROPOUT, HEAD)
    assert table.groupby("objective")["importance"].sum().to_numpy() == pytest.approx(1.0)
    assert list(first.index) == ["report/score", "report/sst", "report/sts"]


def test_values_are_optunas_own_on_a_study_of_the_same_trials(trials: pd.DataFrame) -> None:
    table = importance(trials, AXES, ["sts"], resamples=1).table
    found = table[table["objective"] == "report/sts"].set_index("factor")["importance"]
    assert found.to_dict() == pytest.approx(optunas_shares(trials, best=0.1))


def test_of_few_configurations_the_best_five_count_and_not_the_best_tenth(trials: pd.DataFrame) -> None:
    few = trials.head(MIN_CONFIGURATIONS)
    table = importance(few, AXES, ["sts"], resamples=1).table
    found = table[table["objective"] == "report/sts"].set_index("factor")["importance"].to_dict()
    assert found == pytest.approx(optunas_shares(few, best=0.25))
    assert found != pytest.approx(optunas_shares(few, best=0.1), abs=0.01)


def test_the_spread_is_wider_where_there_are_fewer_configurations(trials: pd.DataFrame) -> None:
    few, many = (importance(trials.head(count), AXES, ["sst", "sts"]).table for count in (30, 150))
    assert many["sd"].mean() < few["sd"].mean()
    assert (few["low"] <= few["high"]).all()


def test_replicates_are_one_configuration(trials: pd.DataFrame) -> None:
    twice = pd.concat([trials, trials.assign(number=trials["number"] + 1000)])
    pd.testing.assert_frame_equal(
        importance(twice, AXES, ["sts"], resamples=2).table,
        importance(trials, AXES, ["sts"], resamples=2).table,
    )


def test_a_factor_that_is_rarely_active_counts_only_where_it_is(trials: pd.DataFrame) -> None:
    table = importance(trials, AXES, ["sts"], resamples=2).table.set_index(["objective", "factor"])
    assert table.loc[("report/sts", "stages.finetune.pcgrad"), "importance"] < 0.1


def test_too_few_configurations_give_an_empty_table_and_the_reason(trials: pd.DataFrame) -> None:
    found = importance(trials.head(MIN_CONFIGURATIONS - 1), AXES, ["sst", "sts"])
    assert found.table.empty
    assert str(MIN_CONFIGURATIONS - 1) in found.reason
    same = trials.assign(**{factor.path: trials[factor.path].iloc[0] for factor in AXES})
    assert "no factor" in importance(same, AXES, ["sst", "sts"]).reason
    assert importance(trials.head(0), AXES, ["sst"]).table.empty


def test_the_interval_holds_nine_tenths_of_the_bootstrap(trials: pd.DataFrame) -> None:
    table = importance(trials, AXES, ["sst"], resamples=40).table
    spread = table[table["sd"] > 0]
    # 3.3 standard deviations for a bell shape; its middle half would be 1.3 wide.
    assert ((spread["high"] - spread["low"]) / spread["sd"]).median() > 2.4
