"""Trials that train nothing, for benchmarks of what a search itself costs.

A stub goes the whole way of a real trial: its worker takes an attempt number and guards it, writes ``config.yaml``,
the stages that are not in the store, ``checkpoint/``, a line of the history and ``best/`` as durably, and hands the record over. Only the model (a few
kilobytes), the predictions (none) and the time (a pause) are not those of a real one.
"""

from __future__ import annotations

import json
import random
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from rich.console import Console

from minbert.bundled import CORPUS, ENCODER
from minbert.canonical import config_id
from minbert.config import TrainConfig
from minbert.files.durable import append_json, publish_folder, write_text
from minbert.history import Record
from minbert.interrupts import Interrupts
from minbert.sources import resolve
from minbert.stage_chain import stage_ends
from minbert.stages import LocalStageStore, StageState
from minbert.yaml_reader import sealed_yaml
from trainables.running.driver import Connect, Ending, Plan, run_study
from trainables.running.trainable import TrialTrainable
from trainables.spaces.space import Space
from trainables.studies.attempts import claim
from trainables.studies.locks import locked

MODEL_BYTES = 64 * 1024
_LEARNED_BY = 0.2
"""Half-width of what chance adds to a task's metric, beside what all tasks have in common."""


def run_stubs(
    study: Path,
    space: Space,
    connect: Connect,
    console: Console,
    seconds: float = 0.0,
    slots: int | None = None,
) -> Ending:
    """Run a study of stubs to its end with the driver of a search.

    Args:
        study: the study's folder.
        space: what is searched.
        connect: starts Ray and says what a trial gets.
        console: where the progress goes.
        seconds: how long a trial takes.
        slots: trials at a time; None: as many as fit.
    """
    warnings.filterwarnings("ignore")  # as the search's command line does
    sources = resolve(str(CORPUS), str(ENCODER), space.example().tasks)
    trainable = type("StubTrainable", (StubTrainable,), {"seconds": seconds})
    plan = Plan(space, sources, study, 0, "", max_concurrent=slots, trainable=trainable)
    with locked(study):
        return run_study(plan, connect, console, Interrupts("", console.print))


class StubTrial:
    """Stands where :class:`minbert.trial.Trial` stands: one evaluated epoch, the last one.

    Args:
        config: what would be trained.
        folder: the trial's folder.
        stages: the folder of the stage store.
        seconds: how long it takes.
    """

    found = 0

    def __init__(self, config: TrainConfig, folder: Path, stages: Path, seconds: float) -> None:
        self.config, self._folder, self._seconds = config, folder, seconds
        self._store = LocalStageStore(stages)

    def run(self) -> Iterator[Record]:
        """Write what a trial writes and yield its record."""
        write_text(
            self._folder / "config.yaml",
            sealed_yaml(self.config.model_dump(mode="json", exclude_none=True)),
        )
        for end in stage_ends(self.config):
            if not self._store.has(end.key):
                self._store.put(end.key, StageState({"weight": torch.zeros(8)}, {}, 1, 0.0, {}))
        time.sleep(self._seconds)
        record = stub_record(self.config, self._seconds)
        for name in ("best", "checkpoint"):
            with publish_folder(self._folder / name) as temporary:
                (temporary / "model.safetensors").write_bytes(bytes(MODEL_BYTES))
                write_text(temporary / "manifest.json", json.dumps({"epoch": record["epoch"]}))
        append_json(self._folder / "history.jsonl", record)
        yield record


class StubTrainable(TrialTrainable):
    """What runs on a worker instead of :class:`TrialTrainable`."""

    seconds: ClassVar[float] = 0.0

    def _open(self) -> Any:
        self._config = TrainConfig.model_validate(self._job["config"])
        folder = Path(self._job["folder"])
        self._attempt = claim(folder, self._job["start"])
        self._open_things.enter_context(self._attempt.guarded())
        return StubTrial(self._config, folder, Path(self._job["stages"]), self.seconds)


def stub_record(config: TrainConfig, seconds: float) -> Record:
    """The record of a last epoch; its metrics follow from the configuration."""
    name, stage = config.running_stages()[-1]
    draw = random.Random(f"{config_id(config)} {config.seed}")
    quality = draw.uniform(0.3, 0.7)
    metrics = {task: quality + draw.uniform(-_LEARNED_BY, _LEARNED_BY) for task in config.tasks}
    metrics["score"] = sum(metrics.values()) / len(metrics)
    parts = {part: dict(metrics) for part in ("select", "report", "dev")}
    measures = {
        part: {task: {"accuracy": metrics[task], "macro_f1": metrics[task]} for task in config.tasks}
        for part in parts
    }
    evaluated = {**parts, "measures": measures, "constant": []}
    return {
        "stage": name,
        "epoch": stage.last_epoch,
        "step": 100,
        "learning_rate": 1e-4,
        "train_loss": dict.fromkeys(config.tasks, 0.5),
        "train_seconds": seconds,
        "eval_seconds": 0.0,
        **evaluated,
        "final_stage": True,
        "chosen": {"epoch": stage.last_epoch, **evaluated},
    }
