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

import torch
from torch import Tensor

from minbert.config import MultitaskStage, SimCSEStage, TrainConfig
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.model import MultitaskModel
from minbert.objectives import build_objective
from minbert.optimisation import StageOptimiser


class TrainingFailure(Exception):
    """A trial that cannot go on; ``cause`` is a short name such as ``nan``."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class EpochResult:
    """One finished training epoch."""

    train_loss: dict[str, float]
    examples: int
    tokens: int
    learning_rate: float
    seconds: float


class StageTrainer:
    """Trains one stage of a model, an epoch at a time.

    Attributes:
        epoch: epochs done.
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
        self.model, self.epoch = model, 0
        frozen = isinstance(stage, MultitaskStage) and stage.freeze_encoder
        model.encoder.requires_grad_(not frozen)
        self._objective = build_objective(model, config, name, corpus, device)
        total = sum(self._objective.steps(epoch) for epoch in range(1, stage.epochs + 1))
        named = [(key, value) for key, value in model.named_parameters() if _trained(key, stage, frozen)]
        self.optimiser = StageOptimiser(named, stage, total)

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
            result = self._objective.backward(self.epoch, index)
            _check_finite(result.losses, self.epoch, index)
            self.optimiser.step()
            self.model.clear_gradients()
            for name, loss in result.losses.items():
                totals.setdefault(name, []).append(loss)
            examples += result.examples
            tokens += result.tokens
        losses = {name: float(torch.stack(values).mean()) for name, values in totals.items()}
        for name, mean in losses.items():  # a GPU is not waited for at every step
            if not math.isfinite(mean):
                raise TrainingFailure("nan", f"the loss of {name} is {mean} at epoch {self.epoch}")
        return EpochResult(losses, examples, tokens, rate, time.perf_counter() - begin)


def _trained(name: str, stage: MultitaskStage | SimCSEStage, frozen: bool) -> bool:
    if isinstance(stage, SimCSEStage):
        return name.startswith("encoder.")
    return not (frozen and name.startswith("encoder."))


def _check_finite(losses: Mapping[str, Tensor], epoch: int, index: int) -> None:
    for name, loss in losses.items():
        if loss.device.type == "cpu" and not math.isfinite(loss.item()):
            raise TrainingFailure(
                "nan", f"the loss of {name} is {loss.item()} at epoch {epoch}, step {index + 1}"
            )
