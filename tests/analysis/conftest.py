"""A synthetic study folder with known effects, written with a real Optuna journal."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

TASKS = {
    "sst": {"kind": "classification", "classes": 5},
    "qqp": {"kind": "binary"},
    "sts": {"kind": "regression", "label_range": [0, 5]},
}
FACTORS: list[dict[str, Any]] = [
    {"path": "tasks.sts.head.kind", "levels": ["cosine", "concat", "cross"]},
    {"path": "stages.finetune.sampler.kind", "levels": ["sequential", "annealed", "concurrent"]},
    {"path": "stages.finetune.pcgrad", "levels": [False, True]},
    {"path": "stages.finetune.dropout", "levels": None, "low": 0.0, "high": 0.5, "log": False},
    {"path": "stages.finetune.learning_rate", "levels": None, "low": 1e-5, "high": 1e-3, "log": True},
    {"path": "stages.simcse.epochs", "levels": [0, 1, 2, 3]},
]
HEAD_EFFECT = {"cosine": 0.0, "concat": 0.05, "cross": 0.25}


def distribution(factor: Mapping[str, Any]) -> BaseDistribution:
    if factor["levels"] is not None:
        return CategoricalDistribution(factor["levels"])
    return FloatDistribution(factor["low"], factor["high"], log=factor["log"])


def sample_parameters(random: np.random.Generator) -> dict[str, Any]:
    """Draw a configuration; pcgrad is only active where one step sees several tasks."""
    drawn: dict[str, Any] = {}
    for factor in FACTORS:
        if factor["levels"] is not None:
            drawn[factor["path"]] = factor["levels"][random.integers(len(factor["levels"]))]
        elif factor["log"]:
            drawn[factor["path"]] = float(np.exp(random.uniform(*np.log([factor["low"], factor["high"]]))))
        else:
            drawn[factor["path"]] = float(random.uniform(factor["low"], factor["high"]))
    if drawn["stages.finetune.sampler.kind"] != "concurrent":
        del drawn["stages.finetune.pcgrad"]
    return drawn


class StudyWriter:
    """Writes a study folder as the search does: study.yaml, journal, histories and predictions."""

    def __init__(self, path: Path, examples: int = 400, **meta: Any) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.meta = {
            "schema_version": 1,
            "name": "small_ablation",
            "space": {
                "name": "small_ablation",
                "description": "Heads and samplers",
                "search": {},
                "config": {},
            },
            "factors": FACTORS,
            "tasks": TASKS,
            "seed": 7,
            "trials": 30,
            "replicates": 1,
            "data": {
                "path": "/some/data",
                "fingerprint": "d" * 40,
                "bundled": True,
                "notes": ["2 rows without a label skipped"],
                "overlap": {"qqp": {"dev": 3, "test": 1}},
            },
            "encoder": {"path": "/some/encoder", "fingerprint": "e" * 40, "bundled": True, "name": "tiny"},
            "selection": "dev_half",
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
            "versions": {"torch": "2.13.0"},
            **meta,
        }
        self.known = {factor["path"]: factor for factor in (*FACTORS, *self.meta["factors"])}
        (path / "study.yaml").write_text(yaml.safe_dump(self.meta, sort_keys=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = JournalStorage(JournalFileBackend(str(path / "journal.log")))
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self.journal = optuna.create_study(storage=storage, study_name="study", direction="maximize")
        self.random = np.random.default_rng(3)
        self.examples = examples
        self.labels = {
            "sst": self.random.integers(0, 5, examples).astype(float),
            "qqp": self.random.integers(0, 2, examples).astype(float),
            "sts": self.random.uniform(0, 5, examples),
        }

        # Examples that are hard for one trial are hard for all, as in real studies.
        self.hard = {task: self.random.normal(size=examples) for task in TASKS}
        self.hard["classes"] = self.random.normal(size=(examples, 5))

    def add(self, state: TrialState, parameters: dict[str, Any], **attributes: Any) -> int:
        """Write a trial with its files; its quality follows HEAD_EFFECT."""
        number = len(self.journal.get_trials(deepcopy=False))
        folder = self.path / "trials" / f"{number:05d}"
        (folder / "predictions").mkdir(parents=True)
        (folder / "config.yaml").write_text("seed: 11\n")
        finished = state in (TrialState.COMPLETE, TrialState.PRUNED)
        metrics = self._predict(folder, HEAD_EFFECT[parameters["tasks.sts.head.kind"]]) if finished else {}
        score = metrics.get("select/score")
        epochs = 1 if state == TrialState.PRUNED else 3
        self._write_history(folder, metrics, epochs if finished else 1)
        trial = create_trial(
            state=state,
            params=parameters,
            distributions={path: distribution(self.known[path]) for path in parameters},
            value=score if state == TrialState.COMPLETE else None,
            intermediate_values={epoch: score for epoch in range(1, epochs + 1)} if score is not None else {},
            user_attrs={
                "config_id": f"c{number}",
                "replicate": 0,
                "seed": 11,
                **({"best_epoch": epochs, "epochs": epochs, "metrics": metrics} if metrics else {}),
                **({"cost_alone": 10.0 + number, "cost_paid": 8.0} if finished else {}),
                **attributes,
            },
        )
        self.journal.add_trial(trial)
        return number

    def add_curve(
        self, state: TrialState, parameters: dict[str, Any], scores: list[float], **attributes: Any
    ) -> int:
        """Write a trial that scored ``scores`` (in every task and half) after its epochs, without files
        but its history."""
        number = len(self.journal.get_trials(deepcopy=False))
        folder = self.path / "trials" / f"{number:05d}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("seed: 11\n")
        curve = [
            {half: dict.fromkeys((*TASKS, "score"), score) for half in ("select", "report", "dev")}
            for score in scores
        ]
        records = [
            {"stage": "finetune", "epoch": epoch, "final_stage": True, **one}
            for epoch, one in enumerate(curve, 1)
        ]
        (folder / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        best = max(curve, key=lambda one: one["select"]["score"])
        metrics = {f"{half}/{name}": value for half, one in best.items() for name, value in one.items()}
        trial = create_trial(
            state=state,
            params=parameters,
            distributions={path: distribution(self.known[path]) for path in parameters},
            value=max(scores) if state == TrialState.COMPLETE else None,
            intermediate_values=dict(enumerate(scores, 1)),
            user_attrs={"config_id": f"c{number}", "replicate": 0, "metrics": metrics, **attributes},
        )
        self.journal.add_trial(trial)
        return number

    def _predict(self, folder: Path, quality: float) -> dict[str, float]:
        half = np.where(np.arange(self.examples) % 2 == 0, "select", "report")
        metrics: dict[str, float] = {}
        found = {}
        for task, labels in self.labels.items():
            outputs = self._outputs(task, quality)
            frame = pd.DataFrame({"split": "dev", "half": half})
            frame["id"] = [f"{task}{place}" for place in range(self.examples)]
            frame["label"] = labels
            for column in range(outputs.shape[1]):
                frame[f"output_{column}"] = outputs[:, column]
            test = frame.head(10).assign(split="test", half=None, label=np.nan)
            pd.concat([frame, test]).to_parquet(folder / "predictions" / f"{task}.parquet")
            for name, rows in {
                "select": half == "select",
                "report": half == "report",
                "dev": half != "",
            }.items():
                found[name, task] = metrics[f"{name}/{task}"] = self._metric(
                    task, outputs[rows], labels[rows]
                )
        for name in ("select", "report", "dev"):
            parts = [found[name, "sst"], found[name, "qqp"], (found[name, "sts"] + 1) / 2]
            metrics[f"{name}/score"] = float(np.mean(parts))
        return metrics

    def _outputs(self, task: str, quality: float) -> np.ndarray:
        labels = self.labels[task]
        noise = 0.9 * self.hard[task] + 0.4 * self.random.normal(size=self.examples)
        if task == "sts":
            return ((0.3 + quality) * labels + 1.5 * noise)[:, None]
        if task == "qqp":
            return (1 / (1 + np.exp(-(3 * (0.3 + quality) * (2 * labels - 1) + 2 * noise))))[:, None]
        logits = 0.9 * self.hard["classes"] + 0.4 * self.random.normal(size=(self.examples, 5))
        logits[np.arange(self.examples), labels.astype(int)] += 1 + 2 * quality
        raised: np.ndarray = np.exp(logits)
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    @staticmethod
    def _metric(task: str, outputs: np.ndarray, labels: np.ndarray) -> float:
        if task == "sts":
            return float(np.corrcoef(outputs[:, 0], labels)[0, 1])
        guess = outputs.argmax(axis=1) if task == "sst" else (outputs[:, 0] > 0.5)
        return float(np.mean(guess == labels))

    def _write_history(self, folder: Path, metrics: Mapping[str, float], epochs: int) -> None:
        records: list[dict[str, Any]] = [{"stage": "simcse", "epoch": 1, "train_loss": {"simcse": 0.9}}]
        for epoch in range(1, epochs + 1):
            record: dict[str, Any] = {"stage": "finetune", "epoch": epoch, "final_stage": True}
            record["train_loss"] = {"sst": 1.3 / epoch}
            for name, value in metrics.items():
                half, _, leaf = name.partition("/")
                record.setdefault(half, {})[leaf] = value - 0.05 * (epochs - epoch)
            records.append(record)
        lines = (json.dumps({"line": line, **record}) for line, record in enumerate(records, 1))
        (folder / "history.jsonl").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def new_study(tmp_path: Path) -> Callable[..., StudyWriter]:
    """Starts an empty study folder; keyword arguments replace fields of study.yaml."""
    return lambda folder="study", **meta: StudyWriter(tmp_path / folder, **meta)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 30 complete trials and one each pruned, failed, running, abandoned and torn."""
    writer = StudyWriter(tmp_path_factory.mktemp("studies") / "searched", trials=40)
    random = np.random.default_rng(1)
    for _ in range(30):
        writer.add(TrialState.COMPLETE, sample_parameters(random))
    writer.add(TrialState.PRUNED, sample_parameters(random))
    writer.add(TrialState.FAIL, sample_parameters(random), cause="nan")
    running = writer.add(TrialState.RUNNING, sample_parameters(random))
    writer.add(TrialState.FAIL, sample_parameters(random), abandoned=True)
    with (writer.path / "trials" / f"{running:05d}" / "history.jsonl").open("a") as file:
        file.write('{"stage": "finetune", "epo')
    with (writer.path / "journal.log").open("a") as file:
        file.write('{"op_code": 6, "wor')
    return writer.path
