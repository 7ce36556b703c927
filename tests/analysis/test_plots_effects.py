"""Pictures of what factors do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import plots
from analysis.ablation import main_effects
from analysis.common_epoch import at_common_epoch
from analysis.description import Factor
from analysis.paired import paired_differences
from analysis.plots.effects import MOST_ROWS
from analysis.study import load

HEAD = "tasks.sts.head.kind"


def rows(figure: Figure | None) -> list[str]:
    assert figure is not None
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def headings(figure: Figure | None) -> list[str]:
    assert figure is not None
    return [text.get_text() for text in figure.axes[0].texts]


def marks(figure: Figure | None) -> list[tuple[float, str]]:
    """Place and marker of every estimate of a forest."""
    assert figure is not None
    return [
        (float(line.get_xdata()[0]), str(line.get_marker()))
        for line in figure.axes[0].lines
        if len(line.get_xdata()) == 1 and line.get_marker() in "^vso"
    ]


def effects(*told: tuple[str, str, float, float, float, str]) -> pd.DataFrame:
    """An ablation table: factor, level, difference, its interval, verdict."""
    names = ["factor", "level", "difference", "ci_low", "ci_high", "verdict"]
    return pd.DataFrame(told, columns=names).assign(base=lambda frame: frame["verdict"] == "base")


def test_levels_stand_in_their_listed_order_with_their_counts(searched: Path) -> None:
    study = load(searched)
    complete = study.trials.query("state == 'complete'")
    pcgrad = next(factor for factor in study.factors if factor.path.endswith("pcgrad"))
    figure = plots.score_by_level(complete, pcgrad, "report/score", "pcgrad")
    assert figure is not None
    inactive = int(complete[pcgrad.path].isna().sum())
    assert [label.split(" ")[0] for label in rows(figure)] == ["false", "true", "inactive"]
    assert rows(figure)[2] == f"inactive ({inactive})"
    (axes,) = figure.axes
    assert (axes.get_title(loc="left"), axes.get_xlabel()) == ("pcgrad", "report score")
    again = plots.score_by_level(complete, pcgrad, "report/score", "pcgrad")
    assert again is not None
    assert plots.png(figure) == plots.png(again)


def test_a_log_range_is_drawn_on_a_log_axis(searched: Path) -> None:
    study = load(searched)
    rate = next(factor for factor in study.factors if factor.log)
    figure = plots.score_by_level(at_common_epoch(study).trials, rate, "report/score")
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert np.size(axes.lines[0].get_xdata()) == 30
    assert plots.score_by_level(study.trials.head(0), rate, "report/score") is None


def test_a_forest_groups_levels_by_factor_and_tells_verdicts_by_marker() -> None:
    table = effects(
        ("head", "cosine", np.nan, np.nan, np.nan, "base"),
        ("head", "cross", 0.05, 0.03, 0.07, "better"),
        ("pool", "cls", np.nan, np.nan, np.nan, "base"),
        ("pool", "mean", -0.04, -0.06, -0.02, "worse"),
        ("pool", "max", 0.001, -0.004, 0.006, "equivalent"),
        ("pool", "sum", 0.02, -0.05, 0.09, "undecided"),
    )
    figure = plots.forest(table, {"head": "sts.head"}, delta=0.01)
    assert rows(figure) == ["cross", "mean", "max", "sum"]
    assert headings(figure) == ["sts.head (against cosine)", "pool (against cls)"]
    assert [marker for _, marker in marks(figure)] == ["^", "v", "s", "o"]
    assert [value for value, _ in marks(figure)] == pytest.approx([5, -4, 0.1, 2])
    assert figure is not None
    band = figure.axes[0].patches[0].get_bbox()  # type: ignore[attr-defined]
    assert (band.x0, band.x1) == pytest.approx((-1, 1))


def test_an_interval_that_dwarfs_all_effects_runs_out_of_the_picture() -> None:
    figure = plots.forest(effects(("a", "x", 0.01, -0.9, 0.92, "undecided")), {})
    assert figure is not None
    low, high = figure.axes[0].get_xlim()
    assert -6 < low < -3 and 3 < high < 6
    arrows = [line.get_marker() for line in figure.axes[0].lines if line.get_marker() in ("<", ">")]
    assert arrows == ["<", ">"]


def test_main_effects_are_drawn_as_their_table_has_them(searched: Path) -> None:
    study = load(searched)
    table = main_effects(at_common_epoch(study).trials, study.factors, study.tasks)
    figure = plots.forest(table, {})
    told = table[table["effect"].notna() & ~table["baseline"]]
    assert [value for value, _ in marks(figure)] == pytest.approx((100 * told["effect"]).tolist())
    many = effects(*[(f"f{n}", "x", 0.01, 0.0, 0.02, "undecided") for n in range(100)])
    assert len(rows(plots.forest(many, {}))) == MOST_ROWS
    assert plots.forest(table.head(0), {}) is None


def test_runs_are_paired_with_the_base_of_the_same_replicate() -> None:
    levels = pd.DataFrame(
        [("head", "a", True, "base"), ("head", "b", False, "b"), ("head", "c", False, "base")],
        columns=["factor", "level", "base", "config_id"],
    )
    runs = [(0, "base", 0, 0.5), (1, "base", 1, 0.6), (2, "b", 1, 0.9), (3, "b", 0, 0.55), (4, "b", 2, 0.1)]
    trials = pd.DataFrame(runs, columns=["number", "config_id", "replicate", "dev/score"])
    pairs = paired_differences(levels, trials.assign(state="complete"), "dev/score")
    found = {row.replicate: row.difference for row in pairs.itertuples()}
    assert found == pytest.approx({0: 0.05, 1: 0.3})
    assert set(pairs["level"]) == {"b"}
    failed = trials.assign(state=["complete"] * 3 + ["failed", "complete"])
    assert paired_differences(levels, failed, "dev/score")["replicate"].tolist() == [1]


def test_paired_changes_show_every_pair_and_each_levels_mean() -> None:
    pairs = pd.DataFrame(
        {
            "factor": "head",
            "level": ["b", "b", "c"],
            "difference": [0.01, 0.03, -0.02],
            "replicate": [0, 1, 0],
        }
    )
    figure = plots.paired_changes(pairs, {"head": "sts.head"})
    assert (rows(figure), headings(figure)) == (["b", "c"], ["sts.head"])
    assert figure is not None
    lines = [line for line in figure.axes[0].lines[1:]]
    assert list(lines[0].get_xdata()) == pytest.approx([1, 3])
    assert list(lines[1].get_xdata()) == pytest.approx([2, 2])
    assert plots.paired_changes(pairs.head(0), {}) is None


def test_an_interaction_has_a_line_a_level_through_the_cell_means() -> None:
    first = Factor(path="head", levels=("b", "a"))
    second = Factor(path="rate", low=0.0, high=1.0)
    cells = [
        ("a", 0.1, 0.5),
        ("a", 0.2, 0.7),
        ("a", 0.9, 0.8),
        ("b", 0.1, 0.1),
        ("b", 0.8, 0.4),
        ("b", 1.0, 0.2),
    ]
    trials = pd.DataFrame(cells, columns=["head", "rate", "dev/score"]).assign(config_id=None)
    trials["number"] = range(len(trials))
    figure = plots.interaction(trials, first, second, "dev/score", {"rate": "learning rate"})
    assert figure is not None
    (axes,) = figure.axes
    lines = [container.lines[0].get_ydata() for container in axes.containers]  # type: ignore[attr-defined]
    assert [list(line) for line in lines] == [pytest.approx([0.1, 0.3]), pytest.approx([0.6, 0.8])]
    assert [container.get_label() for container in axes.containers] == ["b", "a"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["up to 0.5", "above 0.5"]
    assert axes.get_xlabel() == "learning rate"
    assert plots.interaction(trials.head(1), first, second, "dev/score") is None
