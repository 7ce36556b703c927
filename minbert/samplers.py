"""Which task's batch comes next.

A sampler plans an epoch as a list of steps; a step is the tuple of tasks that give it one
batch each. A task's batches run through its training set in a new random order each pass and start
over when the set is exhausted; a pass through n examples in batches of b is ⌈n/b⌉ batches.

How long an epoch is: ``steps`` says it exactly; ``examples`` makes plans of every sampler hold the same
number of examples (rounded up by less than one batch of every turn), so that samplers compare at equal
cost; without either it is all there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from minbert.config import MultitaskStage, SamplerConfig, SamplerKind, TrainConfig
from minbert.seeds import stream

Step = tuple[str, ...]


@dataclass(frozen=True)
class EpochShape:
    """What a sampler plans for.

    Attributes:
        sizes: training examples of each task, in task order.
        batch_sizes: batch size of each task.
        examples: training examples of one epoch; None: all there are.
        steps: steps of one epoch, instead of ``examples``.
        epoch: this epoch (from 1).
        epochs: their number; of 3.5 epochs the fourth is the first half of a plan.
        fidelity: share of the steps that is planned.
    """

    sizes: Mapping[str, int]
    batch_sizes: Mapping[str, int]
    examples: int | None
    steps: int | None
    epoch: int
    epochs: float
    fidelity: float = 1.0

    @classmethod
    def of(
        cls, config: TrainConfig, stage: MultitaskStage, sizes: Mapping[str, int], epoch: int
    ) -> EpochShape:
        """The shape of a stage's epoch, for the training examples of each of its tasks."""
        return cls(
            sizes=sizes,
            batch_sizes={task: config.tasks[task].batch_size or stage.batch_size for task in sizes},
            examples=stage.epoch_examples,
            steps=stage.epoch_steps,
            epoch=epoch,
            epochs=stage.epochs,
            fidelity=config.fidelity,
        )

    def batches(self, task: str) -> int:
        """Batches of one pass through a task's set."""
        return -(-self.sizes[task] // self.batch_sizes[task])


def plan_epoch(sampler: SamplerConfig, shape: EpochShape, rng: np.random.Generator) -> list[Step]:
    """The steps of one epoch.

    One after another: **sequential** gives every entry of the order a whole pass (an entry that is
    repeated is a second pass; with ``examples`` or ``steps``: its share of the epoch), and so does
    **round_robin** with unit pass. That is RR of "Robust embeddings", section 4, and the sequential
    training of "Simple contrastive learning", section 3.1.

    In turn: **round_robin** takes one batch per entry of the order ("minBERT embeddings through multi-task
    learning", section 3.2; "Multi-BERT", section 4.1) and **concurrent** a batch of every task a step
    ("Simple contrastive learning", section 3.1). With ``end`` they stop after the round in which the first
    (smallest) or the last (largest) task's set has been gone through, repeats in the order counted.

    By chance: **merged** shuffles all tasks' batches and takes each once ("Robust embeddings",
    algorithm 1; a longer epoch shuffles again); independent draws are **random** (p ∝ weight; ibid.,
    table 2), **proportional** (p ∝ size) and **annealed** (p ∝ size^α; "Multi-BERT", section 4.2).

    With ``fidelity`` the plan is thinned to that share of its steps, at least one; where tasks take turns, at
    least one turn of each that had any. Tasks keep their proportions and their order: runs of one task shrink
    each by that share, and of any other plan the beginning stands for the whole.
    """
    if sampler.kind == "sequential" or sampler.unit == "pass":
        plan = _one_after_another(sampler.order or tuple(shape.sizes), shape)
    else:
        plan = _until_the_end(sampler, shape, rng)
        least = 1 + max(plan.index(step) for step in set(plan)) if sampler.kind == "round_robin" else 1
        plan = plan[: max(least, _part(len(plan), shape.fidelity))]
    return plan[: _part(len(plan), min(1.0, shape.epochs - (shape.epoch - 1)))]


def annealing_exponent(epoch: int, epochs: float) -> float:
    """α = 1 − 0.8 (e − 1)/(E − 1): 1 in the first epoch, 0.2 in the last (Stickland and Murray 2019).

    It stays 1 when there is only one; an epoch that is not finished counts as one.
    """
    last = math.ceil(epochs)
    return 1.0 if last == 1 else 1 - 0.8 * (epoch - 1) / (last - 1)


def task_probabilities(sizes: Mapping[str, float], alpha: float) -> np.ndarray:
    """p ∝ size^α, in task order."""
    weights = np.array([float(size) for size in sizes.values()]) ** alpha
    return weights / weights.sum()


def _part(steps: int, share: float) -> int:
    """So many of the steps, at least one."""
    return max(1, round(steps * share))


def _one_after_another(order: Sequence[str], shape: EpochShape) -> list[Step]:
    runs = [shape.batches(task) for task in order]
    if shape.steps is not None:
        runs = _shrunk(runs, shape.steps)
    elif shape.examples is not None:
        total = sum(shape.sizes[task] for task in order)
        runs = [-(-shape.examples * shape.sizes[t] // (total * shape.batch_sizes[t])) for t in order]
    if shape.fidelity < 1:
        runs = _shrunk(runs, max(min(len(runs), sum(runs)), _part(sum(runs), shape.fidelity)))
    return [(task,) for task, run in zip(order, runs, strict=True) for _ in range(run)]


def _shrunk(runs: Sequence[int], total: int) -> list[int]:
    """Whole numbers in proportion to the runs that add up to ``total``; none is 0 where there are enough."""
    exact = [total * run / sum(runs) for run in runs]
    least = 1 if total >= len(runs) else 0
    found = [max(least, int(share)) for share in exact]
    while (missing := total - sum(found)) != 0:
        by = 1 if missing > 0 else -1
        open_runs = [i for i in range(len(runs)) if by > 0 or found[i] > least]
        found[max(open_runs, key=lambda i: by * (exact[i] - found[i]))] += by
    return found


def _until_the_end(sampler: SamplerConfig, shape: EpochShape, rng: np.random.Generator) -> list[Step]:
    turns = _TURNS[sampler.kind](sampler, shape, rng)
    if shape.steps is not None:
        return list(islice(turns, shape.steps))
    if sampler.end is not None:
        return list(islice(turns, _steps_to_the_end(sampler, shape)))
    if sampler.kind == "merged" and shape.examples is None:
        return list(islice(turns, sum(shape.batches(task) for task in shape.sizes)))
    used = set(sampler.order or shape.sizes)
    wanted = shape.examples or sum(shape.sizes[task] for task in used)
    steps: list[Step] = []
    while wanted > 0:
        steps.append(next(turns))
        wanted -= sum(shape.batch_sizes[task] for task in steps[-1])
    return steps


def _steps_to_the_end(sampler: SamplerConfig, shape: EpochShape) -> int:
    """Steps until the first, or the last, set is through, whole rounds."""
    order = sampler.order or tuple(shape.sizes)
    rounds = [-(-shape.batches(task) // order.count(task)) for task in order]
    needed = min(rounds) if sampler.end == "smallest" else max(rounds)
    return needed if sampler.kind == "concurrent" else needed * len(order)


def _concurrent(sampler: SamplerConfig, shape: EpochShape, rng: np.random.Generator) -> Iterator[Step]:
    return _repeated([tuple(shape.sizes)])


def _round_robin(sampler: SamplerConfig, shape: EpochShape, rng: np.random.Generator) -> Iterator[Step]:
    return _repeated([(task,) for task in sampler.order or shape.sizes])


def _merged(sampler: SamplerConfig, shape: EpochShape, rng: np.random.Generator) -> Iterator[Step]:
    return _shuffles([(task,) for task in shape.sizes for _ in range(shape.batches(task))], rng)


def _random(sampler: SamplerConfig, shape: EpochShape, rng: np.random.Generator) -> Iterator[Step]:
    weights = {task: (sampler.weights or {}).get(task, 1.0) for task in shape.sizes}
    return _draws(weights, 1.0, rng)


def _proportional(sampler: SamplerConfig, shape: EpochShape, rng: np.random.Generator) -> Iterator[Step]:
    return _draws(shape.sizes, 1.0, rng)


def _annealed(sampler: SamplerConfig, shape: EpochShape, rng: np.random.Generator) -> Iterator[Step]:
    return _draws(shape.sizes, annealing_exponent(shape.epoch, shape.epochs), rng)


_TURNS: dict[SamplerKind, Callable[[SamplerConfig, EpochShape, np.random.Generator], Iterator[Step]]] = {
    "concurrent": _concurrent,
    "round_robin": _round_robin,
    "merged": _merged,
    "random": _random,
    "proportional": _proportional,
    "annealed": _annealed,
}
"""Steps without end, of every sampler whose epoch is cut from such."""


def _repeated(steps: Sequence[Step]) -> Iterator[Step]:
    while True:
        yield from steps


def _shuffles(steps: Sequence[Step], rng: np.random.Generator) -> Iterator[Step]:
    while True:
        yield from (steps[index] for index in rng.permutation(len(steps)))


def _draws(sizes: Mapping[str, float], alpha: float, rng: np.random.Generator) -> Iterator[Step]:
    """A task a step, drawn with p ∝ size^α."""
    names, probabilities = tuple(sizes), task_probabilities(sizes, alpha)
    while True:
        yield from ((names[index],) for index in rng.choice(len(names), size=256, p=probabilities))


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
