"""A well-tuned loop around ``transformers.BertModel``, so that the baseline is no straw man.

Tokenised once, batches of similar lengths, bf16 autocast, fused AdamW; padded passes per task and sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.baseline import Encoding, plain_loss, plain_model
from benchmarks.cases import MAX_LENGTH, Case, Material
from minbert.corpora.reader import Examples

_POOL = 50  # batches that are sorted by length together


class _Encoded:
    """One split of one task, tokenised: token ids and types of every sequence of every example."""

    def __init__(self, examples: Examples, material: Material, joint: bool) -> None:
        assert examples.labels is not None
        columns = [list(column) for column in examples.texts]
        passes = [columns] if joint else [[column] for column in columns]
        options = {"truncation": True, "max_length": MAX_LENGTH, "return_attention_mask": False}
        found = [material.tokenizer(*texts, **options) for texts in passes]
        self.ids: list[list[list[int]]] = [each["input_ids"] for each in found]
        self.kinds: list[list[list[int]]] = [each["token_type_ids"] for each in found]
        self.labels = torch.tensor(examples.labels, dtype=torch.float32)
        self.lengths = np.sum([[len(ids) for ids in each] for each in self.ids], axis=0)

    def batch(self, rows: Sequence[int]) -> tuple[list[Encoding], Tensor]:
        pairs = zip(self.ids, self.kinds, strict=True)
        return [_padded([i[r] for r in rows], [k[r] for r in rows]) for i, k in pairs], self.labels[rows]


def _padded(ids: list[list[int]], kinds: list[list[int]]) -> Encoding:
    shape = (len(ids), max(map(len, ids)))
    arrays = {name: np.zeros(shape, np.int64) for name in ("input_ids", "token_type_ids", "attention_mask")}
    for row, (tokens, types) in enumerate(zip(ids, kinds, strict=True)):
        arrays["input_ids"][row, : len(tokens)] = tokens
        arrays["token_type_ids"][row, : len(types)] = types
        arrays["attention_mask"][row, : len(tokens)] = 1
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class TunedLoop:
    """The tuned loop's side of a case."""

    name = "tuned loop"

    def __init__(self, case: Case, material: Material, attention: str = "eager") -> None:
        self._batch = case.batch
        self._model = plain_model(case, material.weights(case.encoder))
        self._model.bert.set_attn_implementation(attention)
        self._optimiser = torch.optim.AdamW(self._model.parameters(), lr=5e-5, fused=True)
        joint = case.heads == "cross"
        splits = material.raw.splits
        self._dev = {task: _Encoded(found["dev"], material, joint) for task, found in splits.items()}
        train = {task: _Encoded(found["train"], material, joint) for task, found in splits.items()}
        self._batches = {task: self._forever(data) for task, data in train.items()}
        torch.manual_seed(0)

    def step(self) -> None:
        self._model.train()
        losses = []
        for task, batches in self._batches.items():
            encodings, labels = next(batches)
            with torch.autocast("cpu", torch.bfloat16):
                outputs = self._model(task, encodings)
            losses.append(plain_loss(task, outputs.float(), labels))
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()

    def evaluate(self, examples: int) -> None:
        self._model.eval()
        for task, data in self._dev.items():
            order = np.argsort(data.lengths[:examples], kind="stable")
            for start in range(0, len(order), self._batch):
                encodings, _ = data.batch(order[start : start + self._batch].tolist())
                with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                    self._model(task, encodings)

    def _forever(self, data: _Encoded) -> Iterator[tuple[list[Encoding], Tensor]]:
        rng = np.random.default_rng(0)
        size = self._batch
        while True:
            order = rng.permutation(len(data.labels))
            for start in range(0, len(order) - size, _POOL * size):
                pool = order[start : start + _POOL * size]
                pool = pool[np.argsort(data.lengths[pool], kind="stable")]
                batches = [pool[at : at + size] for at in range(0, len(pool) - size + 1, size)]
                for index in rng.permutation(len(batches)):
                    yield data.batch(batches[index].tolist())
