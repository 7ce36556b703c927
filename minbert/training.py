"""The loop of one stage: epochs of steps, each an objective's gradients and an AdamW step.

Nothing random is carried from step to step: orders and masks come from streams named by
stage, epoch and step (:mod:`minbert.seeds`). A stage resumed after any step therefore
goes on exactly as if it had never stopped, given weights, moments and the step number.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minbert.config import MultitaskStage, StageConfig, TrainConfig
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.errors import TrainingFailure
from minbert.finite import FiniteCheck
from minbert.memory_splits import MemorySplits, Split, is_out_of_memory, release_memory
from minbert.model import MultitaskModel
from minbert.objectives import build_objective
from minbert.optimisation import StageOptimiser
from minbert.steps import StepResult, UnfinishedEpoch
from minbert.time_limits import Clock, TimeLimits


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

    Args:
        model, config, name, corpus, device: what is trained, in which stage, on what and where.
        splits: passes that were halved where memory ran out earlier; gets those to come.
        clock: is told of every step.

    Attributes:
        epoch: the epoch that was begun last, counted from 1; 0 before the first.
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
        splits: MemorySplits | None = None,
        clock: Clock | None = None,
    ) -> None:
        stage = config.stages[name]
        self._name, self._splits = name, splits or MemorySplits()
        self._clock, self._finite = clock or Clock(TimeLimits()), FiniteCheck(name)
        self.model, self.epoch, self.last_epoch = model, 0, stage.last_epoch
        self._epochs = stage.epochs
        self._unfinished: UnfinishedEpoch | None = None
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
            TrainingFailure: a loss or the gradient's norm is not finite (cause ``nan``), or memory runs out
                (``oom``); the model is of no use any more.
        """
        result = self._backward(epoch, index)
        self._finite.see(epoch, index, {f"the loss of {name}": loss for name, loss in result.losses.items()})
        try:
            self._objective.before_step()
            norm = self.optimiser.step()
        except Exception as error:  # smaller passes would not help: theirs is given back already
            if not is_out_of_memory(error):
                raise
            raise self._too_little("for the optimiser's state", epoch, index) from None
        self._finite.see(epoch, index, {"the norm of the gradient": norm})
        self.model.clear_gradients()
        return result

    def micro_batch(self, epoch: int) -> int | None:
        """Examples of a task that a pass held at the end of an epoch, where memory did not suffice for what is configured."""
        return self._splits.size("micro_batch", self._name, epoch)

    @property
    def progress(self) -> float:
        """Epochs done, the fraction of an unfinished last one included."""
        return min(self.epoch, self._epochs)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch == self.last_epoch and self._unfinished is None

    @property
    def next_epoch(self) -> int:
        """The epoch that :meth:`train_epoch` trains or goes on with."""
        return self.epoch + (self._unfinished is None)

    def unfinished(self) -> UnfinishedEpoch | None:
        """What the running epoch has come to; None between epochs.

        Raises:
            TrainingFailure: a value that only now came from a GPU is not finite (cause ``nan``).
        """
        if self._unfinished is not None:
            self._finite.settle()
            self._unfinished.counts = self._objective.counts()
        return self._unfinished

    def state(self) -> dict[str, Tensor]:
        """What the stage goes on from besides the model's weights and the step's number."""
        state = {f"adamw/{name}": value for name, value in self.optimiser.state().items()}
        return state | {f"objective/{name}": value for name, value in self._objective.state().items()}

    def load(
        self,
        epoch: int,
        step_number: int,
        state: Mapping[str, Tensor],
        unfinished: UnfinishedEpoch | None = None,
    ) -> None:
        """Continue after ``epoch`` epochs, or inside the last of them, from what :meth:`state` gave there."""
        self.epoch, self._unfinished = epoch, unfinished
        parts: dict[str, dict[str, Tensor]] = {"adamw": {}, "objective": {}}
        for key, value in state.items():
            owner, _, name = key.partition("/")
            parts[owner][name] = value
        self.optimiser.load(parts["adamw"], step_number)
        self._objective.load(parts["objective"])
        if unfinished is not None:
            device = self.model.dropout.device  # where the losses to come are
            unfinished.losses = {
                name: [loss.to(device) for loss in losses] for name, losses in unfinished.losses.items()
            }
            self._objective.load_counts(unfinished.counts)

    def after_epoch(self, metrics: Mapping[str, float] | None) -> None:
        """End the epoch: tell the objective what the tasks scored, mapped to 0…1; None where they were not scored."""
        self._objective.after_epoch(metrics)
        self._unfinished = None

    def train_epoch(self, after_step: Callable[[], None] = lambda: None) -> EpochResult:
        """Train the next epoch, or what is left of an unfinished one; :meth:`after_epoch` ends it.

        Args:
            after_step: is called after every step.

        Raises:
            TrainingFailure: as for :meth:`step`, or the epoch takes too long (cause ``timeout``).
            Interrupted: the clock says so; the epoch goes on after the steps that were done.
        """
        if self._unfinished is None:
            self.epoch += 1
            self._unfinished = UnfinishedEpoch(self.optimiser.learning_rate())
        epoch = self._unfinished
        begin = time.perf_counter() - epoch.seconds
        self._clock.steps = self._objective.steps(self.epoch)
        for index in range(epoch.steps, self._clock.steps):
            epoch.add(self.step(self.epoch, index))
            epoch.seconds = time.perf_counter() - begin
            after_step()
        losses = {name: float(torch.stack(values).mean()) for name, values in epoch.losses.items()}
        self._finite.settle()
        self._clock.rest()
        epoch.seconds = time.perf_counter() - begin
        return EpochResult(
            losses,
            epoch.examples,
            epoch.tokens,
            epoch.learning_rate,
            epoch.seconds,
            self._objective.summary(),
        )

    def _backward(self, epoch: int, index: int) -> StepResult:
        """A step's gradients; from smaller passes of the same batch where memory runs out."""
        while True:
            self._clock.begin("step", index + 1)
            largest = self._splits.size("micro_batch", self._name, epoch, index + 1)
            try:
                return self._objective.backward(epoch, index, largest)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Here the error is gone, and with its frames what they held.
            self.model.clear_gradients()
            release_memory(self.model)
            held = min(self._objective.largest_pass(epoch, index), largest or sys.maxsize)
            if held == 1:
                raise self._too_little("for one example a pass", epoch, index)
            self._splits.add(Split("micro_batch", self._name, epoch, index + 1, (held + 1) // 2))

    def _too_little(self, what: str, epoch: int, index: int) -> TrainingFailure:
        place = f"stage {self._name}, epoch {epoch}, step {index + 1}"
        return TrainingFailure("oom", f"not enough memory {what} at {place}")


def _trained(name: str, stage: StageConfig, frozen: bool) -> bool:
    if not isinstance(stage, MultitaskStage):
        return name.startswith(("encoder.", "auxiliary."))
    return not (frozen and name.startswith("encoder."))
