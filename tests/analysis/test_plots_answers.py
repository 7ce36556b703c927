"""Pictures of scores, trade-offs, ensembles and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import plots
from analysis.description import TaskInfo
from analysis.ensemble import best_trials, greedy
from analysis.growth import greedy_growth
from analysis.pareto import hypervolume_over_time, pareto_front
from analysis.study import load

TASKS = ["sst", "qqp", "sts"]


def test_every_task_has_a_strip_of_all_complete_trials(searched: Path) -> None:
    study = load(searched)
    figure = plots.scores_by_task(study.trials, TASKS)
    assert figure is not None
    assert [axes.get_yticklabels()[0].get_text() for axes in figure.axes] == ["score", *TASKS]
    complete = study.trials.query("state == 'complete'").set_index("number")
    for axes, name in zip(figure.axes, ("score", *TASKS), strict=True):
        dots, median, best = axes.lines
        assert sorted(dots.get_xdata()) == pytest.approx(sorted(complete[f"report/{name}"]))
        assert median.get_xdata()[0] == pytest.approx(complete[f"report/{name}"].median())
        assert best.get_xdata()[0] == complete.loc[complete["score"].idxmax(), f"report/{name}"]
    assert plots.scores_by_task(study.trials.head(0), TASKS) is None


def test_the_front_stands_out_in_every_pair_of_tasks(searched: Path) -> None:
    study = load(searched)
    figure = plots.pareto(study.trials, TASKS)
    assert figure is not None
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes] == [
        ("select sst", "select qqp"),
        ("select sst", "select sts"),
        ("select qqp", "select sts"),
    ]
    front = pareto_front(study.trials, TASKS)
    drawn = figure.axes[1].lines[1]
    assert list(drawn.get_xdata()) == front["select/sst"].tolist()
    assert list(drawn.get_ydata()) == front["select/sts"].tolist()
    assert plots.pareto(study.trials, ["sst"]) is None
    assert plots.pareto(study.trials.head(1), TASKS) is None


def test_the_hypervolume_rises_with_the_trials_that_came_onto_the_front(searched: Path) -> None:
    growth = hypervolume_over_time(load(searched).trials, TASKS)
    figure = plots.hypervolume(growth)
    assert figure is not None
    steps, came = figure.axes[0].lines
    assert list(steps.get_ydata()) == growth["hypervolume"].tolist()
    assert len(came.get_xdata()) == growth["on_front"].sum()
    assert plots.hypervolume(growth.head(1)) is None


def test_the_growth_passes_through_the_ensemble_that_greedy_selection_takes(searched: Path) -> None:
    study = load(searched)
    predictions = {task: study.predictions(task, best_trials(study)) for task in TASKS}
    growth = greedy_growth(predictions, study.tasks, rounds=12)
    chosen = greedy(predictions, study.tasks, rounds=12)
    for task in TASKS:
        own = growth[growth["task"] == task]
        assert own["added"].tolist() == list(range(1, 13))
        taken = own[own["taken"]]
        shares = taken["number"].value_counts(normalize=True).to_dict()
        assert shares == pytest.approx(chosen[task].members)
        assert taken[["select", "report"]].iloc[-1].tolist() == pytest.approx(
            [chosen[task].select, chosen[task].report]
        )
        assert own["select"].max() == pytest.approx(taken["select"].iloc[-1])


def test_an_ensembles_growth_is_drawn_for_both_halves_and_marks_what_is_taken() -> None:
    growth = pd.DataFrame(
        {
            "task": "sst",
            "added": [1, 2, 3],
            "number": [4, 7, 4],
            "select": [0.5, 0.6, 0.55],
            "report": [0.5, 0.4, 0.45],
            "taken": [True, True, False],
        }
    )
    figure = plots.ensemble_growth(growth)
    assert figure is not None
    select, report, taken = figure.axes[0].lines
    assert (list(select.get_ydata()), list(report.get_ydata())) == ([0.5, 0.6, 0.55], [0.5, 0.4, 0.45])
    assert taken.get_xdata()[0] == 2
    assert plots.ensemble_growth(growth.head(0)) is None


def test_rounding_errors_of_a_lone_member_do_not_look_like_growth() -> None:
    own = pd.DataFrame({"task": "sts", "added": [1, 2], "select": [0.4, 0.4 + 1e-13], "taken": [True, False]})
    figure = plots.ensemble_growth(own.assign(report=own["select"]))
    assert figure is not None
    low, high = figure.axes[0].get_ylim()
    assert high - low == pytest.approx(0.01)


def test_without_predictions_nothing_grows() -> None:
    none = pd.DataFrame({name: [] for name in ("number", "split", "half", "id", "label", "output_0")})
    assert greedy_growth({"sst": none}, {"sst": TaskInfo(kind="classification", classes=5)}).empty


def test_a_confusion_matrix_has_counts_and_shares_of_the_label() -> None:
    counts = pd.DataFrame(
        [[3, 1], [0, 0]], pd.Index([0, 1], name="label"), pd.Index([0, 1], name="predicted")
    )
    figure = plots.confusion_matrix(counts)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts] == ["3\n75%", "1\n25%", "0\n0%", "0\n0%"]
    assert plots.confusion_matrix(counts * 0) is None


def test_long_names_of_classes_are_cut_and_turned_and_never_read_as_formulas() -> None:
    names = [f"{number} a label of ${number} and no less" for number in range(4)]
    figure = plots.confusion_matrix(pd.DataFrame(np.ones((4, 4)), names, names))
    assert figure is not None
    labels = figure.axes[0].get_xticklabels()
    assert labels[1].get_text() == "1 a label of $1…"
    assert labels[0].get_rotation() == 90 and not labels[0].get_parse_math()
    assert plots.png(figure).startswith(b"\x89PNG")


def test_mistakes_are_drawn_as_errors_are() -> None:
    groups = pd.DataFrame({"feature": ["characters"], "group": ["under 50"], "n": [4], "mistakes": [0.25]})
    figure = plots.share_of_mistakes({"tickets": groups.assign(low=0.05, high=0.7)})
    assert figure is not None
    assert list(figure.axes[0].lines[1].get_xdata()) == [0.25]
    assert figure.axes[0].get_xlabel() == "share of wrong answers"


def test_errors_are_drawn_by_group_a_panel_a_task() -> None:
    groups = pd.DataFrame(
        {
            "feature": ["characters", "characters", "word overlap"],
            "group": ["under 50", "300 and more", "under 25%"],
            "n": [30, 1, 31],
            "error": [0.1, 0.4, 9.0],
            "low": [0.0, np.nan, 8.0],
            "high": [0.2, np.nan, 10.0],
        }
    )
    figure = plots.signed_error({"sts": groups, "sst": groups.head(0)})
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["under 50 (30)", "300 and more (1)"]
    assert list(axes.lines[1].get_xdata()) == [0.1, 0.4]
    assert plots.png(figure).startswith(b"\x89PNG")
    assert plots.signed_error({"sts": groups.head(0)}) is None
