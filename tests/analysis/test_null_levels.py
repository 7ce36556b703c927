"""A level null is a level like any other, and not that its factor was not active."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from analysis import plots
from analysis.ablation import leaderboard, main_effects
from analysis.conditions import reachable_levels
from analysis.importance import importance
from analysis.interactions import interactions
from analysis.model_choice import choose_model
from analysis.one_factor import planned_levels
from analysis.settings_text import settings_text, short_names, telling_settings
from analysis.study import Study, load
from tests.analysis.conftest import StudyWriter

NewStudy = Callable[..., StudyWriter]
SAMPLER, SIZE, END = "stages.finetune.sampler.kind", "tasks.qqp.batch_size", "stages.finetune.sampler.end"
AXES: list[dict[str, Any]] = [
    {"path": SIZE, "levels": [None, 64]},
    {"path": SAMPLER, "levels": ["sequential", "concurrent"]},
    {"path": END, "levels": [None, "largest"]},
]
CHANGE = {64: 0.05, "largest": 0.1}
COUNT = 24


def settings(number: int) -> dict[str, Any]:
    """All combinations in turn; of four configurations one has ``END`` at null, one at its other level."""
    kind = ("sequential", "concurrent")[number // 2 % 2]
    end = {END: (None, "largest")[number // 4 % 2]} if kind == "concurrent" else {}
    return {SIZE: (None, 64)[number % 2], SAMPLER: kind, **end}


@pytest.fixture
def study(new_study: NewStudy) -> Study:
    ends = {"choice": [None, "largest"], "when": {SAMPLER: "concurrent"}}
    writer = new_study(factors=AXES, space={"stages": {"finetune": {"sampler": {"end": ends}}}})
    noise = np.random.default_rng(0).normal(size=COUNT)
    for number in range(COUNT):
        drawn = settings(number)
        score = 0.5 + sum(CHANGE.get(level, 0.0) for level in drawn.values()) + 0.002 * noise[number]
        writer.add_curve(TrialState.COMPLETE, drawn, [score], config_id=f"c{number}")
    return load(writer.path)


def rows(table: pd.DataFrame, path: str) -> pd.DataFrame:
    return table[table["factor"] == path].set_index("level")


def test_null_counts_as_a_level_and_not_as_inactive(study: Study) -> None:
    table = main_effects(study.trials, study.factors, study.tasks)
    assert rows(table, SIZE)["n"].to_dict() == {"null": 12, "64": 12}
    assert rows(table, END)["n"].to_dict() == {"null": 6, "largest": 6, "inactive": 12}
    assert rows(table, SIZE)["verdict"].to_dict() == {"null": "baseline", "64": "better"}
    assert rows(table, END)["verdict"].to_dict() == {
        "null": "baseline",
        "largest": "better",
        "inactive": "implied",
    }


def test_effects_are_against_null_where_the_factor_was_active(study: Study) -> None:
    table = main_effects(study.trials, study.factors, study.tasks)
    assert rows(table, SIZE).loc["64", "effect"] == pytest.approx(0.05, abs=0.005)
    assert rows(table, END).loc["largest", "effect"] == pytest.approx(0.1, abs=0.005)
    assert rows(table, SAMPLER).loc["concurrent", "effect"] == pytest.approx(0, abs=0.005)


def test_null_is_told_among_the_settings_and_an_inactive_factor_is_not(study: Study) -> None:
    names = short_names(study.factors)
    leaders = leaderboard(study.trials, study.tasks, COUNT, study.factors).set_index("config_id")
    told = {config: settings_text(row, names) for config, row in leaders.iterrows()}
    assert told["c0"] == f"{names[SIZE]}=null, {names[SAMPLER]}=sequential"
    assert told["c2"] == f"{names[SIZE]}=null, {names[SAMPLER]}=concurrent, {names[END]}=null"
    assert choose_model(study, 2).settings == {2: told["c2"]}


def test_null_in_the_base_is_the_plain_level(study: Study) -> None:
    more = [*study.factors, *(study.factors[1].model_copy(update={"path": f"f{n}"}) for n in range(8))]
    row = study.trials.iloc[2].reindex([factor.path for factor in more], fill_value="sequential")
    base = {factor.path: "concurrent" for factor in more} | {SIZE: None, END: "largest"}
    told = telling_settings(row, more, base)
    assert "end=null" in told and "batch_size" not in told


def test_null_and_inactive_are_told_apart_in_importances_and_interactions(study: Study) -> None:
    found = importance(study.trials, study.factors, [], resamples=10).table
    shares = found.set_index("factor")["importance"]
    assert shares[SIZE] > 0 and shares[END] > 0
    pairs = interactions(study.trials, study.factors).set_index(["first", "second"])
    assert pairs.loc[(SIZE, END), "together"] == 3
    assert pairs.loc[(SAMPLER, END), "verdict"] == "inseparable"


def test_pictures_have_a_row_and_a_line_for_null(study: Study) -> None:
    size, _, end = study.factors
    figure = plots.score_by_level(study.trials, end, "report/score")
    assert figure is not None
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["null (6)", "largest (6)", "inactive (12)"]
    crossed = plots.interaction(study.trials, size, end, "report/score")
    assert crossed is not None
    assert [label.get_text() for label in crossed.axes[0].get_xticklabels()] == [
        "null",
        "largest",
        "inactive",
    ]


def test_a_base_at_null_is_named_as_its_level(new_study: NewStudy) -> None:
    other = {"factor": SIZE, "level": 64, "config_id": "other"}
    back = {"factor": END, "level": None, "config_id": "back"}
    writer = new_study(
        factors=AXES,
        space={"search": {"design": "one_factor"}},
        base={SIZE: None, SAMPLER: "concurrent", END: "largest"},
        baseline="base",
        comparisons=[other, back],
    )
    levels = planned_levels(load(writer.path))
    assert levels[["level", "base"]].to_numpy().tolist() == [
        ["null", True],
        ["64", False],
        ["largest", True],
        ["null", False],
    ]


@pytest.mark.parametrize(("size", "reached"), [("null", {END: "largest"}), (64, {})])
def test_a_condition_on_null_holds_where_null_was_chosen(
    new_study: NewStudy, size: Any, reached: dict[str, str]
) -> None:
    ends = {"choice": [None, "largest"], "when": {SIZE: None}}
    writer = new_study(factors=AXES, space={"stages": {"finetune": {"sampler": {"end": ends}}}})
    row = {SIZE: size, SAMPLER: "concurrent", END: "largest" if reached else None}
    assert reachable_levels(load(writer.path), row, [SAMPLER]) == {SIZE: size, **reached}


def test_whole_numbers_of_a_factor_that_is_not_always_active_stay_whole(new_study: NewStudy) -> None:
    steps: dict[str, Any] = {"path": "stages.mlm.steps", "levels": [10000, 10001]}
    writer = new_study(factors=[steps])
    for number in range(9):
        drawn = {steps["path"]: steps["levels"][number % 3]} if number % 3 < 2 else {}
        writer.add_curve(TrialState.COMPLETE, drawn, [0.5 + number / 100], config_id=f"c{number}")
    study = load(writer.path)
    table = rows(main_effects(study.trials, study.factors, study.tasks), steps["path"])
    assert table["n"].to_dict() == {"10000": 3, "10001": 3, "inactive": 3}
