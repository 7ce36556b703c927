"""The package's side of a case: its own loop, one step at a time, as trials run it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from benchmarks.cases import Case, Material, training_flops
from minbert.canonical import stream_name
from minbert.corpora.batching import Batcher
from minbert.devices import compute, pin
from minbert.draws import Draws
from minbert.evaluation import Evaluator
from minbert.model import build_model
from minbert.training import StageTrainer

_STAGE = "finetune"


class Ours:
    """Training and evaluation by :mod:`minbert`.

    Args:
        case, material: what is trained.
        precision, seed: as in a configuration; ``auto`` is probed.
        stage: leaves of the multitask stage.
    """

    def __init__(
        self,
        case: Case,
        material: Material,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        seed: int = 0,
        **stage: Any,
    ) -> None:
        config = case.config(**stage).model_copy(update={"precision": precision, "seed": seed})
        self._config = config = pin(config, case.encoder)
        self._case, self._corpus = case, material.corpus
        self.name = f"minbert {config.precision}" + (" (auto)" if precision == "auto" else "")
        numerics = compute(config)
        self._model = build_model(config, case.encoder, material.weights(case.encoder)).on(numerics)
        self._trainer = StageTrainer(self._model, config, _STAGE, self._corpus, numerics.device)
        inputs = {task: self._model.head(task).inputs for task in config.tasks}
        self._batcher = Batcher(
            self._corpus, inputs, config.max_length, numerics.device, self._model.token_multiple
        )
        self._steps = 0

    def step(self) -> None:
        self._trainer.step(1, self._steps)
        self._steps += 1

    def evaluate(self, examples: int) -> None:
        self.predictions(examples)

    def predictions(self, examples: int) -> dict[str, np.ndarray]:
        """Predictions, as trials store them, for the first dev examples of every task."""
        evaluator = Evaluator(self._corpus, self._batcher, self._config.tasks, self._config.selection)
        sizes = {task: min(examples, len(self._corpus.splits[task]["dev"])) for task in self._config.tasks}
        return {
            task: evaluator.predict(self._model, task, "dev", np.arange(size)) for task, size in sizes.items()
        }

    def flops(self, steps: int) -> list[float]:
        """Operations of each of the first steps, for the tokens that they hold without any filler."""
        stage: Any = self._config.stages[_STAGE]
        stream = stream_name(self._config, _STAGE)
        draws = Draws(self._config, stage, stream, list(self._config.tasks), self._corpus)
        inputs = {task: self._model.head(task).inputs for task in self._config.tasks}
        exact = Batcher(self._corpus, inputs, self._config.max_length, self._model.dropout.device)
        batches = (exact.batch("train", draws.requests(1, index)) for index in range(steps))
        return [training_flops(self._case.encoder, batch.packed.lengths) for batch in batches]
