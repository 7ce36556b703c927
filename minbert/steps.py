"""What the training loop asks of an objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class StepResult:
    """What one step did: detached losses by name, and how much it read."""

    losses: dict[str, Tensor]
    examples: int
    tokens: int


@dataclass
class UnfinishedEpoch:
    """What an epoch has come to after some of its steps.

    Attributes:
        learning_rate: of its first step.
        steps, examples, tokens: done, and read by them.
        seconds: spent.
        losses: by name, of every step that had it; () each.
        counts: what the objective counted (:meth:`Objective.counts`) when this was kept.
    """

    learning_rate: float
    steps: int = 0
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: dict[str, list[Tensor]] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)

    def add(self, result: StepResult) -> None:
        """Count a step."""
        self.steps += 1
        self.examples += result.examples
        self.tokens += result.tokens
        for name, loss in result.losses.items():
            self.losses.setdefault(name, []).append(loss)

    def facts(self) -> dict[str, Any]:
        """All but the losses, as plain data."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "losses"}


class Objective(Protocol):
    """What a stage minimises: it plans the steps of an epoch and computes a step's gradients.

    The loop calls, for every epoch, ``backward`` and ``before_step`` once a step, then
    ``summary``, and ``after_epoch`` when the tasks have been scored.
    """

    def steps(self, epoch: int) -> int:
        """Number of steps of an epoch (from 1)."""

    def backward(self, epoch: int, index: int, largest: int | None = None) -> StepResult:
        """Compute the gradients of the step ``index`` (from 0) of an epoch.

        Args:
            largest: examples of a task that a pass may hold; None: as many as the configuration says.
                Without dropout it changes rounding alone.
        """

    def largest_pass(self, epoch: int, index: int) -> int:
        """Examples of a task that a pass of a step holds at most, by the configuration."""

    def before_step(self) -> None:
        """Look at the parameters once more: the optimiser is about to change them."""

    def summary(self) -> dict[str, Any]:
        """What the epoch's history record has to tell besides the losses, as plain data; may be empty."""

    def counts(self) -> dict[str, Any]:
        """What :meth:`summary` is made from, in the middle of an epoch; plain data, may be empty."""

    def load_counts(self, counts: Mapping[str, Any]) -> None:
        """Continue an epoch from what :meth:`counts` gave."""

    def after_epoch(self, metrics: Mapping[str, float] | None) -> None:
        """Learn what the tasks scored after an epoch, mapped to 0…1; None where they were not scored."""

    def state(self) -> dict[str, Tensor]:
        """What the next epoch depends on besides the model's weights and the epoch's number; may be empty."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what :meth:`state` gave."""
