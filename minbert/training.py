"""The loop of one stage: epochs of steps, each an objective's gradients and an AdamW step.

Nothing random is carried from step to step: orders and masks come from streams named by
stage, epoch and step (:mod:`minbert.seeds`). A stage resumed after any epoch therefore
goes on exactly as if it had never stopped, given weights, moments and the step number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minbert.config import MultitaskStage, StageConfig, TrainConfig
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.errors import TrainingFailure
from minbert.model import MultitaskModel
from minbert.objectives import build_objective
from minbert.optimisation import StageOptimiser
from minbert.steps import StepResult


@dataclass(frozen=True)
class EpochResult:
    """One finished training epoch; ``facts`` is what else the objective has to tell of it."""

    train_loss: dict[str, float]
    examples: int
    tokens: int
    learning_rate: float
    seconds: float
    facts: dict[str, Any]


class StageTrainer:
    """Trains one stage of a model, an epoch at a time.

    Attributes:
        epoch: epochs done, or begun where the last is a fraction of one.
        last_epoch: number of the last one.
        optimiser: AdamW and its state.
    """

    def __init__(
        self,
        model: MultitaskModel,
        config: TrainConfig,
        name: str,
        corpus: TokenisedCorpus,
        device: torch.device,
    ) -> None:
        stage = config.stages[name]
        self.model, self.epoch, self.last_epoch = model, 0, stage.last_epoch
        self._epochs = stage.epochs
        frozen = isinstance(stage, MultitaskStage) and stage.freeze_encoder
        model.encoder.requires_grad_(not frozen)
        model.auxiliary = nn.ModuleDict()
        self._objective = build_objective(model, config, name, corpus, device)
        total = sum(self._objective.steps(epoch) for epoch in range(1, self.last_epoch + 1))
        named = [(key, value) for key, value in model.named_parameters() if _trained(key, stage, frozen)]
        self.optimiser = StageOptimiser(named, stage, total)

    def step(self, epoch: int, index: int) -> StepResult:
        """Take the step ``index`` (from 0) of an epoch.

        Raises:
            TrainingFailure: a loss is not finite (cause ``nan``).
        """
        result = self._objective.backward(epoch, index)
        _check_finite(result.losses, epoch, index)
        self._objective.before_step()
        self.optimiser.step()
        self.model.clear_gradients()
        return result

    @property
    def progress(self) -> float:
        """Epochs done, the fraction of an unfinished last one included."""
        return min(self.epoch, self._epochs)

    def state(self) -> dict[str, Tensor]:
        """What the stage goes on from besides the model's weights and the step's number."""
        state = {f"adamw/{name}": value for name, value in self.optimiser.state().items()}
        return state | {f"objective/{name}": value for name, value in self._objective.state().items()}

    def load(self, epoch: int, step_number: int, state: Mapping[str, Tensor]) -> None:
        """Continue after ``epoch`` epochs from what :meth:`state` gave there."""
        self.epoch = epoch
        parts: dict[str, dict[str, Tensor]] = {"adamw": {}, "objective": {}}
        for key, value in state.items():
            owner, _, name = key.partition("/")
            parts[owner][name] = value
        self.optimiser.load(parts["adamw"], step_number)
        self._objective.load(parts["objective"])

    def after_epoch(self, metrics: Mapping[str, float] | None) -> None:
        """Tell the objective what the tasks scored, mapped to 0…1; None where they were not scored."""
        self._objective.after_epoch(metrics)

    def train_epoch(self) -> EpochResult:
        """Train the next epoch.

        Raises:
            TrainingFailure: a loss is not finite (cause ``nan``).
        """
        begin = time.perf_counter()
        self.epoch += 1
        totals: dict[str, list[Tensor]] = {}
        examples = tokens = 0
        rate = self.optimiser.learning_rate()
        for index in range(self._objective.steps(self.epoch)):
            result = self.step(self.epoch, index)
            for name, loss in result.losses.items():
                totals.setdefault(name, []).append(loss)
            examples += result.examples
            tokens += result.tokens
        losses = {name: float(torch.stack(values).mean()) for name, values in totals.items()}
        for name, mean in losses.items():  # a GPU is not waited for at every step
            if not math.isfinite(mean):
                raise TrainingFailure("nan", f"the loss of {name} is {mean} at epoch {self.epoch}")
        seconds = time.perf_counter() - begin
        return EpochResult(losses, examples, tokens, rate, seconds, self._objective.summary())


def _trained(name: str, stage: StageConfig, frozen: bool) -> bool:
    if not isinstance(stage, MultitaskStage):
        return name.startswith(("encoder.", "auxiliary."))
    return not (frozen and name.startswith("encoder."))


def _check_finite(losses: Mapping[str, Tensor], epoch: int, index: int) -> None:
    for name, loss in losses.items():
        if loss.device.type == "cpu" and not math.isfinite(loss.item()):
            raise TrainingFailure(
                "nan", f"the loss of {name} is {loss.item()} at epoch {epoch}, step {index + 1}"
            )
