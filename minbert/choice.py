"""Which epoch of the last stage counts, and what is kept of it.

``best/`` holds the model (with ``checkpoint: task`` one a task, in a folder of its name) and
``predictions/{task}.parquet`` the predictions. Both are written before the epoch is noted in
the history, and written again, the same, when a crash came between.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.canonical import run_name
from minbert.checkpoint import EncoderFiles, save_encoder
from minbert.config import TrainConfig
from minbert.evaluation import PARTS, Evaluation, Evaluator, score
from minbert.files.durable import publish_folder, settle_folder, write_text
from minbert.files.sealed import damage, is_intact
from minbert.model import MultitaskModel
from minbert.weights_file import WEIGHTS

Chosen = dict[str, Any]
"""``epoch``, ``select``, ``report``, ``dev``, ``measures``, ``constant``; with a choice by task ``epochs`` too."""


class Damaged(Exception):
    """What was kept of an earlier epoch is not what was written."""


class Choice:
    """Keeps the model and the predictions of what counts.

    Args:
        config: its ``checkpoint`` is the rule.
        folder: the trial's folder.
        encoder: files that the encoder came from, whose tokeniser goes along.
    """

    def __init__(self, config: TrainConfig, folder: Path, encoder: EncoderFiles) -> None:
        self._config, self._folder, self._encoder = config, folder, encoder
        self._run = run_name(config)

    def settle(self) -> None:
        """Clear what a crash left half done."""
        settle_folder(self._folder / "best")
        settle_folder(self._folder / "predictions")
        for task in self._config.tasks:
            settle_folder(self._folder / "best" / task)

    def is_intact(self, model_may_be_gone: bool = False) -> bool:
        """Whether what is kept is what was written.

        Args:
            model_may_be_gone: whether no model at all is what is kept of a finished trial.
        """
        gone = model_may_be_gone and not (self._folder / "best").exists()
        folders = [self._folder / "predictions"] if gone else self._kept()
        return all(is_intact(folder, self._run) for folder in folders)

    def evaluate(
        self, model: MultitaskModel, evaluator: Evaluator, epoch: int, earlier: Chosen | None
    ) -> tuple[Evaluation, Chosen]:
        """Score an epoch and keep it where it counts.

        Args:
            model, evaluator: what is scored, and on what.
            epoch: its number, from 1.
            earlier: what counted before it.

        Raises:
            Damaged: what goes on to count for other tasks is.
        """
        evaluation = evaluator.between_epochs(model) if evaluator.partial else evaluator.evaluate(model)
        better = self._better(evaluation.parts["select"], earlier)
        if not better:
            assert earlier is not None
            return evaluation, earlier
        if evaluator.partial:
            chose_by = evaluation.parts["select"]
            evaluation = evaluator.evaluate(model)
            evaluation.parts["select"] = chose_by  # what every epoch is compared by
        chosen = self._chosen(evaluation, epoch, better, earlier)
        self._save_model(model, epoch, better)
        self._save_predictions(evaluator, evaluation, better)
        return evaluation, chosen

    def predict_test(self, model: MultitaskModel, evaluator: Evaluator) -> None:
        """Add predictions for the test splits to the stored ones; leaves the chosen weights in the model.

        Raises:
            Damaged: what is kept is.
        """
        for folder in self._kept():
            self._check(folder)
        frames: dict[str, pd.DataFrame] = {}
        for task in self._config.tasks:
            if self._config.checkpoint == "task" or not frames:
                load_best(model, self._model_folder(task))
            stored = pd.read_parquet(self._folder / "predictions" / f"{task}.parquet")
            frames[task] = stored[stored["split"] == "dev"]
            if "test" in evaluator.corpus.splits[task]:
                test = evaluator.frame(task, "test", evaluator.predict(model, task, "test"))
                frames[task] = pd.concat([frames[task], test], ignore_index=True)
        with publish_folder(self._folder / "predictions", of=self._run) as temporary:
            for task, frame in frames.items():
                _store(frame, temporary / f"{task}.parquet")

    def _better(self, select: Mapping[str, float], earlier: Chosen | None) -> list[str]:
        """Tasks for which this epoch counts now: all or none, unless every task chooses its own."""
        tasks = list(self._config.tasks)
        if earlier is None or self._config.checkpoint == "last":
            return tasks
        if self._config.checkpoint == "score":
            return tasks if select["score"] > earlier["select"]["score"] else []
        return [task for task in tasks if select[task] > earlier["select"][task]]

    def _chosen(
        self, evaluation: Evaluation, epoch: int, better: list[str], earlier: Chosen | None
    ) -> Chosen:
        chosen: Chosen = {
            "epoch": epoch,
            **{part: dict(metrics) for part, metrics in evaluation.parts.items()},
            "measures": evaluation.measures,
            "constant": evaluation.constant,
        }
        if self._config.checkpoint != "task":
            return chosen
        chosen["epochs"] = dict.fromkeys(better, epoch)
        chosen["best_score"] = evaluation.parts["select"]["score"]
        if earlier is not None:
            _carry_over(chosen, earlier, [task for task in self._config.tasks if task not in better])
        for part in PARTS:
            chosen[part]["score"] = score(chosen[part], self._config.tasks)
            metrics = [chosen[part][task] for task in self._config.tasks]
            chosen["measures"][part]["plain"] = float(np.mean(metrics))
        return chosen

    def _save_model(self, model: MultitaskModel, epoch: int, better: list[str]) -> None:
        for folder in sorted({self._model_folder(task) for task in better}):
            with publish_folder(folder, of=self._run) as temporary:
                save_encoder(model.encoder, temporary / "encoder", self._encoder.folder)
                save_file(_head_weights(model), temporary / "heads.safetensors")
                write_text(temporary / "epoch.json", json.dumps({"epoch": epoch}))

    def _save_predictions(self, evaluator: Evaluator, evaluation: Evaluation, better: list[str]) -> None:
        stored = self._folder / "predictions"
        if len(better) < len(evaluation.predictions):
            self._check(stored)
        with publish_folder(stored, of=self._run) as temporary:
            for task, values in evaluation.predictions.items():
                name = f"{task}.parquet"
                if task in better:
                    _store(evaluator.frame(task, "dev", values), temporary / name)
                else:
                    shutil.copyfile(stored / name, temporary / name)

    def _check(self, folder: Path) -> None:
        if wrong := damage(folder, of=self._run):
            raise Damaged(f"{folder}: {wrong}")

    def _kept(self) -> list[Path]:
        models = {self._model_folder(task) for task in self._config.tasks}
        return [*sorted(models), self._folder / "predictions"]

    def _model_folder(self, task: str) -> Path:
        best = self._folder / "best"
        return best / task if self._config.checkpoint == "task" else best


def load_best(model: MultitaskModel, folder: Path) -> None:
    """Load the weights of a kept model into a model of the same configuration."""
    encoder = load_file(folder / "encoder" / WEIGHTS)
    model.load_state_dict({f"encoder.{name}": value for name, value in encoder.items()}, strict=False)
    model.load_state_dict(load_file(folder / "heads.safetensors"), strict=False)


def _store(predictions: pd.DataFrame, file: Path) -> None:
    predictions.to_parquet(file, index=False, compression="zstd")


def _carry_over(chosen: Chosen, earlier: Chosen, tasks: list[str]) -> None:
    """Take these tasks' figures from what counted before."""
    if earlier["best_score"] >= chosen["best_score"]:
        chosen["epoch"], chosen["best_score"] = earlier["epoch"], earlier["best_score"]
    constant = set(chosen["constant"])
    for task in tasks:
        chosen["epochs"][task] = earlier["epochs"][task]
        for part in PARTS:
            chosen[part][task] = earlier[part][task]
            chosen["measures"][part][task] = earlier["measures"][part][task]
        constant = (constant - {task}) | ({task} & set(earlier["constant"]))
    chosen["constant"] = sorted(constant)


def _head_weights(model: MultitaskModel) -> dict[str, Tensor]:
    own = ("encoder.", "auxiliary.")
    return {name: value for name, value in model.state_dict().items() if not name.startswith(own)}
