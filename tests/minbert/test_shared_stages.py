"""What trials of one store take from each other, and what they do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minbert.canonical import stage_key
from minbert.errors import TrainingFailure
from minbert.model import build_model
from minbert.shared_stages import SharedStages
from minbert.stages import LocalStageStore
from minbert.training import StageTrainer
from tests.minbert.test_trial import MakeConfig, MakeMaterials, assert_same_model, history


def test_an_epoch_without_moments_is_trained_again(
    configure: MakeConfig, finish: Callable[..., Path], tmp_path: Path
) -> None:
    """AdamW would begin anew in the middle of the stage."""
    short, long = (configure(stages__simcse__epochs=epochs, stages__finetune__epochs=1) for epochs in (1, 2))
    finish(short, "short", "store")
    key, store = stage_key(long, "simcse", 1), LocalStageStore(tmp_path / "store")
    state = store.get(key)
    assert state is not None and state.moments
    (tmp_path / "store" / key).rename(tmp_path / "whole")
    store.put(key, replace(state, moments={}))
    again = finish(long, "again", "store")
    assert [record.get("shared", False) for record in history(again)] == [False, False, False]
    assert_same_model(finish(long, "alone"), again)


@pytest.mark.parametrize(("cause", "told"), [("nan", True), ("oom", False), ("timeout", False)])
def test_only_a_failure_that_every_training_meets_is_told_to_others(
    cause: str, told: bool, configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    """Another worker may have more memory, or more time."""
    config, made = configure(stages__simcse__epochs=1), materials(tmp_path / "store")
    model = build_model(config, made.encoder.config, dict(made.weights))
    trainer = StageTrainer(model, config, "simcse", made.corpus, torch.device("cpu"))
    SharedStages(config, made.store).note_failure(trainer, "simcse", TrainingFailure(cause, "it failed"))
    assert (made.store.failure(stage_key(config, "simcse", 1)) is not None) == told


def test_an_entry_that_is_whole_counts_more_than_a_failure(
    configure: MakeConfig, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure(stages__simcse__epochs=2, stages__finetune__epochs=1)
    first, store = finish(config, "first", "store"), LocalStageStore(tmp_path / "store")
    for epochs in (1, 2):
        store.put_failure(stage_key(config, "simcse", epochs), TrainingFailure("nan", "the loss is nan"))
    second = finish(config, "second", "store")
    assert [record.get("shared", False) for record in history(second)] == [True, False]
    assert_same_model(first, second)
