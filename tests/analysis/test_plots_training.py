"""Pictures of training: curves, lanes, cost, timeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analysis import plots
from analysis.plots.curves import MOST_CURVES
from analysis.plots.timeline import packed
from analysis.study import load

TASKS = ["sst", "qqp", "sts"]
MORNING = pd.Timestamp("2026-01-01 09:00")


def texts(figure: Figure | None) -> list[str]:
    """What the legend below a figure says."""
    assert figure is not None
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def curves_drawn(figure: Figure | None) -> int:
    assert figure is not None
    return sum(
        len(one.get_segments()) for one in figure.axes[0].collections if isinstance(one, LineCollection)
    )


def epochs(numbers: range, names: list[str], length: int = 3) -> pd.DataFrame:
    """Scored epochs whose every metric is 0.1 a number and 0.01 an epoch."""
    return pd.DataFrame(
        [
            {"number": number, "stage": "finetune", "epoch": epoch}
            | {name: 0.1 * number + 0.01 * epoch for name in names}
            for number in numbers
            for epoch in range(1, length + 1)
        ]
    )


def times(*rows: tuple[float, float | None], state: str = "complete") -> pd.DataFrame:
    """Trials by the minutes at which they started and finished."""
    return pd.DataFrame(
        {
            "number": range(len(rows)),
            "state": state,
            "started": [MORNING + pd.Timedelta(minutes=begin) for begin, _ in rows],
            "finished": [pd.NaT if end is None else MORNING + pd.Timedelta(minutes=end) for _, end in rows],
        }
    )


def test_every_trial_has_a_learning_curve_and_the_best_is_named(searched: Path) -> None:
    study = load(searched)
    figure = plots.learning_curves(study.scored_epochs, study.trials)
    assert figure is not None
    evaluated = study.scored_epochs["number"].nunique()
    assert curves_drawn(figure) + 1 == evaluated == 31
    complete = study.trials.query("state == 'complete'").set_index("number")
    assert figure.axes[0].lines[-1].get_label() == f"trial {complete['score'].idxmax()}"


def test_of_thousands_of_curves_a_spread_of_some_is_drawn() -> None:
    history = epochs(range(1000), ["select/score"])
    trials = pd.DataFrame({"number": range(1000), "state": "complete", "score": np.arange(1000.0)})
    assert curves_drawn(plots.learning_curves(history, trials)) == MOST_CURVES


def test_train_stands_beside_dev_for_every_task_and_the_score() -> None:
    names = [f"{part}/{name}" for part in ("dev", "train") for name in ("score", *TASKS)]
    figure = plots.train_against_dev(epochs(range(6), names), {f"trial {n}": n for n in range(6)}, TASKS)
    assert figure is not None
    assert [axes.get_ylabel() for axes in figure.axes] == ["score", *TASKS]
    full = [line for line in figure.axes[1].lines if line.get_linestyle() == "-"]
    dashed = [line for line in figure.axes[1].lines if line.get_linestyle() == "--"]
    assert [float(line.get_ydata()[0]) for line in full] == pytest.approx([0.01, 0.11, 0.21, 0.31])
    assert len(dashed) == 4
    assert texts(figure) == ["trial 0", "trial 1", "trial 2", "trial 3", "dev", "train"]


def test_without_train_metrics_dev_is_drawn_alone_and_one_epoch_is_no_curve() -> None:
    names = [f"dev/{name}" for name in ("score", *TASKS)]
    figure = plots.train_against_dev(epochs(range(2), names), {"a": 0, "b": 1}, TASKS)
    assert texts(figure) == ["a", "b"]
    assert plots.train_against_dev(epochs(range(2), names, 1), {"a": 0, "b": 1}, TASKS) is None


def test_a_lane_is_the_darker_the_more_of_an_epoch_was_its_tasks() -> None:
    history = pd.DataFrame(
        {
            "stage": ["finetune", "finetune"],
            "train_loss/qqp": [0.6, 0.4],
            "train_loss/sst": [0.6, 0.4],
            "task_examples/qqp": [90, 50],
            "task_examples/sst": [10, 50],
        }
    )
    figure = plots.tasks_over_training(history, TASKS, "trial 3")
    assert figure is not None
    sst, qqp = (one.get_facecolors()[:, 3].tolist() for one in figure.axes[0].collections)
    assert sst[0] < sst[1] == qqp[1] < qqp[0]


def test_a_lane_is_coloured_in_the_epochs_that_trained_its_task() -> None:
    history = pd.DataFrame(
        {
            "stage": ["simcse", "first", "first", "finetune", "finetune"],
            "train_loss/qqp": [np.nan, 0.6, 0.4, np.nan, 0.3],
            "train_loss/sst": [np.nan, np.nan, np.nan, 1.5, 1.2],
            "train_loss/simcse": [2.0, np.nan, np.nan, np.nan, np.nan],
        }
    )
    figure = plots.tasks_over_training(history, TASKS, "trial 3")
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sst", "qqp", "simcse"]
    lanes = [sorted({float(path.vertices[0, 0]) for path in one.get_paths()}) for one in axes.collections]
    assert lanes == [[3.0, 4.0], [1.0, 2.0, 4.0], [0.0]]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "simcse (1)",
        "first (2)",
        "finetune (2)",
    ]
    assert plots.tasks_over_training(history.head(1), TASKS, "trial 3") is None


def test_trials_are_packed_into_the_fewest_slots() -> None:
    slots = packed(times((0, 10), (0, 4), (5, 9), (9, 12), (11, 20)))
    assert slots["slot"].tolist() == [0, 1, 1, 1, 0]
    overlaps = slots.merge(slots, on="slot", suffixes=("", "_other")).query("number < number_other")
    assert (overlaps["end"] <= overlaps["start_other"]).all()


def test_a_running_trial_lasts_until_the_last_known_moment() -> None:
    slots = packed(times((0, 10), (2, None)))
    assert slots["end"].tolist() == [600.0, 600.0]


def test_pauses_of_a_study_are_left_out_and_marked() -> None:
    figure = plots.timeline(times((0, 10), (10, 20), (5000, 5010)))
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_xlim() == pytest.approx((0, 30))
    assert [float(line.get_xdata()[0]) for line in axes.lines] == pytest.approx([20])
    assert "pause" in axes.get_xlabel() and "minutes" in axes.get_xlabel()


def test_states_are_told_apart_and_counted() -> None:
    trials = pd.concat([times((0, 10), (1, 3)), times((3, 8), state="failed")], ignore_index=True)
    assert texts(plots.timeline(trials)) == ["complete (2)", "failed (1)"]


def test_the_best_score_at_a_cost_never_falls() -> None:
    trials = pd.DataFrame(
        {"state": "complete", "cost_alone": [3.0, 1.0, 2.0], "report/score": [0.6, 0.5, 0.7]}
    )
    figure = plots.score_against_cost(trials, "report/score")
    assert figure is not None
    assert list(figure.axes[0].lines[1].get_ydata()) == [0.5, 0.7, 0.7]


def test_nothing_to_draw_is_no_picture(searched: Path) -> None:
    study = load(searched)
    none = study.trials.head(0)
    assert plots.learning_curves(study.history.head(0), none) is None
    assert plots.learning_curves(study.scored_epochs.query("epoch == 1"), study.trials) is None
    assert plots.score_against_cost(none, "report/score") is None
    assert plots.timeline(none) is None
    assert plots.tasks_over_training(study.history.head(0), TASKS, "") is None
