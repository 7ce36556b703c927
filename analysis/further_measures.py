"""What the best trial's history tells beside its score: F1, rank correlation, geometry, conflicts, constant answers."""

from __future__ import annotations

import math

import pandas as pd

from analysis.study import Study


def further_measures(study: Study) -> pd.DataFrame:
    """Measures of the best complete trial, one row each: stage, epoch, what (text), value.

    Task measures are on all of dev at the trial's best epoch; alignment and uniformity of the sentence
    vectors at the end of every stage; cosines between the tasks' gradients and the share of steps in which
    two of them pointed against each other as the mean over a stage's epochs. Empty without a complete trial.
    """
    complete = study.trials[(study.trials["state"] == "complete") & study.trials["score"].notna()]
    if complete.empty:
        return pd.DataFrame(columns=["stage", "epoch", "what", "value"])
    best = complete.iloc[int(complete["score"].argmax())]
    history = study.history[study.history["number"] == best["number"]]
    rows: list[tuple[str, str, str, float]] = []
    for stage, epochs in history.groupby("stage", sort=False):
        scored = epochs[epochs["epoch"] == best["best_epoch"]] if _is_final(epochs) else epochs.tail(1)
        rows += _named(scored, str(stage), "measures/dev/")
        rows += _named(epochs.tail(1), str(stage), "geometry/")
        rows += _mean(epochs, str(stage), "gradients/")
    return pd.DataFrame(rows, columns=["stage", "epoch", "what", "value"])


def _is_final(epochs: pd.DataFrame) -> bool:
    return "final_stage" in epochs and bool(epochs["final_stage"].eq(True).any())


def _named(rows: pd.DataFrame, stage: str, prefix: str) -> list[tuple[str, str, str, float]]:
    """The values of one epoch below a prefix, by the rest of their names."""
    return [
        (stage, str(row["epoch"]), name.removeprefix(prefix).replace("/", " "), float(row[name]))
        for _, row in rows.iterrows()
        for name in rows.columns
        if name.startswith(prefix) and not math.isnan(row[name])
    ]


def _mean(epochs: pd.DataFrame, stage: str, prefix: str) -> list[tuple[str, str, str, float]]:
    names = [name for name in epochs.columns if name.startswith(prefix) and not name.endswith("/steps")]
    return [
        (
            stage,
            "all",
            f"gradients' {name.removeprefix(prefix).replace('/', ' ', 1)}",
            float(epochs[name].mean()),
        )
        for name in names
        if epochs[name].notna().any()
    ]
