"""One exported model in memory: its outputs for any texts, and its sentence vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from minbert.checkpoint import load_encoder, open_encoder
from minbert.config import TrainConfig
from minbert.corpora.batching import Batcher
from minbert.corpora.tokenised import TokenisedCorpus, TokenisedSplit, TokenTable
from minbert.devices import Compute, compute
from minbert.errors import TrainingFailure, UserError
from minbert.evaluation import Evaluator
from minbert.exported_files import CONFIG, HEADS
from minbert.heads import Inputs
from minbert.model import MultitaskModel
from minbert.yaml_reader import load_config

AT_ONCE = 10_000
"""Texts that are tokenised and sorted by length together."""
_TOKENS_PER_BATCH = 16_384
_GIVEN, _SENTENCES = "given", "sentences"
Progress = Callable[[int], object]
"""Is called with the number of examples that were done since."""


class LoadedModel:
    """A model on this machine's device; of one that was trained on a GPU that is not here, in fp32 on the CPU.

    Args:
        folder: a single model's, whose files have been checked.

    Raises:
        UserError: the files do not make the model that config.yaml describes.
    """

    def __init__(self, folder: Path) -> None:
        self.config = load_config(folder / CONFIG)
        files = open_encoder(folder)
        self._tokenizer = files.tokenizer()
        self._compute = _numerics_here(self.config)
        model = MultitaskModel(self.config, load_encoder(files.config, files.weights()))
        _load_heads(model, folder / HEADS)
        self._model = model.on(self._compute)

    def outputs(self, task: str, texts: Sequence[Sequence[str]], progress: Progress) -> np.ndarray:
        """What trials store as predictions.

        Args:
            task: one of the configuration's.
            texts: one column of n texts for each text of an example.
            progress: is told how many examples are done.

        Returns:
            (n, classes) probabilities, or (n, 1) probability of the positive class (binary) or value in label
            units (regression).

        Raises:
            UserError: an output is no number.
        """
        inputs = self._model.head(task).inputs
        parts = []
        for columns in _blocks(texts):
            corpus = self._tokenised(task, columns)
            batcher = self._batcher(corpus, task, inputs, progress)
            evaluator = Evaluator(corpus, batcher, self.config.tasks, self.config.selection)
            try:
                parts.append(evaluator.predict(self._model, task, _GIVEN))
            except TrainingFailure as failure:
                raise UserError(f"the model is of no use: {failure}") from None
        kind = self.config.tasks[task].kind
        width = self.config.tasks[task].classes if kind == "classification" else 1
        return np.concatenate([np.empty((0, width)), *parts])

    def vectors(self, sentences: Sequence[str], progress: Progress) -> np.ndarray:
        """(n, hidden) fp32 vectors of sentences, as heads read them: pooled, through a layer that all heads share."""
        parts = [np.empty((0, self._model.encoder.config.hidden_size), np.float32)]
        for (column,) in _blocks([sentences]):
            parts.append(self._vectors(column, progress))
        return np.concatenate(parts)

    def _vectors(self, sentences: Sequence[str], progress: Progress) -> np.ndarray:
        model = self._model
        corpus = self._tokenised(_SENTENCES, [sentences])
        batcher = self._batcher(corpus, _SENTENCES, "single", progress)
        found = np.empty((len(sentences), model.encoder.config.hidden_size), np.float32)
        rows = np.arange(len(sentences))
        model.dropout.stop()
        with torch.inference_mode():
            for indices in batcher.in_order_of_length(_SENTENCES, _GIVEN, rows, _TOKENS_PER_BATCH):
                pooled = model.embed(batcher.batch(_GIVEN, [(_SENTENCES, indices)]).packed, 0.0)
                if model.shared is not None:
                    pooled = model.shared.on_input(pooled, model.dropout)
                found[indices] = pooled.float().cpu().numpy()
        return found

    def _tokenised(self, task: str, columns: Sequence[Sequence[str]]) -> TokenisedCorpus:
        tables = tuple(self._tokens(column) for column in columns)
        ids = tuple(map(str, range(len(columns[0]))))
        cls, sep = (self._tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
        assert cls is not None and sep is not None  # open_encoder looks for them
        return TokenisedCorpus("", cls, sep, {task: {_GIVEN: TokenisedSplit(tables, ids, None, None)}})

    def _tokens(self, texts: Sequence[str]) -> TokenTable:
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        sequences = [encoding.ids for encoding in encodings]
        lengths = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
        return TokenTable(np.fromiter(chain.from_iterable(sequences), np.int32, lengths[-1]), lengths)

    def _batcher(
        self, corpus: TokenisedCorpus, task: str, inputs: Inputs, progress: Progress
    ) -> _TellingBatcher:
        here, most = self._compute, self.config.max_length
        return _TellingBatcher(
            corpus, {task: inputs}, most, here.device, here.token_multiple, progress=progress
        )


class _TellingBatcher(Batcher):
    """A batcher that tells how many examples are done whenever it is asked for the next ones; arguments as there."""

    def __init__(self, *arguments: Any, progress: Progress) -> None:
        super().__init__(*arguments)
        self._progress = progress

    def in_order_of_length(
        self, task: str, split: str, rows: np.ndarray, budget: int
    ) -> Iterator[np.ndarray]:
        for indices in super().in_order_of_length(task, split, rows, budget):
            yield indices
            self._progress(len(indices))


def _blocks(columns: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    return [
        [column[start : start + AT_ONCE] for column in columns]
        for start in range(0, len(columns[0]), AT_ONCE)
    ]


def _numerics_here(config: TrainConfig) -> Compute:
    """As it was trained, where that device is here; results differ from the trial's by rounding alone."""
    on_gpu = config.device == "cuda" and torch.cuda.is_available()
    as_trained = on_gpu or config.device == "cpu"
    here = {
        "device": "cuda" if on_gpu else "cpu",
        "precision": config.precision if as_trained else "fp32",
        "threads": torch.get_num_threads(),
    }
    return compute(config.model_copy(update=here))


def _load_heads(model: MultitaskModel, file: Path) -> None:
    try:
        heads, own = load_file(file), model.state_dict()
        missing, unknown = model.load_state_dict(heads, strict=False)
    except (RuntimeError, SafetensorError, OSError) as error:
        raise UserError(
            f"{file}: does not hold the heads that config.yaml describes: {str(error)[:200]}"
        ) from None
    without = [name for name in missing if not name.startswith("encoder.")]
    if without or unknown:
        kind, name = ("lacks", without[0]) if without else ("has unknown", unknown[0])
        raise UserError(f"{file}: {kind} {name!r}, as config.yaml describes the heads")
    for name, values in heads.items():
        if values.is_floating_point() != own[name].is_floating_point():
            raise UserError(
                f"{file}: {name} is stored as {str(values.dtype).removeprefix('torch.')}; weights are floating-point numbers"
            )
