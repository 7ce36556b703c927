from __future__ import annotations

from pathlib import Path

import numpy as np

from analysis.common_epoch import at_common_epoch
from analysis.plots import learning_curves, png, score_against_cost, score_by_level
from analysis.study import load


def test_levels_stand_in_their_listed_order_with_their_counts(searched: Path) -> None:
    study = load(searched)
    complete = study.trials.query("state == 'complete'")
    pcgrad = next(factor for factor in study.factors if factor.path.endswith("pcgrad"))
    figure = score_by_level(complete, pcgrad, "report/score", "pcgrad")
    assert figure is not None
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    inactive = int(complete[pcgrad.path].isna().sum())
    assert [label.split(" ")[0] for label in labels] == ["false", "true", "inactive"]
    assert labels[2] == f"inactive ({inactive})"
    assert (axes.get_title(loc="left"), axes.get_xlabel()) == ("pcgrad", "report score")
    again = score_by_level(complete, pcgrad, "report/score", "pcgrad")
    assert again is not None
    assert png(figure) == png(again)


def test_a_log_range_is_drawn_on_a_log_axis(searched: Path) -> None:
    study = load(searched)
    rate = next(factor for factor in study.factors if factor.log)
    figure = score_by_level(at_common_epoch(study).trials, rate, "report/score")
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert np.size(axes.lines[0].get_xdata()) == 30


def test_every_trial_has_a_learning_curve_and_the_best_is_named(searched: Path) -> None:
    study = load(searched)
    figure = learning_curves(study.history, study.trials)
    assert figure is not None
    drawn = [line for line in figure.axes[0].lines if np.size(line.get_xdata())]
    evaluated = study.history.dropna(subset="select/score")["number"].nunique()
    assert len(drawn) == evaluated == 31
    complete = study.trials.query("state == 'complete'").set_index("number")
    assert drawn[-1].get_label() == f"trial {complete['score'].idxmax()}"


def test_nothing_to_draw_is_no_picture(searched: Path) -> None:
    study = load(searched)
    none = study.trials.head(0)
    assert learning_curves(study.history.head(0), none) is None
    assert score_against_cost(none, "report/score") is None
    assert score_by_level(none, study.factors[0], "report/score") is None
