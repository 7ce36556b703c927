"""A trial's history: one record an epoch, and what it says in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
"""Line, stage, epoch, losses, seconds, the peak of the memory while training. Where memory did not suffice:
``micro_batch``, the examples of a task in a training pass, and ``evaluation_tokens``, the tokens of an evaluation
batch, that were in force at the epoch's end. Where the tasks were scored: select,
report and dev metrics. In the last stage also ``train`` (metrics on a sample of the training examples), ``final_stage`` and ``chosen``: epoch and metrics of what would count if training ended there."""


LINE = "line"
"""Key of a record's place in the history, counted from 1; records of older studies have none."""


def missing_line(records: Sequence[Mapping[str, Any]]) -> int:
    """The first line of a history that is not there though a later one is, or that is not in its place; 0: none."""
    for line, record in enumerate(records, 1):
        if record.get(LINE, line) != line:
            return line
    return 0


@dataclass(frozen=True)
class Summary:
    """What a trial's history says under the rule that chooses its epoch.

    Attributes:
        best_epoch: epoch of the last stage that counts; where every task has its own, the one with the best score.
        epochs: evaluated epochs of the last stage.
        metrics: ``select/sst`` … ``dev/score`` of what counts.
        cost_paid: seconds of training and evaluation that this trial spent.
        cost_alone: the same plus what the stages taken from the store had cost.
        measures: by part (select, report, dev) further measures by task, and the plain mean.
        constant: tasks that get one and the same answer for every example.
    """

    best_epoch: int
    epochs: int
    metrics: dict[str, float]
    cost_paid: float
    cost_alone: float
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    constant: tuple[str, ...] = ()


def is_evaluated(record: Record) -> bool:
    """Whether a record holds a score that counts: an evaluated epoch of the last stage."""
    return bool(record.get("final_stage")) and "select" in record


def was_split(record: Record) -> bool:
    """Whether an epoch was trained or scored in smaller passes than configured, as memory did not suffice."""
    return "micro_batch" in record or "evaluation_tokens" in record


def summarise(records: list[Record]) -> Summary:
    """Summarise a history that holds at least one evaluated epoch of the last stage."""
    evaluated = [record for record in records if is_evaluated(record)]
    chosen = evaluated[-1]["chosen"]
    metrics = {
        f"{part}/{name}": value
        for part in ("select", "report", "dev")
        for name, value in chosen[part].items()
    }
    paid = sum(map(cost_paid, records))
    saved = sum(record.get("seconds_saved", 0.0) for record in records)
    return Summary(
        chosen["epoch"],
        len(evaluated),
        metrics,
        paid,
        paid + saved,
        chosen["measures"],
        tuple(chosen["constant"]),
    )


def cost_paid(record: Record) -> float:
    """Seconds of training and evaluation that an epoch took."""
    return float(record.get("train_seconds", 0.0) + record.get("eval_seconds", 0.0))
