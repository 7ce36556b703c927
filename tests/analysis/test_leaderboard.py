from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.ablation import leaderboard
from analysis.description import Factor
from analysis.study import load

HEAD = Factor(path="head", levels=("cosine", "cross"))


def trials_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": [0, 1, 2, 3, 4],
            "state": ["complete", "complete", "complete", "pruned", "failed"],
            "config_id": ["a", "b", "a", "c", "d"],
            "score": [0.70, 0.74, 0.80, 0.99, np.nan],
            "report/score": [0.68, 0.73, 0.72, 0.99, np.nan],
            "report/sst": [0.5, 0.6, 0.7, 0.9, np.nan],
            "dev/score": [0.69, 0.735, 0.76, 0.99, np.nan],
            "cost_alone": [10.0, 30.0, 20.0, 5.0, np.nan],
            "head": ["cross", "cosine", "cross", "cross", "cross"],
        }
    )


def test_replicates_are_joined_and_ranked_by_their_mean_select_score() -> None:
    table = leaderboard(trials_frame(), ["sst"], factors=[HEAD])
    first = table.iloc[0]
    assert list(table["config_id"]) == ["a", "b"]
    assert first["numbers"] == [0, 2]
    assert (first["n"], first["head"]) == (2, "cross")
    assert first["select"] == pytest.approx(0.75)
    assert first["select_sd"] == pytest.approx(np.std([0.70, 0.80], ddof=1))
    assert first["optimism"] == pytest.approx(0.05)
    assert (first["report/sst"], first["cost_alone"]) == pytest.approx((0.6, 15.0))
    assert np.isnan(table["report_sd"].iloc[1])


def test_only_complete_trials_lead_and_top_cuts() -> None:
    assert list(leaderboard(trials_frame(), ["sst"], top=1)["rank"]) == [1]
    assert leaderboard(trials_frame().query("state == 'failed'"), ["sst"], factors=[HEAD]).empty


def test_a_real_study_ranks_the_cross_encoder_first(searched: Path) -> None:
    study = load(searched)
    table = leaderboard(study.trials, study.tasks, factors=study.factors)
    assert (table["tasks.sts.head.kind"].head(5) == "cross").all()
    assert table["select"].is_monotonic_decreasing
    assert table["select"].iloc[0] == study.trials.query("state == 'complete'")["score"].max()
