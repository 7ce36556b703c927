"""A trial that has not ended: where it stands, and how long its remaining epochs take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minbert.history import Record, cost_paid, is_evaluated

if TYPE_CHECKING:
    from minbert.config import TrainConfig


@dataclass(frozen=True)
class Running:
    """A trial that runs, or ran when its driver ended.

    Attributes:
        number: of the trial.
        run: its name in a listed space; else empty.
        stage: of its last finished epoch; empty before the first.
        epoch: that epoch in its stage.
        epochs: of that stage in all.
        scores: of that epoch on the select half, by task and ``score``; empty where it was not scored.
        constant: tasks that get the same answer for every example.
        elapsed: seconds since it started.
        left: seconds that its remaining epochs take at the pace so far; None before an epoch tells.
    """

    number: int
    run: str = ""
    stage: str = ""
    epoch: int = 0
    epochs: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    constant: tuple[str, ...] = ()
    elapsed: float = 0.0
    left: float | None = None


def running_trial(
    number: int,
    run: str,
    config: TrainConfig | None,
    records: Sequence[Record],
    elapsed: float,
    since: float,
) -> Running:
    """A running trial from its history.

    Args:
        number: of the trial.
        run: its name in a listed space.
        config: what it trains; None where that cannot be read.
        records: its epochs so far.
        elapsed: seconds since it started.
        since: seconds since its last epoch ended.
    """
    if not records:
        return Running(number, run, elapsed=elapsed)
    last = records[-1]
    stages = {name: stage.last_epoch for name, stage in config.running_stages()} if config else {}
    return Running(
        number,
        run,
        str(last["stage"]),
        int(last["epoch"]),
        stages.get(str(last["stage"]), 0),
        last.get("select", {}),
        tuple(last.get("constant") or ()),
        elapsed,
        _seconds_left(stages, records, since),
    )


def _seconds_left(stages: Mapping[str, int], records: Sequence[Record], since: float) -> float | None:
    """Seconds of the remaining epochs, at the pace of those that the trial trained itself; None where none tells."""
    trained = [record for record in records if not record.get("shared")]
    own = [record for record in trained if is_evaluated(record)] or trained
    if not stages or not own:
        return None
    done = {str(record["stage"]): int(record["epoch"]) for record in records}  # the last one of each counts
    epochs = sum(last - min(done.get(name, 0), last) for name, last in stages.items())
    pace = sum(map(cost_paid, own)) / len(own)
    return max(epochs * pace - since, 0.0)
