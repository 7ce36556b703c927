"""A trial that has not ended: where it stands, and how long its remaining epochs take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minbert.history import Record, cost_paid, is_evaluated
from minbert.now import SCORING, Now

if TYPE_CHECKING:
    from minbert.config import TrainConfig

_SCORED = 2.0
"""An epoch that is scored takes about so many times what one of another stage takes that is not."""


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
        share: of that epoch's training, or of its scoring, that is done; None where that is not known.
        scores: of its last finished epoch on the select half, by task and ``score``; empty where it was not scored.
        constant: tasks that got the same answer for every example then.
        elapsed: seconds since it started.
        left: seconds that its remaining epochs take; None before anything tells.
        guessed: how many of them are not known from epochs of the same stage.
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
    guessed: float = 0.0


def running_trial(
    number: int,
    run: str,
    config: TrainConfig | None,
    records: Sequence[Record],
    elapsed: float,
    since: float,
    now: Now | None = None,
    others: Sequence[Record] = (),
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
        others: :func:`telling` epochs of other trials.
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
    order = list(stages)
    ahead = order[order.index(stage) :] if stage in order else order
    to_do = {name: stages[name] - min(done.get(name, 0), stages[name]) for name in ahead}
    left, guessed = _seconds_left(to_do, trained, others, since, now)
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
        left,
        guessed,
    )


def telling(records: Iterable[Record]) -> list[Record]:
    """The epochs that tell how long those of other trials take: scored ones of the last stage."""
    return [record for record in records if is_evaluated(record) and not record.get("shared")]


@dataclass(frozen=True)
class _Pace:
    """Seconds that an epoch's training takes, and its scoring."""

    training: float
    scoring: float = 0.0

    @property
    def whole(self) -> float:
        return self.training + self.scoring


def _seconds_left(
    to_do: Mapping[str, int],
    trained: Sequence[Record],
    others: Sequence[Record],
    since: float,
    now: Now | None,
) -> tuple[float | None, float]:
    """Seconds of the epochs that each stage still has to do, and how many of them are guessed; None where nothing tells.

    A stage is known by its own epochs. Of one that has none, the steps of the first one tell, and its batches while it is
    scored; else the last stage, which is scored, takes what such epochs of other trials take, and any other stage what
    epochs took that are not scored.
    """
    if not to_do:
        return None, 0.0
    own = {name: _pace([record for record in trained if record["stage"] == name]) for name in to_do}
    last, scored = list(to_do)[-1], _pace(others)
    inside = _inside(now, scored if now.stage == last else None) if now and own[now.stage] is None else None
    plain = _pace([record for record in trained if record["stage"] != last])
    if plain is None and now and now.stage != last:
        plain = inside
    guesses = {
        name: _last_stage(scored, plain) if name == last else _other_stage(plain, scored or own[last])
        for name in to_do
    }
    if now and inside:
        guesses[now.stage] = inside
    known = guessed = 0.0
    for name, count in to_do.items():
        pace = own[name] or guesses[name]
        if not count:
            continue
        if pace is None:
            return None, 0.0
        seconds = count * pace.whole
        if now and now.stage == name:
            seconds -= pace.whole - _rest(now, pace)
        if own[name]:
            known += seconds
        else:
            guessed += seconds
    if now is None:  # it is in the first of them
        left = max(known + guessed - since, 0.0)
        return left, min(guessed, left)
    return known + guessed, guessed


def _inside(now: Now, scored: _Pace | None) -> _Pace | None:
    """What the first epoch of a stage takes by what is done of it; None before that tells."""
    scoring = now.all_scoring_seconds
    if now.epoch_seconds is None:
        return None
    return _Pace(now.epoch_seconds, scoring if scoring is not None else scored.scoring if scored else 0.0)


def _last_stage(scored: _Pace | None, plain: _Pace | None) -> _Pace | None:
    return scored or (plain and _Pace(plain.whole, (_SCORED - 1) * plain.whole))


def _other_stage(plain: _Pace | None, scored: _Pace | None) -> _Pace | None:
    return plain or (scored and _Pace(scored.whole / _SCORED))


def _rest(now: Now, pace: _Pace) -> float:
    """Seconds that the epoch still takes in which a trial is."""
    share = now.share or 0.0
    if now.doing != SCORING:
        return (1 - share) * pace.training + pace.scoring
    scoring = now.all_scoring_seconds
    return (1 - share) * (pace.scoring if scoring is None else scoring)


def _pace(records: Sequence[Record]) -> _Pace | None:
    """What epochs took on average; None of none."""
    if not records:
        return None
    scoring = sum(float(record.get("eval_seconds", 0.0)) for record in records)
    return _Pace((sum(map(cost_paid, records)) - scoring) / len(records), scoring / len(records))
