"""Predictions, metrics and the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from minbert.config import MultitaskStage, Selection, TaskConfig, TaskKind, TrainConfig
from minbert.corpora.batching import Batcher
from minbert.corpora.rows import training_rows
from minbert.corpora.tokenised import TokenisedCorpus, TokenisedSplit
from minbert.errors import TrainingFailure
from minbert.measures import alignment, is_constant, plain_mean, task_measures, uniformity
from minbert.model import MultitaskModel
from minbert.seeds import stream

_TOKENS_PER_BATCH = 4096

_TRAIN_EXAMPLES = 250
"""Training examples of a task that are scored beside dev, to show how much is learnt by heart."""

PARTS = ("select", "report", "dev")
Metrics = dict[str, float]
Scored = Literal["never", "at the end", "always"]


@dataclass(frozen=True)
class Evaluation:
    """What a model scores.

    Attributes:
        parts: by part (select, report, dev) every task's metric and the score; between epochs select alone.
        measures: by part further measures of every task, and ``plain``, the mean of the tasks' metrics.
        constant: tasks whose predictions on dev are one and the same answer.
        predictions: (examples, classes) or (examples, 1) by task, on dev.
    """

    parts: dict[str, Metrics]
    measures: dict[str, dict[str, Any]]
    constant: list[str]
    predictions: dict[str, np.ndarray]

    def record(self) -> dict[str, Any]:
        """The figures, as they stand in a history record."""
        extra = {"measures": self.measures, "constant": self.constant} if self.measures else {}
        return {**self.parts, **extra}


@dataclass(frozen=True)
class Evaluator:
    """Scores a model on the development data of its tasks.

    Attributes:
        corpus, batcher: the data.
        tasks: the tasks of the configuration.
        selection: which examples choose and which are reported (see :class:`TrainConfig`).
    """

    corpus: TokenisedCorpus
    batcher: Batcher
    tasks: Mapping[str, TaskConfig]
    selection: Selection

    def predict(
        self, model: MultitaskModel, task: str, split: str, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Outputs for the examples ``rows`` (ascending; None: all) of a split.

        Returns:
            (examples, classes) class probabilities, or (examples, 1) probability of the
            positive class (binary) or value in label units (regression).

        Raises:
            TrainingFailure: a prediction is not finite (cause ``nan``).
        """
        model.dropout.stop()
        if rows is None:
            rows = np.arange(len(self.corpus.splits[task][split]))
        order: list[np.ndarray] = []
        chunks: list[Tensor] = []
        with torch.inference_mode():
            for indices in self.batcher.in_order_of_length(task, split, rows, _TOKENS_PER_BATCH):
                output = model(self.batcher.batch(split, [(task, indices)]))[task]
                order.append(indices)
                chunks.append(probabilities(self.tasks[task].kind, output))
        ordered = torch.cat(chunks).cpu().numpy().astype(np.float64)
        predictions = np.empty_like(ordered)
        predictions[np.searchsorted(rows, np.concatenate(order))] = ordered
        if not np.isfinite(predictions).all():
            raise TrainingFailure("nan", f"{task} has predictions that are no numbers")
        return predictions

    def between_epochs(self, model: MultitaskModel) -> Evaluation:
        """Score what chooses epochs: of a task with ``dev_examples`` only so many first ones of the choosing examples."""
        select: Metrics = {}
        for task, config in self.tasks.items():
            split, rows = self._choosing(task)
            rows = rows[: config.dev_examples]
            labels = self.corpus.splits[task][split].labels
            assert labels is not None
            select[task] = metric(config.kind, self.predict(model, task, split, rows), labels[rows])
        return Evaluation({"select": _with_score(select, self.tasks)}, {}, [], {})

    def on_train(self, model: MultitaskModel) -> Metrics:
        """Score a random sample of each task's training examples, the same one whatever the configuration and seed."""
        metrics: Metrics = {}
        for task, config in self.tasks.items():
            rows = training_rows(self.corpus, task, self.selection)
            if len(rows) > _TRAIN_EXAMPLES:
                chosen = stream(0, "train sample", task).choice(len(rows), _TRAIN_EXAMPLES, replace=False)
                rows = rows[np.sort(chosen)]
            labels = self.corpus.splits[task]["train"].labels
            assert labels is not None
            metrics[task] = metric(config.kind, self.predict(model, task, "train", rows), labels[rows])
        return _with_score(metrics, self.tasks)

    @property
    def partial(self) -> bool:
        """Whether there is less to score between epochs than at the best one."""
        return any(config.dev_examples is not None for config in self.tasks.values())

    def evaluate(self, model: MultitaskModel) -> Evaluation:
        """Score the select and report examples and all of dev."""
        predictions = {task: self.predict(model, task, "dev") for task in self.tasks}
        parts: dict[str, Metrics] = {part: {} for part in PARTS}
        measures: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        for task, config in self.tasks.items():
            for part in PARTS:
                values, labels = self._examples(model, task, part, predictions[task])
                parts[part][task] = metric(config.kind, values, labels)
                measures[part][task] = task_measures(config.kind, values, labels)
        for part, metrics in parts.items():
            measures[part]["plain"] = plain_mean(metrics, self.tasks)
            parts[part] = _with_score(metrics, self.tasks)
        constant = [task for task in self.tasks if is_constant(self.tasks[task].kind, predictions[task])]
        return Evaluation(parts, measures, constant, predictions)

    def geometry(self, model: MultitaskModel) -> dict[str, float]:
        """Alignment and uniformity of the sentence vectors on dev of the first regression pair task.

        Positive pairs are those with at least four fifths of the highest label. Empty without such
        a task or such pairs. Source: Wang and Isola 2020, as Gao et al. 2021 measure it.
        """
        task = next((t for t, c in self.tasks.items() if c.kind == "regression" and len(c.text) == 2), None)
        if task is None:
            return {}
        dev = self.corpus.splits[task]["dev"]
        assert dev.labels is not None
        positive = dev.labels >= self.tasks[task].positive_from
        if not positive.any():
            return {}
        first, second = self._sentence_vectors(model, task)
        return {
            "alignment": alignment(first[positive], second[positive]),
            "uniformity": uniformity(np.concatenate([first, second])),
        }

    def _sentence_vectors(self, model: MultitaskModel, task: str) -> tuple[np.ndarray, np.ndarray]:
        """Pooled vectors (examples, hidden) of both sentences of a task's dev pairs, each encoded alone."""
        model.dropout.stop()
        rows = np.arange(len(self.corpus.splits[task]["dev"]))
        batcher = self.batcher.with_inputs({task: "separate"})
        vectors = [np.empty(0), np.empty(0)]
        with torch.inference_mode():
            for indices in batcher.in_order_of_length(task, "dev", rows, _TOKENS_PER_BATCH):
                batch = batcher.batch("dev", [(task, indices)])
                states = model.embed(batch.packed, 0.0).float().cpu().numpy().astype(np.float64)
                for side, where in enumerate(batch.parts[0].sequences):
                    if not len(vectors[side]):
                        vectors[side] = np.empty((len(rows), states.shape[1]))
                    vectors[side][indices] = states[where]
        return vectors[0], vectors[1]

    def _choosing(self, task: str) -> tuple[str, np.ndarray]:
        """Split and rows of the examples that choose."""
        if self.selection == "train_holdout":
            held_out = self.corpus.splits[task]["train"].selected
            assert held_out is not None
            return "train", np.flatnonzero(held_out)
        dev = self.corpus.splits[task]["dev"]
        if self.selection == "dev":
            return "dev", np.arange(len(dev))
        assert dev.selected is not None
        return "dev", np.flatnonzero(dev.selected)

    def _examples(
        self, model: MultitaskModel, task: str, part: str, on_dev: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and labels of a part's examples."""
        split, rows = self._choosing(task) if part == "select" else ("dev", np.arange(len(on_dev)))
        if part == "report" and self.selection == "dev_half":
            selected = self.corpus.splits[task]["dev"].selected
            assert selected is not None
            rows = np.flatnonzero(~selected)
        labels = self.corpus.splits[task][split].labels
        assert labels is not None
        values = on_dev[rows] if split == "dev" else self.predict(model, task, split, rows)
        return values, labels[rows]

    def frame(self, task: str, split: str, predictions: np.ndarray) -> pd.DataFrame:
        """Stored form of a split's predictions: split, half, id, label, output_0, … (fp32, as they were computed)."""
        data = self.corpus.splits[task][split]
        outputs = predictions.astype(np.float32)
        columns = {f"output_{index}": outputs[:, index] for index in range(outputs.shape[1])}
        labels = np.full(len(data), np.nan) if data.labels is None else data.labels.astype(np.float64)
        return pd.DataFrame(
            {
                "split": split,
                "half": self._halves(data, split),
                "id": list(data.ids),
                "label": labels,
                **columns,
            }
        )

    def _halves(self, data: TokenisedSplit, split: str) -> list[str | None]:
        if split != "dev":
            return [None] * len(data)
        if self.selection != "dev_half":
            return ["report"] * len(data)
        assert data.selected is not None
        return ["select" if chosen else "report" for chosen in data.selected]


def probabilities(kind: TaskKind, output: Tensor) -> Tensor:
    """Turn a head's output into what is stored: (batch, classes) or (batch, 1), fp32."""
    if kind == "classification":
        return torch.softmax(output.float(), dim=1)
    return (torch.sigmoid(output.float()) if kind == "binary" else output.float())[:, None]


def metric(kind: TaskKind, predictions: np.ndarray, labels: np.ndarray) -> float:
    """The metric that the score is made of: accuracy, or Pearson's r for regression (0 if constant)."""
    return task_measures(kind, predictions, labels)["pearson" if kind == "regression" else "accuracy"]


def score(metrics: Mapping[str, float], tasks: Mapping[str, TaskConfig]) -> float:
    """Mean over tasks of the metric mapped to [0, 1]: accuracy as it is, Pearson as (r + 1)/2."""
    mapped = [
        (metrics[name] + 1) / 2 if task.kind == "regression" else metrics[name]
        for name, task in tasks.items()
    ]
    return float(np.mean(mapped))


def when_scored(config: TrainConfig, name: str) -> Scored:
    """When the tasks are scored in a stage: once heads have been trained, after every stage; forgetting shows."""
    stages = config.running_stages()
    position = [each for each, _ in stages].index(name)
    stage = stages[position][1]
    if isinstance(stage, MultitaskStage) and stage.weighting == "adaptive":
        return "always"
    trained = any(isinstance(earlier, MultitaskStage) for _, earlier in stages[: position + 1])
    return "at the end" if trained else "never"


def _with_score(metrics: Metrics, tasks: Mapping[str, TaskConfig]) -> Metrics:
    return {**metrics, "score": score(metrics, tasks)}
