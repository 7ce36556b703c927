"""Use an exported folder: ``open_exported("DIR").predict("sts", pairs)`` and ``.embed(sentences)``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minbert.config import TaskConfig
from minbert.errors import UserError, did_you_mean
from minbert.exported_files import CONFIG, MEMBERS, Manifest, read_manifest
from minbert.loaded_model import LoadedModel, Progress
from minbert.yaml_reader import load_config


def open_exported(folder: str | Path) -> Exported:
    """Open a folder that ``python -m trainables.export`` wrote, after checking its files.

    Raises:
        UserError: it is no such folder, or damaged.
    """
    path = Path(folder)
    return Exported(path, read_manifest(path))


class Exported:
    """One model, or several that answer together; each is read when it is first needed and then kept in memory.

    Attributes:
        folder: where it lies.
        manifest: which models answer which task.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self._models: dict[str, LoadedModel] = {}

    @cached_property
    def tasks(self) -> dict[str, TaskConfig]:
        """The tasks that can be answered.

        Raises:
            UserError: a model lacks a task that it is to answer, or answers it in another form.
        """
        configs = {name: load_config(self.folder / name / CONFIG) for name in self.manifest.folders}
        found: dict[str, TaskConfig] = {}
        for task, answering in self.manifest.tasks.items():
            for member in answering.members:
                own = configs[member.folder].tasks.get(task)
                if own is None or _form(own) != _form(found.setdefault(task, own)):
                    raise UserError(f"{self.folder / member.folder}: does not answer {task} as the others do")
        return found

    def task(self, name: str) -> TaskConfig:
        """A task by its name.

        Raises:
            UserError: there is none.
        """
        if name not in self.tasks:
            listed = ", ".join(self.tasks)
            raise UserError(
                f"{self.folder}: no task {name!r}; its tasks are {listed}{did_you_mean(name, self.tasks)}"
            )
        return self.tasks[name]

    def predict(
        self, task: str, examples: Sequence[Sequence[str]], progress: Progress = lambda done: None
    ) -> np.ndarray:
        """What trials store as predictions; of several models the weighted mean.

        Args:
            task: its name.
            examples: n examples of one text (sentence tasks) or two (pair tasks) each.
            progress: is told how many examples one of the models has done since.

        Returns:
            (n, classes) probabilities, (n, 1) probability of the positive class (binary), or (n, 1) value in
            label units (regression), float64.

        Raises:
            UserError: no such task, or an example with another number of texts.
        """
        texts = len(self.task(task).text)
        for number, example in enumerate(examples):
            if isinstance(example, str) or len(example) != texts:
                raise UserError(f"example {number}: {task} takes examples of {texts} text(s)")
        columns = [[example[at] for example in examples] for at in range(texts)]
        weighted = [
            member.weight * self._model(member.folder).outputs(task, columns, progress)
            for member in self.manifest.tasks[task].members
        ]
        return np.sum(weighted, axis=0)  # type: ignore[no-any-return]

    def members(self, task: str) -> int:
        """How many models answer a task."""
        return len(self.manifest.tasks[task].members)

    def answers(self, task: str, outputs: np.ndarray) -> list[dict[str, Any]]:
        """What :meth:`predict` gave, by example: ``score`` (regression), or ``label`` (the number of the class), the
        ``probability`` of that label, the ``probabilities`` of all labels, and where the task's labels have names, ``name``."""
        config, threshold = self.task(task), self.manifest.tasks[task].threshold
        if config.kind == "regression":
            return [{"score": float(value)} for (value,) in outputs]
        if config.kind == "classification":
            return [_answer(int(row.argmax()), row.tolist(), config.labels) for row in outputs]
        least = 0.5 if threshold is None else threshold
        return [
            _answer(int(value > least), [1 - float(value), float(value)], config.labels)
            for (value,) in outputs
        ]

    def embed(self, sentences: Sequence[str], progress: Progress = lambda done: None) -> np.ndarray:
        """Sentence vectors: pooled, and through the layer that all heads share where there is one.

        Args:
            sentences: n sentences.
            progress: is told how many are done.

        Returns:
            (n, hidden) float32, not scaled to unit length.

        Raises:
            UserError: the folder holds several models, whose vectors have nothing in common.
        """
        return self._model(self.only_folder()).vectors(sentences, progress)

    def only_folder(self) -> str:
        """The place of the one model.

        Raises:
            UserError: there are several.
        """
        first, *others = self.manifest.folders
        if others:
            raise UserError(
                f"{self.folder}: holds {len(others) + 1} models, each with vectors of its own; name one: "
                f"{self.folder / first} or another in {self.folder / MEMBERS}"
            )
        return first

    def _model(self, folder: str) -> LoadedModel:
        if folder not in self._models:
            self._models[folder] = LoadedModel(self.folder / folder)
        return self._models[folder]


def _form(task: TaskConfig) -> tuple[object, ...]:
    return task.kind, task.classes, task.text, task.labels


def _answer(label: int, probabilities: list[float], names: Sequence[str] | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "label": label,
        "probability": probabilities[label],
        "probabilities": probabilities,
    }
    return answer if names is None else {**answer, "name": names[label]}
