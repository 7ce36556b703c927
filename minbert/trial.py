"""One trial in its folder: stages in order, evaluation, the best epoch, resume.

The folder holds ``config.yaml``, ``history.jsonl`` (one line a finished epoch),
``checkpoint/`` (the latest epoch, to resume from), ``best/`` (the model of the best epoch)
and ``predictions/{task}.parquet``. An epoch counts once its line stands in the history;
everything else of that epoch is written before.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.canonical import extends_itself, stage_key
from minbert.checkpoint import WEIGHTS, EncoderFiles, save_encoder
from minbert.config import MultitaskStage, TrainConfig
from minbert.corpora.batching import Batcher
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.devices import compute
from minbert.durable import (
    append_json,
    checksum,
    exclusive,
    publish_folder,
    read_json_lines,
    settle_folder,
    write_text,
)
from minbert.evaluation import Evaluator
from minbert.history import Record, cost_paid
from minbert.model import MultitaskModel, build_model
from minbert.stages import StageState, StageStore, prefixed, split_prefixed
from minbert.training import EpochResult, StageTrainer, TrainingFailure
from minbert.yaml_reader import dump_yaml

_PATIENCE_SECONDS = 60  # for a worker whose driver died to die too


@dataclass(frozen=True)
class Materials:
    """What trials of one study have in common, kept in memory once a process."""

    corpus: TokenisedCorpus
    encoder: EncoderFiles
    weights: Mapping[str, Tensor]
    store: StageStore


class Trial:
    """Trains a pinned configuration in a folder and goes on where the folder stands.

    Args:
        config: the configuration, its ``auto`` values pinned.
        materials: data, encoder and stage store.
        folder: the trial's own folder; made when absent.

    Attributes:
        found: history records there were when :meth:`run` began; it yields these first.
    """

    def __init__(self, config: TrainConfig, materials: Materials, folder: Path) -> None:
        self.config, self._materials, self._folder = config, materials, folder
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "config.yaml").is_file():
            write_text(folder / "config.yaml", dump_yaml(config.model_dump(mode="json", exclude_none=True)))
        self._compute = compute(config)
        self._history: list[Record] = []
        self.found = 0

    def run(self) -> Iterator[Record]:
        """Yield the history record of every epoch: those already done at once, then new ones as they end.

        Raises:
            TrainingFailure: training cannot go on.
        """
        with exclusive(self._folder / ".lock", _PATIENCE_SECONDS):
            for name in ("checkpoint", "best", "predictions"):
                settle_folder(self._folder / name)
            self._history = read_json_lines(self._folder / "history.jsonl")
            resume = None if self.finished else self._checkpoint()
            self.found = len(self._history)
            yield from list(self._history)
            if not self.finished:
                yield from self._go_on(resume)

    def _go_on(self, resume: _Checkpoint | None) -> Iterator[Record]:
        model = self._new_model()
        for name, stage in self.config.running_stages():
            last = name == self.config.running_stages()[-1][0]
            if resume is not None and resume.stage != name:
                continue
            trainer = StageTrainer(model, self.config, name, self._materials.corpus, self._compute.device)
            if resume is not None:
                resume.restore(model, trainer)
                resume = None
            elif not last:
                yield from self._from_store(model, trainer, name)
            for record in self._train(model, trainer, name, stage.epochs, last):
                self._remember(record)
                yield record

    @property
    def finished(self) -> bool:
        """Whether the last stage's last epoch is in the history."""
        name, stage = self.config.running_stages()[-1]
        return any(record["stage"] == name and record["epoch"] == stage.epochs for record in self._history)

    def _new_model(self) -> MultitaskModel:
        model = build_model(self.config, self._materials.encoder.config, dict(self._materials.weights))
        return model.on(self._compute)

    def _train(
        self, model: MultitaskModel, trainer: StageTrainer, name: str, epochs: int, last: bool
    ) -> Iterator[Record]:
        evaluator = self._evaluator(model)
        while trainer.epoch < epochs:
            result = trainer.train_epoch()
            record = _record(name, trainer, result)
            if last:
                self._evaluate(model, evaluator, record, final=trainer.epoch == epochs)
            else:
                self._publish(model, trainer, name, record)
            self._save_checkpoint(model, trainer, record)
            yield record

    def _evaluator(self, model: MultitaskModel) -> Evaluator:
        inputs = {task: model.head(task).inputs for task in self.config.tasks}
        corpus = self._materials.corpus
        multiple = model.token_multiple
        batcher = Batcher(corpus, inputs, self.config.max_length, self._compute.device, multiple)
        return Evaluator(corpus, batcher, self.config.tasks, self.config.selection)

    def _evaluate(self, model: MultitaskModel, evaluator: Evaluator, record: Record, final: bool) -> None:
        begin = time.perf_counter()
        parts, predictions = evaluator.evaluate(model)
        for task, values in predictions.items():
            if not np.isfinite(values).all():
                raise TrainingFailure(
                    "nan", f"{task} has predictions that are no numbers at epoch {record['epoch']}"
                )
        record |= parts
        earlier = [r["select"]["score"] for r in self._history if "select" in r]
        if parts["select"]["score"] > max(earlier, default=-np.inf):
            self._save_best(model, evaluator, predictions, record["epoch"])
        if final:
            self._predict_test(model, evaluator)
        record["eval_seconds"] = time.perf_counter() - begin

    def _save_best(
        self, model: MultitaskModel, evaluator: Evaluator, predictions: dict[str, np.ndarray], epoch: int
    ) -> None:
        with publish_folder(self._folder / "best") as temporary:
            save_encoder(model.encoder, temporary / "encoder", self._materials.encoder.folder)
            save_file(_head_weights(model), temporary / "heads.safetensors")
            write_text(temporary / "epoch.json", json.dumps({"epoch": epoch}))
        with publish_folder(self._folder / "predictions") as temporary:
            for task, values in predictions.items():
                evaluator.frame(task, "dev", values).to_parquet(temporary / f"{task}.parquet", index=False)

    def _predict_test(self, model: MultitaskModel, evaluator: Evaluator) -> None:
        """Add the best epoch's predictions for the test splits to the stored ones."""
        load_best(model, self._folder / "best")
        additions = {}
        for task in self.config.tasks:
            if "test" in self._materials.corpus.splits[task]:
                additions[task] = evaluator.frame(task, "test", evaluator.predict(model, task, "test"))
        stored = {
            task: pd.read_parquet(self._folder / "predictions" / f"{task}.parquet")
            for task in self.config.tasks
        }
        with publish_folder(self._folder / "predictions") as temporary:
            for task, frame in stored.items():
                frames = [frame[frame["split"] == "dev"], *([additions[task]] if task in additions else [])]
                pd.concat(frames, ignore_index=True).to_parquet(temporary / f"{task}.parquet", index=False)

    def _from_store(self, model: MultitaskModel, trainer: StageTrainer, name: str) -> Iterator[Record]:
        """Take the longest published beginning of a stage; yields a record for each epoch taken."""
        stage = self.config.stages[name]
        lengths = range(stage.epochs, 0, -1) if extends_itself(stage) else [stage.epochs]
        for epochs in lengths:
            state = self._materials.store.get(stage_key(self.config, name, epochs))
            if state is None:
                continue
            model.load_state_dict(state.weights, strict=False)
            trainer.epoch = epochs
            trainer.optimiser.load(state.moments, state.step_number)
            record = {
                "stage": name,
                "epoch": epochs,
                "step": state.step_number,
                "shared": True,
                "train_loss": state.train_loss,
                "seconds_saved": state.seconds,
            }
            self._save_checkpoint(model, trainer, record)
            self._remember(record)
            yield record
            return

    def _publish(self, model: MultitaskModel, trainer: StageTrainer, name: str, record: Record) -> None:
        stage = self.config.stages[name]
        if trainer.epoch < stage.epochs and not extends_itself(stage):
            return
        multitask = isinstance(stage, MultitaskStage)
        weights = {
            key: value for key, value in model.state_dict().items() if multitask or key.startswith("encoder.")
        }
        moments = trainer.optimiser.state() if extends_itself(stage) else {}
        seconds = cost_paid(record) + sum(
            cost_paid(earlier) + earlier.get("seconds_saved", 0.0)
            for earlier in self._history
            if earlier["stage"] == name
        )
        state = StageState(weights, moments, trainer.optimiser.step_number, seconds, record["train_loss"])
        self._materials.store.put(stage_key(self.config, name, trainer.epoch), state)

    def _remember(self, record: Record) -> None:
        append_json(self._folder / "history.jsonl", record)
        self._history.append(record)

    def _save_checkpoint(self, model: MultitaskModel, trainer: StageTrainer, record: Record) -> None:
        with publish_folder(self._folder / "checkpoint") as temporary:
            save_file(
                prefixed(model.state_dict(), trainer.optimiser.state()), temporary / "state.safetensors"
            )
            checked = {"record": record, "checksum": checksum(temporary / "state.safetensors")}
            write_text(temporary / "manifest.json", json.dumps(checked))

    def _checkpoint(self) -> _Checkpoint | None:
        """The saved state, which is of the last epoch of the history or one ahead of it.

        A crash between saving an epoch and noting it leaves the note to be written now.
        Without a fitting checkpoint a history cannot be continued, and the trial starts over.
        """
        try:
            manifest = json.loads((self._folder / "checkpoint" / "manifest.json").read_text(encoding="utf-8"))
            if manifest["checksum"] != checksum(self._folder / "checkpoint" / "state.safetensors"):
                raise ValueError("damaged checkpoint")
            tensors = load_file(self._folder / "checkpoint" / "state.safetensors")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            self._start_over()
            return None
        record = manifest["record"]
        if record != (self._history[-1] if self._history else None):
            self._remember(record)
        weights, moments = split_prefixed(tensors)
        return _Checkpoint(record["stage"], record["epoch"], record["step"], weights, moments)

    def _start_over(self) -> None:
        self._history.clear()
        (self._folder / "history.jsonl").unlink(missing_ok=True)
        for name in ("checkpoint", "best", "predictions"):
            shutil.rmtree(self._folder / name, ignore_errors=True)


@dataclass(frozen=True)
class _Checkpoint:
    stage: str
    epoch: int
    step_number: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]

    def restore(self, model: MultitaskModel, trainer: StageTrainer) -> None:
        model.load_state_dict(self.weights)
        trainer.epoch = self.epoch
        trainer.optimiser.load(self.moments, self.step_number)


def load_best(model: MultitaskModel, folder: Path) -> None:
    """Load the weights of a ``best/`` folder into a model of the same configuration."""
    encoder = load_file(folder / "encoder" / WEIGHTS)
    model.load_state_dict({f"encoder.{name}": value for name, value in encoder.items()}, strict=False)
    model.load_state_dict(load_file(folder / "heads.safetensors"), strict=False)


def _record(name: str, trainer: StageTrainer, result: EpochResult) -> Record:
    return {
        "stage": name,
        "epoch": trainer.epoch,
        "step": trainer.optimiser.step_number,
        "examples": result.examples,
        "tokens": result.tokens,
        "learning_rate": result.learning_rate,
        "train_loss": result.train_loss,
        "train_seconds": result.seconds,
    }


def _head_weights(model: MultitaskModel) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.startswith("encoder.")}
