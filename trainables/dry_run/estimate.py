"""How long the trials of a study take, from a few timed steps of some of them."""

from __future__ import annotations

import math
import os
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from minbert.checkpoint import EncoderFiles
from minbert.config import MultitaskStage, TrainConfig
from minbert.corpora.reader import Corpus
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.devices import Compute, compute, pin, told_precision
from minbert.model import MultitaskModel, build_model
from minbert.objectives import build_objective
from minbert.training import StageTrainer
from trainables.dry_run.timing_corpus import timing_corpus

SECONDS = 4.0
"""So long configurations are timed; the first one wholly."""
_LONG_STEP = 0.7
"""Seconds; a longer step is timed on smaller batches."""
_SMALL, _MIDDLE = 2, 6
_REPEATS = 3
_FORWARD = 1 / 3
"""Time of an example that is only scored, against one that is trained on: a third of the products."""
_TRAIN_SCORED = 250
"""Training examples of each task that are scored beside dev."""


@dataclass(frozen=True)
class TrialTime:
    """What one trial takes by itself, to its last epoch.

    Attributes:
        seconds: of training and scoring.
        steps: of all its stages.
        examples: that these read.
    """

    seconds: float
    steps: int
    examples: int


@dataclass(frozen=True)
class Timing:
    """Some trials of a study, timed.

    Attributes:
        trials: one each.
        device, precision, threads: that they were timed with.
    """

    trials: tuple[TrialTime, ...]
    device: str
    precision: str
    threads: int

    @property
    def mean(self) -> float:
        """Seconds of a trial."""
        return statistics.fmean(trial.seconds for trial in self.trials)

    @property
    def range(self) -> tuple[float, float]:
        """Seconds of the shortest and of the longest one."""
        seconds = [trial.seconds for trial in self.trials]
        return min(seconds), max(seconds)

    def hours(self, trials: int, slots: int) -> float:
        """Hours that so many trials take, so many at a time."""
        return hours_of(self.mean, trials, slots)


def hours_of(seconds: float, trials: int, slots: int) -> float:
    """Hours that trials of so many seconds each take, so many at a time."""
    return math.ceil(trials / slots) * seconds / 3600


class StepTimer:
    """Times steps of configurations on data like a corpus.

    Args:
        corpus: the data.
        encoder: that is trained.
        example: some configuration, for what all have in common: device, precision and tasks.
        threads: that a trial computes with; no more are timed than this process may use cores.

    Attributes:
        told: how precision ``auto`` came out here; empty where it was set.
    """

    def __init__(self, corpus: Corpus, encoder: EncoderFiles, example: TrainConfig, threads: int) -> None:
        self._real, self._encoder, self._example = corpus, encoder, example
        wanted = threads if example.threads == "auto" else example.threads
        at_most = example.model_copy(update={"threads": min(wanted, len(os.sched_getaffinity(0)))})
        self._numerics = pin(at_most, encoder.config)
        measured = example.precision == "auto"
        self.told = told_precision(self._numerics, encoder.config) if measured else ""

    def time(self, configs: Sequence[TrainConfig], seconds: float = SECONDS) -> Timing:
        """Time some of the configurations, drawn at random.

        Args:
            configs: of the study.
            seconds: that this may take; the first one is timed wholly.

        Raises:
            TrainingFailure: a step cannot be taken.
        """
        begin, timed = time.monotonic(), list[TrialTime]()
        before = torch.get_num_threads()
        for config in random.Random(0).sample(list(configs), len(configs)):
            timed.append(self._trial(config))
            spent = time.monotonic() - begin
            if spent + spent / len(timed) > seconds:  # another one would take too long
                break
        torch.set_num_threads(before)
        numerics = self._numerics
        return Timing(tuple(timed), str(numerics.device), str(numerics.precision), int(str(numerics.threads)))

    @cached_property
    def _corpus(self) -> TokenisedCorpus:
        return timing_corpus(self._real, self._example.tasks, self._encoder)

    def _trial(self, config: TrainConfig) -> TrialTime:
        numerics = {name: getattr(self._numerics, name) for name in ("device", "precision", "threads")}
        config = config.model_copy(update=numerics)
        how = compute(config)
        model = build_model(config, self._encoder.config, self._encoder.weights()).on(how)
        total, steps, examples = 0.0, 0, 0
        for name, stage in config.running_stages():
            model.auxiliary = torch.nn.ModuleDict()
            objective = build_objective(model, config, name, self._corpus, how.device)
            count = sum(objective.steps(epoch) for epoch in range(1, stage.last_epoch + 1))
            timer = _StageTimer(model, name, self._corpus, how, objective.steps(1))
            taken, read = timer.step(config)
            total, steps, examples = total + count * taken, steps + count, examples + count * read
        scored = self._scored(config) * taken / read * _FORWARD
        return TrialTime(total + scored, steps, examples)

    def _scored(self, config: TrainConfig) -> int:
        """Examples that the last stage scores: after each epoch those that choose, in the end dev and test."""
        count = 0
        for task, settings in config.tasks.items():
            splits = {split: len(examples) for split, examples in self._real.splits[task].items()}
            dev = splits["dev"]
            choosing = {"dev": dev, "train_holdout": splits["train"] // 10 + dev}.get(config.selection, dev)
            choosing = min(choosing, settings.dev_examples or choosing)
            epochs = config.running_stages()[-1][1].last_epoch
            count += epochs * (choosing + min(_TRAIN_SCORED, splits["train"])) + dev + splits.get("test", 0)
        return count


@dataclass(frozen=True)
class _StageTimer:
    """Times steps of one stage; ``steps`` has the first epoch."""

    model: MultitaskModel
    name: str
    corpus: TokenisedCorpus
    how: Compute
    steps: int

    def step(self, config: TrainConfig) -> tuple[float, int]:
        """Seconds of a step, and the examples that it reads."""
        small, few = self._timed(_with_batches(config, self.name, _SMALL), repeats=1)
        examples = _examples(config, self.name, few)
        if small * examples / few <= _LONG_STEP:
            return self._timed(config, _REPEATS)
        if small > _LONG_STEP:
            return small * examples / few, examples  # what does not grow with the batch is counted too often
        middle, more = self._timed(_with_batches(config, self.name, _MIDDLE), repeats=1)
        slope = max(0.0, middle - small) / max(1, more - few)
        return small + slope * (examples - few), examples

    def _timed(self, config: TrainConfig, repeats: int) -> tuple[float, int]:
        trainer = StageTrainer(self.model, config, self.name, self.corpus, self.how.device)
        alone = self.how.device.type == "cpu" and torch.get_num_threads() == 1
        clock = time.process_time if alone else time.perf_counter  # the former does not count others' work
        times, read = [], []
        for number in range(
            repeats + 1
        ):  # from all over the epoch, which may have its tasks one after another
            begin = clock()
            result = trainer.step(1, self.steps * number // (repeats + 1))
            if self.how.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(clock() - begin)
            read.append(result.examples)
        return statistics.fmean(times[1:]), round(statistics.fmean(read[1:]))  # the first one warms up


def _with_batches(config: TrainConfig, name: str, size: int) -> TrainConfig:
    """The configuration with batches of so many examples in one stage; larger than configured ones are not made."""
    stage = config.stages[name]
    smaller = stage.model_copy(update={"batch_size": min(size, stage.batch_size)})
    tasks = {
        task: each.model_copy(update={"batch_size": each.batch_size and min(size, each.batch_size)})
        for task, each in config.tasks.items()
    }
    return config.model_copy(update={"stages": {**config.stages, name: smaller}, "tasks": tasks})


def _examples(config: TrainConfig, name: str, few: int) -> int:
    """Examples of a step by the configuration, where one of batches of ``_SMALL`` read few."""
    stage = config.stages[name]
    if not isinstance(stage, MultitaskStage):
        return stage.batch_size
    sizes = [config.tasks[task].batch_size or stage.batch_size for task in config.trained_tasks(stage)]
    tasks = max(1, round(few / min(_SMALL, *sizes)))
    return round(tasks * statistics.fmean(sizes))
