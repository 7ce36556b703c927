"""A trial goes on from what it kept whenever that is whole, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from minbert.choice import Choice
from minbert.trial import Trial
from minbert.trial_log import TrialLog
from tests.minbert.test_trial import (
    MakeConfig,
    MakeMaterials,
    assert_same_outcome,
    flip_a_head,
    flip_a_prediction,
)

STILL = {"stages__finetune__learning_rate": 1e-30, "stages__finetune__weight_decay": 0.0}
"""Of equal scores the first counts: what is kept of it is not written again."""


@pytest.fixture
def begun(configure: MakeConfig, materials: MakeMaterials, tmp_path: Path) -> tuple[Trial, Path]:
    """A trial that was closed after its first epoch, which counts, about to go on; and its folder."""
    config, made, folder = configure(**STILL), materials(tmp_path / "store"), tmp_path / "cut"
    run = Trial(config, made, folder).run()
    next(run)
    run.close()  # type: ignore[attr-defined]
    return Trial(config, made, folder), folder


@pytest.mark.parametrize("name", ["checkpoint", "best", "predictions"])
def test_what_a_crash_left_aside_is_brought_back_and_no_epoch_is_trained_again(
    name: str, begun: tuple[Trial, Path]
) -> None:
    trial, folder = begun
    (folder / name).rename(folder / f".{name}.host.12345.0a1b2c3d.old")
    (folder / f".{name}.host.12345.4e5f6a7b.tmp").mkdir()
    assert [record["epoch"] for record in trial.run()] == [1, 2]
    assert trial.found == 1
    assert not list(folder.glob(".*.*"))


@pytest.mark.parametrize("damage", [flip_a_head, flip_a_prediction])
def test_a_damaged_best_epoch_that_no_later_one_replaces_is_made_again(
    damage: Callable[[Path], None], begun: tuple[Trial, Path], finish: Callable[..., Path]
) -> None:
    trial, folder = begun
    damage(folder)
    list(trial.run())
    assert trial.found == 0
    assert_same_outcome(finish(trial.config, "whole"), folder)


def test_whoever_may_not_write_any_more_notes_no_epoch(
    configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    config = configure()
    log = TrialLog(tmp_path, "run", Choice(config, tmp_path, materials(tmp_path / "store").encoder))

    def given_up() -> None:
        raise ZeroDivisionError

    log.before_writing = given_up
    with pytest.raises(ZeroDivisionError):
        log.add({"stage": "finetune", "epoch": 1})
    assert not (tmp_path / "history.jsonl").exists()
    log.before_writing = lambda: None
    log.add({"stage": "finetune", "epoch": 1})
    assert (tmp_path / "history.jsonl").is_file()
