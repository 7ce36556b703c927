"""ASHA goes on with the rungs that earlier starts of a study filled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from tests.trainables.test_ledger import record
from trainables.running.successive_halving import SuccessiveHalving
from trainables.spaces.settings import EarlyStopping


def number_of(name: str) -> int:
    """Tests name a trial by its number in the study, and by a sign more where it is handed out again; or it is a new one."""
    number = name.rstrip("'")
    return int(number) if number.isdigit() else sum(name.encode())


def halving(
    settings: EarlyStopping,
    histories: dict[int, dict[int, float]],
    stops: dict[int, int] | None = None,
    told: list[tuple[str, int]] | None = None,
) -> SuccessiveHalving:
    noted = [] if told is None else told
    return SuccessiveHalving(
        settings, 9, histories, stops or {}, number_of, lambda *stopped: noted.append(stopped)
    )


def decide(scheduler: SuccessiveHalving, name: str, *scores: float, after: int = 0) -> str:
    """What becomes of a trial that reports epochs, all as one result; ``after``: the epochs before them."""
    trial: Any = SimpleNamespace(trial_id=name)
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    records = [record(epoch, score) for epoch, score in enumerate(scores, after + 1)]
    result = {"epoch": after + len(scores), "score": scores[-1], "records": records}
    return str(scheduler.on_trial_result(None, trial, result))  # type: ignore[arg-type]


def rungs(scheduler: SuccessiveHalving) -> dict[float, list[float]]:
    return {epoch: sorted(scores.values()) for epoch, scores in scheduler._brackets[0]._rungs}


def test_a_weak_trial_is_stopped_by_rungs_of_an_earlier_start() -> None:
    histories = {0: {1: 0.5, 2: 0.6}, 1: {1: 0.6}, 2: {1: 0.7}}
    scheduler = halving(EarlyStopping(grace_epochs=1, reduction=3), histories)
    assert decide(scheduler, "weak", 0.4) == TrialScheduler.STOP
    assert decide(scheduler, "strong", 0.8) == TrialScheduler.CONTINUE


def test_nothing_stops_a_first_trial() -> None:
    scheduler = halving(EarlyStopping(), {})
    assert decide(scheduler, "first", 0.1) == TrialScheduler.CONTINUE


def test_nothing_stops_before_the_grace_period() -> None:
    scheduler = halving(EarlyStopping(grace_epochs=2, reduction=3), {0: {2: 0.9}, 1: {2: 0.8}})
    assert decide(scheduler, "weak", 0.1) == TrialScheduler.CONTINUE
    assert decide(scheduler, "weak", 0.1, after=1) == TrialScheduler.STOP


EVERY_EPOCH = EarlyStopping(grace_epochs=1, reduction=2)


def undisturbed() -> SuccessiveHalving:
    """One trial that reported three epochs, one after another."""
    scheduler = halving(EVERY_EPOCH, {})
    for epoch, score in enumerate((0.3, 0.4, 0.7)):
        decide(scheduler, "0", score, after=epoch)
    return scheduler


@pytest.mark.parametrize("histories", [{}, {0: {1: 0.3}}, {0: {1: 0.3, 2: 0.4}}])
def test_a_continued_trial_stands_in_the_rungs_as_if_undisturbed(
    histories: dict[int, dict[int, float]],
) -> None:
    continued = halving(EVERY_EPOCH, histories)
    assert decide(continued, "0", 0.3, 0.4, 0.7) == TrialScheduler.CONTINUE
    assert rungs(continued) == rungs(undisturbed()) == {8: [], 4: [], 2: [0.4], 1: [0.3]}


def test_a_continued_trial_is_stopped_at_a_rung_alone() -> None:
    strong = {1: {1: 0.9, 2: 0.9}, 2: {1: 0.8, 2: 0.8}}
    assert decide(halving(EVERY_EPOCH, strong), "0", 0.3, 0.4, 0.5) == TrialScheduler.CONTINUE
    assert decide(halving(EVERY_EPOCH, strong), "0", 0.3, 0.4) == TrialScheduler.STOP
    late = {**strong, 0: {1: 0.3, 2: 0.4}}  # died after it had noted the epochs: what was decided then stays
    assert decide(halving(EVERY_EPOCH, late), "0", 0.3, 0.4) == TrialScheduler.CONTINUE
    assert decide(halving(EVERY_EPOCH, late, {0: 2}), "0", 0.3, 0.4) == TrialScheduler.STOP
    assert decide(halving(EVERY_EPOCH, late, {0: 2}), "0", 0.3) == TrialScheduler.CONTINUE
    assert decide(halving(EVERY_EPOCH, late, {1: 2}), "0", 0.3, 0.4) == TrialScheduler.CONTINUE


def test_only_that_a_trial_is_to_be_stopped_is_told() -> None:
    told: list[tuple[str, int]] = []
    scheduler = halving(EVERY_EPOCH, {1: {1: 0.9}, 2: {1: 0.8}}, told=told)
    for name, score in (("strong", 0.95), ("weak", 0.3)):
        decide(scheduler, name, score)
    assert told == [("weak", 1)]


def test_a_continued_trial_that_ends_with_its_first_result_enters_all_rungs() -> None:
    scheduler, trial = halving(EVERY_EPOCH, {}), SimpleNamespace(trial_id="0")
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    result = {"epoch": 3, "score": 0.7, "records": [record(1, 0.3), record(2, 0.4), record(3, 0.7)]}
    scheduler.on_trial_complete(None, trial, result)  # type: ignore[arg-type]
    assert rungs(scheduler) == rungs(undisturbed())


TURNED_AWAY: dict[str, Any] = {"epoch": 0, "score": float("nan"), "records": [], "cause": "no_cuda"}


@pytest.mark.parametrize("times", [1, 3])
def test_a_continued_trial_that_is_turned_away_from_nodes_stands_once_in_each_rung(times: int) -> None:
    others = {1: {1: 0.2, 2: 0.5}, 2: {1: 0.4, 2: 0.45}}
    scheduler = halving(EVERY_EPOCH, {**others, 0: {1: 0.3, 2: 0.4}})
    for again in range(times):
        trial: Any = SimpleNamespace(trial_id="0" + "'" * again)
        scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
        scheduler.on_trial_complete(None, trial, dict(TURNED_AWAY))  # type: ignore[arg-type]
    before = {1: [0.2, 0.3, 0.4], 2: [0.4, 0.45, 0.5], 4: [], 8: []}
    assert rungs(scheduler) == before
    assert decide(scheduler, "0" + "'" * times, 0.3, 0.4) == TrialScheduler.CONTINUE
    assert rungs(scheduler) == before


def test_a_trial_that_is_removed_before_it_starts_can_be_handed_out_again() -> None:
    scheduler, trial = halving(EVERY_EPOCH, {0: {1: 0.3}}), SimpleNamespace(trial_id="0")
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    scheduler.on_trial_remove(None, trial)
    assert decide(scheduler, "0'", 0.3) == TrialScheduler.CONTINUE
    assert rungs(scheduler) == {1: [0.3], 2: [], 4: [], 8: []}


def test_trials_to_be_continued_are_compared_with_before_they_report_again() -> None:
    scheduler = halving(EVERY_EPOCH, {0: {1: 0.5}, 1: {1: 0.6}})
    assert decide(scheduler, "weak", 0.4) == TrialScheduler.STOP
