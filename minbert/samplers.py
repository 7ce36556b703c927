"""Which task's batch comes next.

A sampler plans an epoch as a list of steps; a step is the tuple of tasks that give it one
batch each. Every plan holds the same number of examples (rounded up by less than one batch of
every task), so samplers compare at equal cost. A task's batches run through its training set in a new
random order each pass and start over when the set is exhausted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from minbert.config import SamplerKind
from minbert.seeds import stream

Step = tuple[str, ...]


@dataclass(frozen=True)
class EpochShape:
    """What a sampler plans for.

    Attributes:
        sizes: training examples of each task, in task order.
        batch_sizes: batch size of each task.
        examples: training examples of one epoch.
        epoch, epochs: this epoch (from 1) and their number.
    """

    sizes: Mapping[str, int]
    batch_sizes: Mapping[str, int]
    examples: int
    epoch: int
    epochs: int


def plan_epoch(kind: SamplerKind, shape: EpochShape, rng: np.random.Generator) -> list[Step]:
    """The steps of one epoch.

    sequential: every task's share of the epoch in one run, in task order · round_robin: one batch
    of each task in turn · proportional: independent draws, p ∝ size · annealed: p ∝ size^α with
    α = 1 − 0.8 (e − 1)/(E − 1) (Stickland and Murray 2019) · concurrent: one batch of every task a step.
    """
    names = list(shape.sizes)
    if kind == "concurrent":
        return [tuple(names)] * math.ceil(shape.examples / sum(shape.batch_sizes[name] for name in names))
    if kind == "sequential":
        total = sum(shape.sizes.values())
        return [
            (name,)
            for name in names
            for _ in range(math.ceil(shape.examples * shape.sizes[name] / total / shape.batch_sizes[name]))
        ]
    if kind == "round_robin":
        return _until_full(shape, _turns(names))
    alpha = 1.0 if kind == "proportional" else annealing_exponent(shape.epoch, shape.epochs)
    return _until_full(shape, _draws(names, task_probabilities(shape.sizes, alpha), rng))


def annealing_exponent(epoch: int, epochs: int) -> float:
    """α of annealed sampling: 1 in the first epoch, 0.2 in the last."""
    return 1.0 if epochs == 1 else 1 - 0.8 * (epoch - 1) / (epochs - 1)


def task_probabilities(sizes: Mapping[str, int], alpha: float) -> np.ndarray:
    """p ∝ size^α, in task order."""
    weights = np.array([float(size) for size in sizes.values()]) ** alpha
    return weights / weights.sum()


def _turns(names: list[str]) -> Iterator[str]:
    while True:
        yield from names


def _draws(names: list[str], probabilities: np.ndarray, rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield from (names[index] for index in rng.choice(len(names), size=256, p=probabilities))


def _until_full(shape: EpochShape, tasks: Iterator[str]) -> list[Step]:
    steps: list[Step] = []
    examples = 0
    while examples < shape.examples:
        name = next(tasks)
        steps.append((name,))
        examples += shape.batch_sizes[name]
    return steps


class ExampleOrder:
    """The endless order in which a set's examples are drawn: one random permutation after another."""

    def __init__(self, size: int, seed: int, *names: str | int) -> None:
        self._size, self._seed, self._names = size, seed, names
        self._passes: dict[int, np.ndarray] = {}

    def take(self, start: int, count: int) -> np.ndarray:
        """Examples number ``start`` to ``start + count`` of the order; (count,) indices."""
        positions = np.arange(start, start + count)
        passes = positions // self._size
        parts = [
            self._permutation(number)[positions[passes == number] % self._size]
            for number in np.unique(passes)
        ]
        return np.concatenate(parts)

    def _permutation(self, number: int) -> np.ndarray:
        if number not in self._passes:
            if len(self._passes) > 1:
                self._passes.clear()
            rng = stream(self._seed, *self._names, int(number))
            self._passes[number] = rng.permutation(self._size)
        return self._passes[number]
