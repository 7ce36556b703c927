"""Predictions, metrics and the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from minbert.config import Selection, TaskConfig, TaskKind
from minbert.corpora.batching import Batcher
from minbert.corpora.tokenised import TokenisedCorpus, TokenisedSplit
from minbert.model import MultitaskModel

_TOKENS_PER_BATCH = 4096

Metrics = dict[str, float]


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
        return predictions

    def evaluate(self, model: MultitaskModel) -> tuple[dict[str, Metrics], dict[str, np.ndarray]]:
        """Metrics on the select and report examples and on all of dev, and the dev predictions.

        Returns:
            ``{"select": {task: metric, …, "score": s}, "report": …, "dev": …}`` and
            ``{task: predictions on dev}``.
        """
        predictions = {task: self.predict(model, task, "dev") for task in self.tasks}
        parts: dict[str, Metrics] = {"select": {}, "report": {}, "dev": {}}
        for task, config in self.tasks.items():
            dev = self.corpus.splits[task]["dev"]
            assert dev.labels is not None
            everything = np.ones(len(dev), dtype=bool)
            chosen, reported = everything, everything
            if self.selection == "dev_half":
                assert dev.selected is not None
                chosen, reported = dev.selected, ~dev.selected
            for part, rows in (("select", chosen), ("report", reported), ("dev", everything)):
                parts[part][task] = metric(config.kind, predictions[task][rows], dev.labels[rows])
            if self.selection == "train_holdout":
                parts["select"][task] = self._on_holdout(model, task)
        for metrics in parts.values():
            metrics["score"] = score(metrics, self.tasks)
        return parts, predictions

    def _on_holdout(self, model: MultitaskModel, task: str) -> float:
        train = self.corpus.splits[task]["train"]
        assert train.selected is not None and train.labels is not None
        rows = np.flatnonzero(train.selected)
        return metric(self.tasks[task].kind, self.predict(model, task, "train", rows), train.labels[rows])

    def frame(self, task: str, split: str, predictions: np.ndarray) -> pd.DataFrame:
        """Stored form of a split's predictions: split, half, id, label, output_0, …"""
        data = self.corpus.splits[task][split]
        columns = {f"output_{index}": predictions[:, index] for index in range(predictions.shape[1])}
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
    """Accuracy for classification and binary tasks, Pearson's r for regression (0 if constant)."""
    if kind == "classification":
        return float((predictions.argmax(axis=1) == labels).mean())
    if kind == "binary":
        return float(((predictions[:, 0] > 0.5) == labels).mean())
    values = predictions[:, 0].astype(np.float64)
    if len(values) < 2 or np.ptp(values) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(np.corrcoef(values, labels.astype(np.float64))[0, 1])


def score(metrics: Mapping[str, float], tasks: Mapping[str, TaskConfig]) -> float:
    """Mean over tasks of the metric mapped to [0, 1]: accuracy as it is, Pearson as (r + 1)/2."""
    mapped = [
        (metrics[name] + 1) / 2 if task.kind == "regression" else metrics[name]
        for name, task in tasks.items()
    ]
    return float(np.mean(mapped))
