"""The baseline: multitask BERT trained the way the published systems of this project do it.

``transformers.BertModel``, one padded forward pass per task and sentence, texts tokenised in
the collate function, AdamW as a loop over parameters, fp32; nothing is shared between passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import BertConfig, BertModel

from benchmarks.cases import MAX_LENGTH, Case, Heads, Material
from minbert.corpora.reader import Examples

LEARNING_RATE = 5e-5
Encoding = Mapping[str, Tensor]
"""What a tokenizer gives for a padded batch of sequences."""


class PlainModel(nn.Module):
    """BertModel with mean pooling and one head per task.

    Args:
        bert: the encoder.
        heads: bi: paraphrases by [u; v; |u − v|], similarity by the cosine; cross: a linear layer each.
    """

    def __init__(self, bert: BertModel, heads: Heads) -> None:
        super().__init__()
        hidden = bert.config.hidden_size
        self.bert, self._bi = bert, heads == "bi"
        self.dropout = nn.Dropout(0.1)
        self.sst = nn.Linear(hidden, 5)
        self.qqp = nn.Linear(3 * hidden if self._bi else hidden, 1)
        self.sts = nn.Linear(hidden, 1)

    def forward(self, task: str, encodings: list[Encoding]) -> Tensor:
        """(batch, 5) logits of SST, (batch,) logit (qqp) or similarity in label units (sts)."""
        vectors = [self.dropout(self._embed(encoding)) for encoding in encodings]
        if task == "sst":
            return self.sst(vectors[0])
        if not self._bi:
            value = (self.qqp if task == "qqp" else self.sts)(vectors[0]).squeeze(1)
            return value if task == "qqp" else 2.5 * value + 2.5
        first, second = vectors
        if task == "qqp":
            return self.qqp(torch.cat([first, second, (first - second).abs()], dim=1)).squeeze(1)
        return 2.5 * F.cosine_similarity(first, second) + 2.5

    def _embed(self, encoding: Encoding) -> Tensor:
        states = self.bert(**encoding).last_hidden_state
        weights = encoding["attention_mask"][..., None].to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)


def plain_model(case: Case, weights: Mapping[str, Tensor]) -> PlainModel:
    """The model of a case with these encoder weights."""
    shape = case.encoder
    config = BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        intermediate_size=shape.intermediate_size,
    )
    bert = BertModel(config)
    bert.load_state_dict(dict(weights))
    return PlainModel(bert, case.heads)


def plain_loss(task: str, outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (sst), binary cross-entropy (qqp), squared error with labels mapped to −1…1 (sts)."""
    if task == "sst":
        return F.cross_entropy(outputs, labels.long())
    if task == "qqp":
        return F.binary_cross_entropy_with_logits(outputs, labels)
    return F.mse_loss(outputs, labels) / 2.5**2


class Baseline:
    """The baseline's side of a case."""

    name = "baseline"

    def __init__(self, case: Case, material: Material, seed: int = 0) -> None:
        self._case, self._material = case, material
        torch.manual_seed(seed)
        self._model = plain_model(case, material.weights(case.encoder))
        self._optimiser = torch.optim.AdamW(
            self._model.parameters(), lr=LEARNING_RATE, foreach=False, fused=False
        )
        self._loaders = {task: self._forever(task) for task in material.raw.splits}

    def step(self) -> None:
        self._model.train()
        self._optimiser.zero_grad()
        losses = []
        for task, loader in self._loaders.items():
            encodings, labels = next(loader)
            losses.append(plain_loss(task, self._model(task, encodings), labels))
        torch.stack(losses).sum().backward()
        self._optimiser.step()

    def evaluate(self, examples: int) -> None:
        self.outputs(examples)

    def outputs(self, examples: int) -> dict[str, Tensor]:
        """The model's outputs (see :class:`PlainModel`) for the first dev examples of every task."""
        self._model.eval()
        found = {}
        with torch.no_grad():
            for task, splits in self._material.raw.splits.items():
                rows = _rows(splits["dev"])[:examples]
                loader = DataLoader(rows, self._case.batch, collate_fn=self._collate)  # type: ignore[arg-type, var-annotated]
                found[task] = torch.cat([self._model(task, encodings) for encodings, _ in loader])
        return found

    def _forever(self, task: str) -> Iterator[Any]:
        rows = _rows(self._material.raw.splits[task]["train"])
        while True:
            yield from DataLoader(
                rows,  # type: ignore[arg-type]
                self._case.batch,
                shuffle=True,
                drop_last=True,
                collate_fn=self._collate,
            )

    def _collate(self, rows: list[tuple[tuple[str, ...], float]]) -> tuple[list[Encoding], Tensor]:
        columns = [list(column) for column in zip(*(texts for texts, _ in rows), strict=True)]
        labels = torch.tensor([label for _, label in rows], dtype=torch.float32)
        if self._case.heads == "cross":
            return [self._tokenise(*columns)], labels
        return [self._tokenise(column) for column in columns], labels

    def _tokenise(self, *columns: list[str]) -> Encoding:
        encoding: Encoding = self._material.tokenizer(
            *columns, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
        )
        return encoding


def _rows(examples: Examples) -> list[tuple[tuple[str, ...], float]]:
    assert examples.labels is not None
    return list(zip(zip(*examples.texts, strict=True), examples.labels.tolist(), strict=True))
