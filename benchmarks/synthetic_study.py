"""A study folder as a search of thousands of trials leaves it, written in seconds: nothing is trained.

Its examples are the bundled corpus's, its factors have known effects, and its journal has the records that
asking, reporting and telling leave, written at once instead of one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    distribution_to_json,
)
from optuna.study import StudyDirection
from optuna.trial import TrialState

from minbert.bundled import CORPUS, ENCODER
from minbert.config import TrainConfig
from minbert.corpora.reader import Corpus, read_corpus
from minbert.task_config import TaskConfig

EPOCHS = 5
REPLICATES = 3
REPEATED = 0.1
"""Share of the configurations that run ``REPLICATES`` times."""
PRUNED, FAILED = 0.25, 0.03
FACTORS: dict[str, tuple[tuple[Any, float], ...]] = {
    "tasks.sts.head.kind": (("cosine", 0.0), ("concat", 0.04), ("cross", 0.1)),
    "tasks.qqp.head.kind": (("concat", 0.0), ("cosine", -0.03), ("cross", 0.08)),
    "pooling": (("cls", 0.0), ("mean", 0.02), ("pooler", -0.01)),
    "shared_layers": ((12, 0.0), (10, 0.01), (8, 0.0), (6, -0.02)),
    "stages.simcse.epochs": ((0, 0.0), (1, 0.02), (3, 0.02)),
    "stages.finetune.sampler.kind": (
        *(("sequential", -0.04), ("round_robin", 0.0), ("annealed", 0.02), ("concurrent", 0.01)),
    ),
    "stages.finetune.pcgrad": ((False, 0.0), (True, 0.01)),
    "stages.finetune.smart.weight": ((0.0, 0.0), (1.0, 0.01)),
}
"""By path, the levels and what each adds to a trial's quality."""
RANGES: dict[str, tuple[float, float, bool]] = {
    "stages.finetune.learning_rate": (1e-5, 1e-3, True),
    "stages.finetune.dropout": (0.0, 0.5, False),
}
"""By path: low, high and whether the scale is logarithmic."""


def write_study(folder: Path, trials: int, seed: int = 0) -> None:
    """Write a study of so many trials into a new folder; the same seed gives the same study."""
    random = np.random.default_rng(seed)
    corpus = read_corpus(CORPUS, TrainConfig().tasks)
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(_meta(corpus, trials), sort_keys=False))
    examples = {task: _Examples(corpus, task, info, random) for task, info in TrainConfig().tasks.items()}
    records: list[dict[str, Any]] = [
        {"op_code": 0, "study_name": "study", "directions": [int(StudyDirection.MAXIMIZE)]}
    ]
    for number, (settings, config_id, replicate) in enumerate(_drawn(random, trials)):
        records += _trial(folder, number, settings, config_id, replicate, examples, random)
    lines = (json.dumps({**record, "worker_id": "w"}, separators=(",", ":")) + "\n" for record in records)
    (folder / "journal.log").write_text("".join(lines))


class _Examples:
    """A task's dev and test examples, and what trials of a given quality predict for them."""

    def __init__(self, corpus: Corpus, task: str, info: TaskConfig, random: np.random.Generator) -> None:
        self.kind = info.kind
        self.classes = info.classes if info.kind == "classification" else 1
        splits = corpus.splits[task]
        dev, test = splits["dev"], splits["test"]
        assert dev.labels is not None
        self.labels = dev.labels.astype(np.float64)
        self.count = len(dev) + len(test)
        self.half = np.where(np.arange(len(dev)) % 2 == 0, "select", "report")
        # Examples that are hard for one trial are hard for all, as in real studies.
        self.hard = 0.9 * random.normal(size=(self.count, self.classes))
        unlabelled = np.full(len(test), np.nan)
        self.stored = pd.DataFrame(
            {
                "split": ["dev"] * len(dev) + ["test"] * len(test),
                "half": [*self.half, *[None] * len(test)],
                "id": [*dev.ids, *test.ids],
                "label": np.concatenate([self.labels, unlabelled]),
            }
        )
        self.table = pa.Table.from_pandas(self.stored, preserve_index=False)
        self.truth = np.concatenate([self.labels, np.zeros(len(test))])

    def predict(self, quality: float, random: np.random.Generator) -> np.ndarray:
        noise = self.hard + 0.5 * random.normal(size=self.hard.shape)
        if self.kind == "regression":
            return np.asarray((0.4 + quality) * self.truth[:, None] + noise)
        if self.kind == "binary":
            return np.asarray(
                1 / (1 + np.exp(-(1 + 4 * quality) * (2 * self.truth[:, None] - 1) - 2 * noise))
            )
        noise[np.arange(self.count), self.truth.astype(int)] += 0.8 + 3 * quality
        raised = np.exp(noise)
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def write(self, file: Path, outputs: np.ndarray) -> None:
        table = self.table
        for column in range(outputs.shape[1]):
            table = table.append_column(f"output_{column}", pa.array(outputs[:, column].astype(np.float32)))
        pq.write_table(table, file)

    def metric(self, outputs: np.ndarray, part: str) -> float:
        rows = np.flatnonzero(self.half == part) if part != "dev" else np.arange(len(self.labels))
        own, labels = outputs[rows], self.labels[rows]
        if self.kind == "regression":
            return float(np.corrcoef(own[:, 0], labels)[0, 1])
        guess = own.argmax(axis=1) if self.kind == "classification" else own[:, 0] > 0.5
        return float(np.mean(guess == labels))


def _meta(corpus: Corpus, trials: int) -> dict[str, Any]:
    listed = [{"path": path, "levels": [level for level, _ in levels]} for path, levels in FACTORS.items()]
    ranged = [
        {"path": path, "low": low, "high": high, "log": log} for path, (low, high, log) in RANGES.items()
    ]
    return {
        "schema_version": 1,
        "name": "synthetic",
        "factors": [*listed, *ranged],
        "tasks": {
            task: {"kind": info.kind, "classes": info.classes} for task, info in TrainConfig().tasks.items()
        },
        "seed": 0,
        "trials": trials,
        "data": {"path": str(CORPUS), "fingerprint": corpus.fingerprint, "bundled": True},
        "encoder": {"path": str(ENCODER), "bundled": True, "name": "encoder"},
        "selection": "dev_half",
    }


def _drawn(random: np.random.Generator, trials: int) -> Iterator[tuple[dict[str, Any], str, int]]:
    """Settings, config_id and replicate of so many trials; PCGrad only where a step sees several tasks."""
    made = 0
    for configuration in range(trials):
        settings = {path: levels[random.integers(len(levels))][0] for path, levels in FACTORS.items()}
        for path, (low, high, log) in RANGES.items():
            drawn = random.uniform(*np.log([low, high])) if log else random.uniform(low, high)
            settings[path] = float(np.exp(drawn) if log else drawn)
        if settings["stages.finetune.sampler.kind"] != "concurrent":
            del settings["stages.finetune.pcgrad"]
        for replicate in range(REPLICATES if random.random() < REPEATED else 1):
            if made == trials:
                return
            made += 1
            yield settings, f"{configuration:012x}", replicate


def _trial(
    folder: Path,
    number: int,
    settings: dict[str, Any],
    config_id: str,
    replicate: int,
    examples: dict[str, _Examples],
    random: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """Write a trial's folder; returns its records of the journal."""
    begin = datetime(2026, 1, 1) + timedelta(minutes=number)
    yield {"op_code": 4, "study_id": 0, "datetime_start": f"{begin.isoformat()}+00:00"}
    for path, value in settings.items():
        found = _distribution(path)
        stored = {
            "param_value_internal": found.to_internal_repr(value),
            "distribution": distribution_to_json(found),
        }
        yield {"op_code": 5, "trial_id": number, "param_name": path, **stored}
    lot = random.random() if replicate == 0 else 1.0
    state = "failed" if lot < FAILED else "pruned" if lot < FAILED + PRUNED else "complete"
    attributes: dict[str, Any] = {"replicate": replicate, "seed": 1 + replicate, "config_id": config_id}
    values: list[float] | None = None
    if state == "failed":
        attributes |= {"cause": "oom", "message": "out of memory"}
    else:
        epochs = int(random.integers(1, EPOCHS)) if state == "pruned" else EPOCHS
        curve = _train(folder / "trials" / f"{number:05d}", settings, epochs, examples, random)
        scores = [metrics["select/score"] for metrics in curve]
        for epoch, score in enumerate(scores, 1):
            yield {"op_code": 7, "trial_id": number, "step": epoch, "intermediate_value": score}
        attributes |= {
            "best_epoch": int(np.argmax(scores)) + 1,
            "epochs": epochs,
            "metrics": curve[int(np.argmax(scores))],
        }
        attributes |= {"constant": [], "cost_paid": 60.0 * epochs, "cost_alone": 61.0 * epochs}
        values = [max(scores)] if state == "complete" else None
    for name, value in attributes.items():
        yield {"op_code": 8, "trial_id": number, "user_attr": {name: value}}
    ended = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[state]
    at = f"{(begin + timedelta(minutes=5)).isoformat()}+00:00"
    yield {"op_code": 6, "trial_id": number, "state": int(ended), "values": values, "datetime_complete": at}


def _train(
    folder: Path,
    settings: dict[str, Any],
    epochs: int,
    examples: dict[str, _Examples],
    random: np.random.Generator,
) -> list[dict[str, float]]:
    """Write history, predictions and configuration of a trial; returns every epoch's metrics."""
    (folder / "predictions").mkdir(parents=True)
    quality = 0.03 * random.normal()
    quality += sum(dict(FACTORS[path])[value] for path, value in settings.items() if path in FACTORS)
    curve, outputs = [], {task: own.predict(quality, random) for task, own in examples.items()}
    final: dict[str, dict[str, float]] = {}
    for part in ("select", "report", "dev"):
        final[part] = {task: own.metric(outputs[task], part) for task, own in examples.items()}
        unit = [
            0.5 * final[part][task] + 0.5 if own.kind == "regression" else final[part][task]
            for task, own in examples.items()
        ]
        final[part]["score"] = float(np.mean(unit))
    lines = [
        json.dumps({"stage": "simcse", "epoch": 1, "train_loss": {"simcse": 0.9}, "train_seconds": 20.0})
    ]
    for epoch in range(1, epochs + 1):
        share = 1 - 0.3 / epoch + 0.3 / epochs
        scores = {part: {name: share * value for name, value in own.items()} for part, own in final.items()}
        measures = {
            part: {task: {"first": own[task], "second": own[task]} for task in examples}
            for part, own in scores.items()
        }
        record = {"stage": "finetune", "epoch": epoch, "step": 100 * epoch, "learning_rate": 1e-4}
        record |= {
            "train_loss": {task: 1.0 / epoch for task in examples},
            "train_seconds": 50.0,
            "eval_seconds": 10.0,
        }
        record |= {**scores, "measures": measures, "constant": [], "final_stage": True}
        record["chosen"] = {"epoch": epoch, **scores, "measures": measures, "constant": []}
        lines.append(json.dumps(record))
        curve.append({f"{part}/{name}": value for part, own in scores.items() for name, value in own.items()})
    (folder / "history.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "config.yaml").write_text("seed: 1\n")
    for task, own in examples.items():
        own.write(folder / "predictions" / f"{task}.parquet", outputs[task])
    return curve


def _distribution(path: str) -> BaseDistribution:
    if path in FACTORS:
        return CategoricalDistribution([level for level, _ in FACTORS[path]])
    low, high, log = RANGES[path]
    return FloatDistribution(low, high, log=log)
