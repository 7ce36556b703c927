"""The journal's trials as a data frame: one row a trial, with what was told of it and the levels of its factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from analysis.description import Factor, as_level

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def trials_frame(
    trials: Sequence[FrozenTrial], factors: Sequence[Factor], metrics: Sequence[str]
) -> pd.DataFrame:
    """One row a trial, with the columns of :attr:`analysis.study.Study.trials`.

    Args:
        trials: as the journal has them.
        factors: of the study, a column each.
        metrics: names of the columns of scores.

    Raises:
        AttributeError, TypeError, ValueError, OverflowError: what the journal says of a trial is no number.
    """
    listed = [factor.path for factor in factors if factor.levels is not None]
    rows = [_row(trial, factors, metrics) for trial in trials]
    frame = pd.DataFrame(rows, columns=list(_row(None, factors, metrics)))
    # Whole numbers beside a None would become floats, of 53 bits.
    for name in ("seed", *listed):
        frame[name] = pd.Series([row[name] for row in rows], dtype=object)
    return frame.astype(_column_types(factors, metrics))


def _row(trial: FrozenTrial | None, factors: Sequence[Factor], metrics: Sequence[str]) -> dict[str, Any]:
    """A row; without a trial, an empty one that names the columns."""
    attributes: Mapping[str, Any] = trial.user_attrs if trial else {}
    scores: Mapping[str, Any] = attributes.get("metrics") or {}
    started, finished = (trial.datetime_start, trial.datetime_complete) if trial else (None, None)
    return {
        "number": trial.number if trial else -1,
        "state": STATES[trial.state] if trial else "waiting",
        "config_id": attributes.get("config_id"),
        "replicate": attributes.get("replicate", 0),
        "seed": attributes.get("seed"),
        "score": _score(trial, scores) if trial else None,
        "best_epoch": attributes.get("best_epoch"),
        "epochs": attributes.get("epochs"),
        **{column: scores.get(column) for column in metrics},
        "cost_alone": attributes.get("cost_alone"),
        "cost_paid": attributes.get("cost_paid"),
        "cause": attributes.get("cause"),
        "started": started,
        "finished": finished,
        "seconds": _seconds(started, finished),
        **{factor.path: _level(trial, factor.path) for factor in factors},
    }


def _column_types(factors: Sequence[Factor], metrics: Sequence[str]) -> dict[str, str]:
    numbers = ("score", "best_epoch", "epochs", "cost_alone", "cost_paid", "seconds")
    listed = [factor.path for factor in factors if factor.levels is not None]
    continuous = [factor.path for factor in factors if factor.levels is None]
    return {
        **dict.fromkeys((*numbers, *metrics, *continuous), "float64"),
        **dict.fromkeys(("config_id", "cause", "seed", *listed), "object"),
        **dict.fromkeys(("started", "finished"), "datetime64[us]"),
        "number": "int64",
        "replicate": "int64",
    }


def _score(trial: FrozenTrial, metrics: Mapping[str, Any]) -> float | None:
    """Optuna keeps a pruned trial's *last* value, so the best one is looked up for unfinished trials."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    if metrics.get("select/score") is not None:
        return float(metrics["select/score"])
    return max(trial.intermediate_values.values(), default=None)


def _level(trial: FrozenTrial | None, path: str) -> Any:
    """The level of a factor; None where it was not active."""
    return as_level(trial.params[path]) if trial and path in trial.params else None


def _seconds(started: datetime | None, finished: datetime | None) -> float | None:
    return (finished - started).total_seconds() if started and finished else None
