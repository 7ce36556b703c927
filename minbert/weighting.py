"""Weights of the tasks' losses: fixed, following the last scores, or learned.

Source: "minBERT embeddings through multi-task learning", section 3.3, which leaves the rules of the
last two open; the readings taken here stand with the classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn


class Weighting(Protocol):
    """How much a task's loss counts.

    Attributes:
        module: parameters that are trained along with the model; None where there are none.
    """

    module: nn.Module | None = None

    def weighted(self, task: str, loss: Tensor) -> Tensor:
        """What a task's loss () adds to the sum over the tasks of a step; ()."""

    def after_epoch(self, metrics: Mapping[str, float]) -> None:
        """Learn the tasks' scores, mapped to 0…1, on the examples that choose epochs."""

    def state(self) -> dict[str, Tensor]:
        """What the next epoch depends on besides the module's parameters."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what :meth:`state` gave."""


class FixedWeighting(Weighting):
    """w·L with the configured weights ``tasks.*.weight``."""

    def __init__(self, tasks: Sequence[str], fixed: Mapping[str, float]) -> None:
        self._weights = {task: fixed[task] for task in tasks}

    def weighted(self, task: str, loss: Tensor) -> Tensor:
        return self._weights[task] * loss


class AdaptiveWeighting(Weighting):
    """w·a·L, a ∝ 1 − score after the last scored epoch; the a add up to the number of tasks.

    All a are 1 before the first scores, and where every score is 1.
    """

    def __init__(self, tasks: Sequence[str], fixed: Mapping[str, float]) -> None:
        self._fixed = {task: fixed[task] for task in tasks}
        self._adapted = dict.fromkeys(tasks, 1.0)

    def weighted(self, task: str, loss: Tensor) -> Tensor:
        return self._fixed[task] * self._adapted[task] * loss

    def after_epoch(self, metrics: Mapping[str, float]) -> None:
        missing = {task: 1 - metrics[task] for task in self._adapted}
        total = math.fsum(missing.values())
        if total > 0:
            self._adapted = {task: len(missing) * share / total for task, share in missing.items()}
        else:
            self._adapted = dict.fromkeys(missing, 1.0)

    def state(self) -> dict[str, Tensor]:
        return {"adapted": torch.tensor(list(self._adapted.values()), dtype=torch.float64)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._adapted = dict(zip(self._adapted, state["adapted"].tolist(), strict=True))


class LearnedWeighting(Weighting):
    """e^(−s)·w·L + s with a learned s per task, 0 at first (Kendall et al. 2018).

    s is the logarithm of a task's noise. A bare learned factor would go to 0; the term + s stands against it.
    """

    def __init__(self, tasks: Sequence[str], fixed: Mapping[str, float]) -> None:
        self._fixed = {task: fixed[task] for task in tasks}
        self._log_noise = _LogNoise(tasks)
        self.module = self._log_noise

    def weighted(self, task: str, loss: Tensor) -> Tensor:
        s = self._log_noise.of(task)
        return torch.exp(-s) * self._fixed[task] * loss + s


class _LogNoise(nn.Module):
    """One scalar parameter a task, so that a step without the task leaves it alone."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        for task in tasks:
            self.register_parameter(f"s_{task}", nn.Parameter(torch.zeros(())))

    def of(self, task: str) -> nn.Parameter:
        return self.get_parameter(f"s_{task}")


def build_weighting(
    kind: Literal["fixed", "adaptive", "learned"], tasks: Sequence[str], fixed: Mapping[str, float]
) -> Weighting:
    """Make the weighting of a stage.

    Args:
        kind: which one.
        tasks: names of the tasks that the stage trains.
        fixed: configured weight of each of them.
    """
    classes: dict[str, Callable[[Sequence[str], Mapping[str, float]], Weighting]] = {
        "fixed": FixedWeighting,
        "adaptive": AdaptiveWeighting,
        "learned": LearnedWeighting,
    }
    return classes[kind](tasks, fixed)
