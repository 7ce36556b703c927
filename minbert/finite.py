"""Losses and gradients that are no numbers end a stage, at the step where they are seen first."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from minbert.errors import TrainingFailure


@dataclass(frozen=True)
class _Waiting:
    """Values on their way from a GPU, and whether they have come."""

    values: Tensor
    arrived: Callable[[], bool]
    names: tuple[str, ...]
    place: str


class FiniteCheck:
    """Looks at the scalars of every step without making a GPU wait for it.

    On a CPU they are looked at right away. From a GPU they are copied while it goes on: they are looked at
    once they have come, a step or two later, and at the latest when the epoch ends; the failure names their
    own step.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._waiting: deque[_Waiting] = deque()

    def see(self, epoch: int, index: int, values: Mapping[str, Tensor]) -> None:
        """Take the scalars of a step, by what they are.

        Raises:
            TrainingFailure: one of them, or of an earlier step's, is not finite (cause ``nan``).
        """
        names, place = tuple(values), f"stage {self._stage}, epoch {epoch}, step {index + 1}"
        scalars = list(values.values())
        if all(scalar.device.type == "cpu" for scalar in scalars):
            _check(names, [scalar.item() for scalar in scalars], place)
            return
        copied = torch.stack([scalar.detach() for scalar in scalars]).to("cpu", non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._waiting.append(_Waiting(copied, event.query, names, place))
        self._look(wait=False)

    def settle(self) -> None:
        """Wait for all that is on its way.

        Raises:
            TrainingFailure: as in :meth:`see`.
        """
        if self._waiting:
            torch.cuda.synchronize()
            self._look(wait=True)

    def _look(self, wait: bool) -> None:
        while self._waiting and (wait or self._waiting[0].arrived()):
            first = self._waiting.popleft()
            _check(first.names, first.values.tolist(), first.place)


def _check(names: tuple[str, ...], values: list[float], place: str) -> None:
    for name, value in zip(names, values, strict=True):
        if not math.isfinite(value):
            raise TrainingFailure("nan", f"{name} is {value} at {place}")
