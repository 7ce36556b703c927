"""One trial in its folder: stages in order, evaluation, the best epoch, resume.

The folder holds ``config.yaml``, ``history.jsonl`` (one line a finished epoch),
``checkpoint/`` (the latest epoch, to resume from), ``best/`` (the model of the best epoch)
and ``predictions/{task}.parquet``. An epoch counts once its line stands in the history;
everything else of that epoch is written before.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.canonical import extends_itself, stage_key
from minbert.checkpoint import EncoderFiles
from minbert.choice import Choice
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
from minbert.errors import TrainingFailure
from minbert.evaluation import Evaluator, score
from minbert.history import Record, cost_paid
from minbert.memory import peak_bytes, reset_peak
from minbert.model import MultitaskModel, build_model
from minbert.stages import StageState, StageStore, prefixed, split_prefixed
from minbert.training import EpochResult, StageTrainer
from minbert.yaml_reader import dump_yaml

Scored = Literal["never", "at the end", "always"]
_SHARED_FACTS = (
    "train_loss",
    "task_examples",
    "gradients",
    "select",
    "report",
    "dev",
    "measures",
    "constant",
    "geometry",
)
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
        self._choice = Choice(config, folder, materials.encoder)
        self._history: list[Record] = []
        self.found = 0

    def run(self) -> Iterator[Record]:
        """Yield the history record of every epoch: those already done at once, then new ones as they end.

        Raises:
            TrainingFailure: training cannot go on.
        """
        with exclusive(self._folder / ".lock", _PATIENCE_SECONDS):
            settle_folder(self._folder / "checkpoint")
            self._choice.settle()
            self._history = read_json_lines(self._folder / "history.jsonl")
            resume = None if self.finished else self._checkpoint()
            self.found = len(self._history)
            yield from list(self._history)
            if not self.finished:
                yield from self._go_on(resume)

    def _go_on(self, resume: _Checkpoint | None) -> Iterator[Record]:
        model = self._new_model()
        for name, _ in self.config.running_stages():
            last = name == self.config.running_stages()[-1][0]
            if resume is not None and resume.stage != name:
                continue
            trainer = StageTrainer(model, self.config, name, self._materials.corpus, self._compute.device)
            if resume is not None:
                resume.restore(model, trainer)
                resume = None
            elif not last:
                yield from self._from_store(model, trainer, name)
            for record in self._train(model, trainer, name, self._scored(name), last):
                self._remember(record)
                yield record

    @property
    def finished(self) -> bool:
        """Whether the last stage's last epoch is in the history."""
        name, stage = self.config.running_stages()[-1]
        return any(
            record["stage"] == name and record["epoch"] == stage.last_epoch for record in self._history
        )

    def _new_model(self) -> MultitaskModel:
        model = build_model(self.config, self._materials.encoder.config, dict(self._materials.weights))
        return model.on(self._compute)

    def _train(
        self, model: MultitaskModel, trainer: StageTrainer, name: str, scored: Scored, last: bool
    ) -> Iterator[Record]:
        evaluator = self._evaluator(model)
        while trainer.epoch < trainer.last_epoch:
            reset_peak(self._compute.device)
            record = _record(name, trainer, trainer.train_epoch())
            record["peak_memory_bytes"] = peak_bytes(self._compute.device)
            begin = time.perf_counter()
            ends = trainer.epoch == trainer.last_epoch
            with _at_epoch(trainer.epoch):
                if last:
                    record["train"] = evaluator.on_train(model)
                    self._choose(model, evaluator, record, ends)
                elif scored == "always" or (scored == "at the end" and ends):
                    record |= evaluator.evaluate(model).record()
                if ends:
                    record |= {"geometry": evaluator.geometry(model)}
            record["eval_seconds"] = time.perf_counter() - begin
            trainer.after_epoch(_mapped(record.get("select"), self.config))
            if not last:
                self._publish(model, trainer, name, record)
            self._save_checkpoint(model, trainer, record)
            yield record

    def _scored(self, name: str) -> Scored:
        """When the tasks are scored in a stage: once heads have been trained, after every stage; forgetting shows."""
        stages = self.config.running_stages()
        position = [each for each, _ in stages].index(name)
        stage = stages[position][1]
        if isinstance(stage, MultitaskStage) and stage.weighting == "adaptive":
            return "always"
        trained = any(isinstance(earlier, MultitaskStage) for _, earlier in stages[: position + 1])
        return "at the end" if trained else "never"

    def _evaluator(self, model: MultitaskModel) -> Evaluator:
        inputs = {task: model.head(task).inputs for task in self.config.tasks}
        corpus = self._materials.corpus
        multiple = model.token_multiple
        batcher = Batcher(corpus, inputs, self.config.max_length, self._compute.device, multiple)
        return Evaluator(corpus, batcher, self.config.tasks, self.config.selection)

    def _choose(self, model: MultitaskModel, evaluator: Evaluator, record: Record, ends: bool) -> None:
        earlier = next((r["chosen"] for r in reversed(self._history) if "chosen" in r), None)
        evaluation, chosen = self._choice.evaluate(model, evaluator, record["epoch"], earlier)
        record |= {**evaluation.record(), "final_stage": True, "chosen": chosen}
        if ends:
            self._choice.predict_test(model, evaluator)

    def _from_store(self, model: MultitaskModel, trainer: StageTrainer, name: str) -> Iterator[Record]:
        """Take the longest published beginning of a stage; yields a record for what was taken."""
        stage = self.config.stages[name]
        shorter = range(trainer.last_epoch - 1, 0, -1) if extends_itself(self.config, name) else ()
        for epochs in (stage.epochs, *shorter):
            state = self._materials.store.get(stage_key(self.config, name, epochs))
            if state is None or (epochs != stage.epochs and not state.moments):  # nothing to go on from
                continue
            model.load_state_dict(state.weights, strict=False)
            epoch = math.ceil(epochs)
            if epoch < trainer.last_epoch:
                trainer.load(epoch, state.step_number, state.moments)
            else:
                trainer.epoch, trainer.optimiser.step_number = epoch, state.step_number
            record = {
                "stage": name,
                "epoch": epoch,
                "step": state.step_number,
                "shared": True,
                **state.facts,
                "seconds_saved": state.seconds,
            }
            if epoch == trainer.last_epoch:
                self._measure_what_is_missing(model, name, record)
            self._save_checkpoint(model, trainer, record)
            self._remember(record)
            yield record
            return

    def _measure_what_is_missing(self, model: MultitaskModel, name: str, record: Record) -> None:
        """Whoever stored a longer stage, or one before other heads, did not score this end of it."""
        begin = time.perf_counter()
        evaluator = self._evaluator(model)
        if "select" not in record and self._scored(name) != "never":
            record |= evaluator.evaluate(model).record()
        if "geometry" not in record:
            record["geometry"] = evaluator.geometry(model)
        record["eval_seconds"] = time.perf_counter() - begin

    def _publish(self, model: MultitaskModel, trainer: StageTrainer, name: str, record: Record) -> None:
        stage = self.config.stages[name]
        extended = extends_itself(self.config, name)
        if trainer.epoch < trainer.last_epoch and not extended:
            return
        kept = ("",) if isinstance(stage, MultitaskStage) else ("encoder.", "auxiliary.")
        weights = {key: value for key, value in model.state_dict().items() if key.startswith(kept)}
        moments = trainer.state() if extended else {}
        seconds = cost_paid(record) + sum(
            cost_paid(earlier) + earlier.get("seconds_saved", 0.0)
            for earlier in self._history
            if earlier["stage"] == name
        )
        told = ("geometry",) if self._scored(name) == "never" else ()  # measured with this trial's max_length
        facts = {key: value for key, value in record.items() if key in _SHARED_FACTS and key not in told}
        state = StageState(weights, moments, trainer.optimiser.step_number, seconds, facts)
        self._materials.store.put(stage_key(self.config, name, trainer.progress), state)

    def _remember(self, record: Record) -> None:
        append_json(self._folder / "history.jsonl", record)
        self._history.append(record)

    def _save_checkpoint(self, model: MultitaskModel, trainer: StageTrainer, record: Record) -> None:
        with publish_folder(self._folder / "checkpoint") as temporary:
            save_file(prefixed(model.state_dict(), trainer.state()), temporary / "state.safetensors")
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
        trainer.load(self.epoch, self.step_number, self.moments)


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
        **result.facts,
    }


@contextmanager
def _at_epoch(epoch: int) -> Iterator[None]:
    """Say in which epoch a failure happened."""
    try:
        yield
    except TrainingFailure as failure:
        raise TrainingFailure(failure.cause, f"{failure} at epoch {epoch}") from None


def _mapped(select: Mapping[str, float] | None, config: TrainConfig) -> dict[str, float] | None:
    """Select metrics of the tasks on 0…1."""
    if select is None:
        return None
    return {task: score(select, {task: task_config}) for task, task_config in config.tasks.items()}
