"""A trial that is asked to end keeps what it has done inside an epoch, and ends bit for bit the same."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.errors import Interrupted
from minbert.files.durable import read_json_lines
from minbert.model import build_model
from minbert.time_limits import Clock, TimeLimits
from minbert.training import StageTrainer
from minbert.trial import Trial
from tests.minbert.test_trial import FULL, MakeConfig, MakeMaterials, assert_same_outcome


class Crash(Exception):
    pass


class Countdown:
    """Asks a trial to end, or lets it crash, when it has begun so many things."""

    def __init__(self, begins: int, crash: bool = False) -> None:
        self.left, self.crash = begins, crash

    def __call__(self) -> bool:
        self.left -= 1
        if self.crash and self.left < 0:
            raise Crash
        return self.left < 0


def run(trial: Trial, countdown: Callable[[], bool]) -> None:
    trial.asked_to_end = countdown
    with suppress(Interrupted, Crash):
        for _ in trial.run():
            pass


def steps_kept(folder: Path) -> int:
    """Steps of the stage that the checkpoint holds."""
    manifest = folder / "checkpoint" / "manifest.json"
    return int(json.loads(manifest.read_text())["step"]) if manifest.is_file() else 0


@pytest.mark.parametrize(
    "leaves",
    [
        {**FULL, "stages__finetune__pcgrad": True},
        {**FULL, "stages__finetune__epochs": 2.5, "checkpoint": "task", "stages__simcse__mlm_weight": 0.5},
        {**FULL, "stages__finetune__weighting": "adaptive", "stages__finetune__conflict_batches": 2},
        {**FULL, "stages__finetune__smart": {"weight": 0.5, "bregman": 0.5, "momentum": 0.9}},
        {
            **FULL,
            "stages__simcse__epochs": 1,
            "stages__supervised": {"epochs": 1, "task": "qqp", "projection": True, "batch_size": 8},
        },
    ],
    ids=["pcgrad", "by task", "conflicts", "smart", "supervised"],
)
def test_a_trial_asked_to_end_at_any_moment_goes_on_from_that_step(
    leaves: dict[str, Any],
    configure: MakeConfig,
    materials: MakeMaterials,
    finish: Callable[..., Path],
    tmp_path: Path,
) -> None:
    config = configure(**{**leaves, "stages__finetune__batch_size": 4})
    whole, folder = finish(config, "whole"), tmp_path / "cut"
    chance, ended = random.Random(3), 0
    made = materials(tmp_path / "cut-store")
    while not (trial := Trial(config, made, folder)).finished:
        run(trial, Countdown(chance.randint(9, 14)))
        if trial.finished:
            break
        ended += 1
    assert ended >= 4
    assert_same_outcome(whole, folder)


def test_the_moments_at_which_it_ends_lie_in_training_and_in_scoring(
    configure: MakeConfig, materials: MakeMaterials, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure(stages__finetune__epochs=2)
    whole = finish(config, "whole")
    made, places = materials(tmp_path / "cut-store"), set()
    for begins in range(1, 24):
        folder = tmp_path / f"cut-{begins}"
        trial = Trial(config, made, folder)
        run(trial, Countdown(begins))
        if trial.finished:
            break
        manifest = json.loads((folder / "checkpoint" / "manifest.json").read_text())
        done = manifest["unfinished"]["steps"]
        noted = len(read_json_lines(folder / "history.jsonl"))
        steps = read_json_lines(whole / "history.jsonl")[0]["step"]
        places.add((noted, "scoring" if done == steps else "training"))
        assert manifest["noted"] == noted == manifest["epoch"] - 1
        for _ in Trial(config, made, folder).run():
            pass
        assert_same_outcome(whole, folder)
    assert {(0, "training"), (0, "scoring"), (1, "training")} <= places


def test_a_crash_costs_no_more_than_what_was_done_since_the_last_checkpoint(
    configure: MakeConfig, materials: MakeMaterials, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure(stages__finetune__epochs=2, stages__finetune__batch_size=4)
    whole, folder = finish(config, "whole"), tmp_path / "crashed"
    made = materials(tmp_path / "store")
    run(Trial(config, made, folder, checkpoint_every=0), Countdown(4, crash=True))
    assert steps_kept(folder) == 4
    steps: list[int] = []
    trial = Trial(config, made, folder, checkpoint_every=0)

    def note() -> bool:
        steps.append(steps_kept(folder))
        return False

    run(trial, note)
    assert steps[:2] == [4, 5]
    assert_same_outcome(whole, folder)


def test_a_history_that_lost_epochs_is_not_continued(
    configure: MakeConfig, materials: MakeMaterials, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure(stages__finetune__epochs=4)
    whole, folder = finish(config, "whole"), tmp_path / "cut"
    made = materials(tmp_path / "store")
    opened = Trial(config, made, folder).run()
    for _ in range(3):
        next(opened)
    opened.close()  # type: ignore[attr-defined]
    file = folder / "history.jsonl"
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    for _ in Trial(config, made, folder).run():
        pass
    assert_same_outcome(whole, folder)


def test_the_seconds_of_an_epoch_are_those_before_and_after_an_interruption(
    configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    config, made, clock = configure(), materials(tmp_path / "store"), Clock(TimeLimits())
    model = build_model(config, made.encoder.config, dict(made.weights))
    trainer = StageTrainer(model, config, "finetune", made.corpus, torch.device("cpu"), clock=clock)
    asked = iter([False, True])
    clock.asked_to_end = lambda: next(asked, False)
    with pytest.raises(Interrupted):
        trainer.train_epoch()
    unfinished = trainer.unfinished()
    assert unfinished is not None and unfinished.steps == 1 and unfinished.seconds > 0
    unfinished.seconds += 1000
    assert trainer.train_epoch().seconds > 1000


def test_an_end_while_the_last_epoch_is_scored_takes_no_earlier_epochs_weights_for_its_own(
    configure: MakeConfig, materials: MakeMaterials, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure(stages__finetune__epochs=3, stages__finetune__learning_rate=3e-2)
    whole = finish(config, "whole")
    assert read_json_lines(whole / "history.jsonl")[-1]["chosen"]["epoch"] < 3
    begun: list[bool] = []
    made = materials(tmp_path / "store")
    run(Trial(config, made, tmp_path / "counted"), lambda: bool(begun.append(True)))  # type: ignore[func-returns-value]
    for begins in range(len(begun) - 2, len(begun) + 8):  # some of these only if it could be ended there
        folder = tmp_path / f"cut-{begins}"
        run(Trial(config, made, folder), Countdown(begins))
        for _ in Trial(config, made, folder).run():
            pass
        assert_same_outcome(whole, folder)
