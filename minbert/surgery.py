"""PCGrad: gradients of tasks that conflict are projected onto each other's normal plane.

Source: Yu et al. 2020, algorithm 1. All projections act on linear combinations of the
original gradients, so they are done on coefficients with the small Gram matrix of dot
products; the long vectors are read twice, however many tasks there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np


def pcgrad_weights(gram: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weights of the tasks' original gradients in the sum of the projected ones.

    The weights do not change when all gradients are scaled: gradients of the losses divided by the number
    of tasks give the mean of the projected ones.

    Args:
        gram: (tasks, tasks) dot products of the tasks' gradients.
        rng: order in which the other tasks are visited.

    Returns:
        (tasks,) weights; all ones without a conflict.
    """
    tasks = len(gram)
    coefficients = np.eye(tasks)
    for i in range(tasks):
        for j in rng.permutation(tasks):
            dot = coefficients[i] @ gram[:, j]
            # A vanishing gradient's square is rounded to 0 before its dot products are.
            if j != i and dot < 0 < gram[j, j]:
                coefficients[i, j] -= dot / gram[j, j]
    return coefficients.sum(axis=0)


class Conflicts:
    """How often the gradients of tasks conflict over the steps of an epoch, and how far."""

    def __init__(self) -> None:
        self._steps = self._conflicting = 0
        self._cosines: dict[str, list[float]] = {}

    def add(self, names: Sequence[str], gram: np.ndarray) -> None:
        """Count a step.

        Args:
            names: the step's tasks, in the order that every step has.
            gram: (tasks, tasks) dot products of their gradients.
        """
        if len(names) < 2:
            return
        self._steps += 1
        pairs = list(combinations(range(len(names)), 2))
        self._conflicting += any(gram[i, j] < 0 for i, j in pairs)
        for i, j in pairs:
            lengths = math.sqrt(gram[i, i]) * math.sqrt(gram[j, j])
            if lengths > 0 and math.isfinite(gram[i, j] / lengths):  # a zero gradient has no direction
                self._cosines.setdefault(f"{names[i]}/{names[j]}", []).append(float(gram[i, j] / lengths))

    def counts(self) -> dict[str, Any]:
        """What was counted so far, as plain data."""
        return {"steps": self._steps, "conflicting": self._conflicting, "cosines": self._cosines}

    def load(self, counts: Mapping[str, Any]) -> None:
        """Continue from what :meth:`counts` gave."""
        self._steps, self._conflicting = counts["steps"], counts["conflicting"]
        self._cosines = {pair: list(values) for pair, values in counts["cosines"].items()}

    def summary(self) -> dict[str, Any]:
        """Plain data: ``steps`` that had at least two tasks, ``conflict_share`` of them with a negative dot
        product, mean ``cosine`` by pair of tasks. Empty without such a step.
        """
        if not self._steps:
            return {}
        return {
            "steps": self._steps,
            "conflict_share": self._conflicting / self._steps,
            "cosine": {pair: math.fsum(values) / len(values) for pair, values in self._cosines.items()},
        }
