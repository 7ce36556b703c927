"""A trial's history: one record an epoch, and what it says at the best epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]
"""Stage, epoch, losses, seconds; an evaluated epoch also has select, report and dev metrics."""


@dataclass(frozen=True)
class Summary:
    """What a trial's history says at its best epoch so far.

    Attributes:
        best_epoch: epoch of the last stage with the best score on the select examples.
        epochs: evaluated epochs.
        metrics: ``select/sst`` … ``dev/score`` at the best epoch.
        cost_paid: seconds of training and evaluation that this trial spent.
        cost_alone: the same plus what the stages taken from the store had cost.
    """

    best_epoch: int
    epochs: int
    metrics: dict[str, float]
    cost_paid: float
    cost_alone: float


def summarise(records: list[Record]) -> Summary:
    """Summarise a history that holds at least one evaluated epoch."""
    evaluated = [record for record in records if "select" in record]
    best = max(evaluated, key=lambda record: (record["select"]["score"], -record["epoch"]))
    metrics = {
        f"{part}/{name}": value for part in ("select", "report", "dev") for name, value in best[part].items()
    }
    paid = sum(map(cost_paid, records))
    saved = sum(record.get("seconds_saved", 0.0) for record in records)
    return Summary(best["epoch"], len(evaluated), metrics, paid, paid + saved)


def cost_paid(record: Record) -> float:
    """Seconds of training and evaluation that an epoch took."""
    return float(record.get("train_seconds", 0.0) + record.get("eval_seconds", 0.0))
