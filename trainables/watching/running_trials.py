"""A trial that has not ended: where it stands, and how long its remaining epochs take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minbert.history import Record, cost_paid, is_evaluated
from minbert.now import Now

if TYPE_CHECKING:
    from minbert.config import TrainConfig


@dataclass(frozen=True)
class Running:
    """A trial that runs, or ran when its driver ended.

    Attributes:
        number: of the trial.
        run: its name in a listed space; else empty.
        stage: where it stands, or where its last finished epoch was if that is all that is known; empty before.
        epoch: in that stage.
        epochs: of that stage in all.
        doing: what it does in that epoch, training or scoring; empty where that is not known.
        share: of that epoch's training that is done; None where that is not known.
        scores: of its last finished epoch on the select half, by task and ``score``; empty where it was not scored.
        constant: tasks that got the same answer for every example then.
        elapsed: seconds since it started.
        left: seconds that its remaining epochs take at the pace so far; None before anything tells.
        rough: whether the steps of its first epoch alone tell that.
    """

    number: int
    run: str = ""
    stage: str = ""
    epoch: int = 0
    epochs: int = 0
    doing: str = ""
    share: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    constant: tuple[str, ...] = ()
    elapsed: float = 0.0
    left: float | None = None
    rough: bool = False


def running_trial(
    number: int,
    run: str,
    config: TrainConfig | None,
    records: Sequence[Record],
    elapsed: float,
    since: float,
    now: Now | None = None,
) -> Running:
    """A running trial from its history.

    Args:
        number: of the trial.
        run: its name in a listed space.
        config: what it trains; None where that cannot be read.
        records: its epochs so far.
        elapsed: seconds since it started.
        since: seconds since its last epoch ended.
        now: what it does; None where that is not known.
    """
    stages = {name: stage.last_epoch for name, stage in config.running_stages()} if config else {}
    done = {str(record["stage"]): int(record["epoch"]) for record in records}  # the last one of each counts
    if now and not done.get(now.stage, 0) < now.epoch <= stages.get(now.stage, 0):
        now = None  # that epoch has ended meanwhile
    if not records and not now:
        return Running(number, run, elapsed=elapsed)
    last = records[-1] if records else {}
    stage, epoch = (now.stage, now.epoch) if now else (str(last["stage"]), int(last["epoch"]))
    trained = [record for record in records if not record.get("shared")]
    return Running(
        number,
        run,
        stage,
        epoch,
        stages.get(stage, 0),
        now.doing if now else "",
        now.share if now else None,
        last.get("select", {}),
        tuple(last.get("constant") or ()),
        elapsed,
        _seconds_left(
            {name: end - min(done.get(name, 0), end) for name, end in stages.items()}, trained, since, now
        ),
        rough=not trained,
    )


def _seconds_left(
    epochs: Mapping[str, int], trained: Sequence[Record], since: float, now: Now | None
) -> float | None:
    """Seconds of the remaining epochs of each stage, at the pace of those that the trial trained itself.

    A stage of which no epoch has ended takes what its steps say, or else what other epochs took. None where nothing tells.
    """
    paces = {name: _pace([record for record in trained if record["stage"] == name]) for name in epochs}
    if now and paces[now.stage] is None:
        paces[now.stage] = now.epoch_seconds
    others = _pace([record for record in trained if is_evaluated(record)] or trained)
    if others is None:
        others = paces[now.stage] if now else None
    if not epochs or others is None:
        return None
    known = {name: others if pace is None else pace for name, pace in paces.items()}
    done = now.share * known[now.stage] if now else since
    return max(sum(count * known[name] for name, count in epochs.items()) - done, 0.0)


def _pace(records: Sequence[Record]) -> float | None:
    """Seconds that an epoch took; None of none."""
    return sum(map(cost_paid, records)) / len(records) if records else None
