"""What is noted of an epoch of training, before it is scored."""

from __future__ import annotations

from collections.abc import Mapping

from minbert.config import TrainConfig
from minbert.evaluation import score
from minbert.history import Record
from minbert.training import EpochResult, StageTrainer


def epoch_record(stage: str, trainer: StageTrainer, result: EpochResult) -> Record:
    """The history record of an epoch of a stage: where it ended, what it saw, what it cost."""
    split = trainer.micro_batch(trainer.epoch)
    return {
        "stage": stage,
        "epoch": trainer.epoch,
        "step": trainer.optimiser.step_number,
        "examples": result.examples,
        "tokens": result.tokens,
        "learning_rate": result.learning_rate,
        "train_loss": result.train_loss,
        "train_seconds": result.seconds,
        **result.facts,
        **({} if split is None else {"micro_batch": split}),
    }


def mapped_scores(select: Mapping[str, float] | None, config: TrainConfig) -> dict[str, float] | None:
    """Select metrics of the tasks on 0…1, for what weighs tasks by them; None before any."""
    if select is None:
        return None
    return {task: score(select, {task: task_config}) for task, task_config in config.tasks.items()}
