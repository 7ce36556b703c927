"""What counts against a trial that is lost: its worker's death, and not that of its node."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minbert.errors import TrainingFailure
from trainables.machines.lost_nodes import FRUITLESS, MOST_NODES, gone, refuse_lost_again_and_again
from trainables.running.lost_nodes import UncountedLosses
from trainables.studies.attempts import LOST_NODES, Attempt, claim
from trainables.studies.ledger import EQUAL_FAILURES, equal_cause


def listed(**alive: bool) -> list[dict[str, Any]]:
    """As Ray lists nodes."""
    return [{"NodeID": name, "Alive": lives} for name, lives in alive.items()]


def given_up(attempt: Attempt, **alive: bool) -> tuple[str, str]:
    """The cause and the message with which a trial is given up; empty where it is not."""
    try:
        refuse_lost_again_and_again(attempt, lambda: listed(**alive))
    except TrainingFailure as failure:
        return failure.cause, str(failure)
    return "", ""


def test_nodes_that_are_dead_or_forgotten_are_gone() -> None:
    assert gone(["a", "b", "c", "b"], listed(a=True, b=False)) == ["b", "c", "b"]


def test_a_start_knows_where_the_fruitless_ones_before_it_ran(tmp_path: Path) -> None:
    for node in ("a", "b", ""):
        claim(tmp_path, "start", node=node)
    attempt = claim(tmp_path, "start", node="c")
    assert (attempt.fruitless, sorted(attempt.nodes)) == (3, ["a", "b"])


def test_a_trial_whose_worker_dies_on_nodes_that_live_on_is_given_up(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, 5, FRUITLESS, ("a",) * FRUITLESS)
    assert given_up(attempt, a=True) == ("lost", f"lost {FRUITLESS} workers without a checkpoint in between")
    assert given_up(attempt, a=False) == ("", "")


def test_a_start_that_could_not_say_where_it_was_counts(tmp_path: Path) -> None:
    assert given_up(Attempt(tmp_path, 5, FRUITLESS, ("a",) * (FRUITLESS - 1)), a=False) == ("", "")
    assert given_up(Attempt(tmp_path, 5, FRUITLESS), a=False)[0] == "lost"


def test_a_trial_is_given_up_for_lost_nodes_only_after_very_many(tmp_path: Path) -> None:
    def lost(count: int) -> str:
        return given_up(Attempt(tmp_path, 99, count, tuple(map(str, range(count)))))[0]

    assert lost(MOST_NODES - 1) == ""
    assert lost(MOST_NODES) == LOST_NODES


def test_lost_nodes_stop_no_study() -> None:
    assert equal_cause(["lost"] * EQUAL_FAILURES) == "lost"
    assert equal_cause([LOST_NODES] * EQUAL_FAILURES) == ""
    assert equal_cause(["lost", LOST_NODES] * EQUAL_FAILURES) == "lost"
    assert equal_cause(["lost"] * (EQUAL_FAILURES - 1)) == ""
    assert equal_cause([*["lost"] * (EQUAL_FAILURES - 1), ""]) == ""


@pytest.fixture
def trial() -> Any:
    """One of Tune's, as far as its losses go."""
    return SimpleNamespace(trial_id="first", run_metadata=SimpleNamespace(num_failures=0))


def lose(losses: UncountedLosses, trial: Any) -> int:
    """A trial is lost and started again; returns for how many losses Tune then holds it."""
    losses.on_trial_start(0, [], trial)
    trial.run_metadata.num_failures += 1
    losses.on_trial_recover(0, [], trial)
    return int(trial.run_metadata.num_failures)


def test_tune_counts_losses_on_nodes_that_live_on_alone(trial: Any) -> None:
    alive = {"a": True, "b": True}
    place = iter("aabb")
    losses = UncountedLosses(lambda: listed(**alive), lambda _: next(place))
    assert [lose(losses, trial) for _ in range(2)] == [1, 2]
    alive["a"] = False  # known a moment after the worker's end
    assert lose(losses, trial) == 1
    alive["b"] = False
    assert lose(losses, trial) == 0


def test_a_trial_that_never_started_counts_and_one_that_ended_is_forgotten(trial: Any) -> None:
    losses = UncountedLosses(lambda: listed(a=False), lambda _: "a")
    trial.run_metadata.num_failures += 1
    losses.on_trial_recover(0, [], trial)
    assert trial.run_metadata.num_failures == 1
    losses.on_trial_complete(0, [], trial)
    assert not losses._lost_on and not losses._on


def test_a_loss_that_the_cloud_announced_is_left_out_as_tune_does(trial: Any) -> None:
    losses = UncountedLosses(lambda: listed(a=True), lambda _: "a")
    assert lose(losses, trial) == 1
    losses.on_trial_start(0, [], trial)
    losses.on_trial_recover(0, [], trial)
    assert trial.run_metadata.num_failures == 1
