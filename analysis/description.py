"""What study.yaml says of a study, as far as the frames and the commands that a report suggests depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from analysis.near_studies import near_studies
from minbert.errors import UserError
from minbert.files.strangers import refuse_irregular, refuse_irregular_below
from minbert.files.yaml_dialect import read_record
from minbert.task_config import LabelText, default_tasks

SCHEMA_VERSION = 1
NULL = "null"
"""The level null, as YAML writes it: in a frame, None says that a factor was not active."""


class Factor(BaseModel):
    """An axis of the searched space: a list of levels, or a range when ``levels`` is None."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    """Dotted path of the leaf, also the name of its column in ``Study.trials``."""
    levels: tuple[Any, ...] | None = None
    """As ``Study.trials`` has them: null is ``NULL``."""
    low: float | None = None
    high: float | None = None
    log: bool = False

    @field_validator("levels")
    @classmethod
    def _null_is_a_level(cls, levels: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return None if levels is None else tuple(as_level(level) for level in levels)


class TaskInfo(BaseModel):
    """What a task's outputs mean: its kind, its classes and label range."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["classification", "binary", "regression"]
    classes: int = 2
    label_range: tuple[float, float] = (0.0, 5.0)
    labels: tuple[LabelText, ...] | None = None
    """What the data call class 0, 1 and so on; None: their numbers."""
    ordered: bool = False
    """Whether a higher class means more of something."""

    @property
    def is_scale(self) -> bool:
        """Whether answers can be too high or too low, and not just wrong."""
        return self.kind != "classification" or self.ordered

    @property
    def class_names(self) -> tuple[str, ...]:
        """Each class as tables show it: ``0 praise``; by its label alone where labels are numbers, or by its number
        where there are none."""
        if self.labels is None:
            return tuple(map(str, range(self.classes)))
        if all(map(_is_number, self.labels)):
            return self.labels
        return tuple(f"{number} {label}" for number, label in enumerate(self.labels))

    @model_validator(mode="after")
    def _every_class_has_a_label(self) -> Self:
        if self.labels is not None and len(self.labels) != self.classes:
            raise ValueError(f"{len(self.labels)} labels for {self.classes} classes")
        return self


def as_level(value: Any) -> Any:
    """A level as ``Study.trials`` has it, for one as study.yaml or a trial's parameters have it: null is ``NULL``."""
    return NULL if value is None else value


class _Data(BaseModel):
    """The part of a study's data that is read as it stands."""

    notes: list[Any] | None = None


class Description(BaseModel):
    """The part of study.yaml that is read by name."""

    model_config = ConfigDict(extra="allow")

    schema_version: int
    name: str
    factors: list[Factor]
    tasks: dict[str, TaskInfo] = Field(min_length=1)
    data: _Data | None = None
    space: dict[str, Any] | None = None


def read_description(folder: Path) -> tuple[dict[str, Any], Description]:
    """All of a study folder's study.yaml, and the part that is read by name.

    Raises:
        UserError: no such folder, not a study folder, made by a newer version, or damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder{near_studies(folder)}")
    file = folder / "study.yaml"
    refuse_irregular(file)
    if not file.is_file():
        raise UserError(f"{folder}: not a study folder (it has no study.yaml){near_studies(folder)}")
    refuse_irregular_below(folder)
    meta = read_record(file)
    version = meta.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UserError(
            f"{file}: schema_version {version} is newer than this program reads ({SCHEMA_VERSION}): update it"
        )
    try:
        return meta, Description.model_validate({**meta, "tasks": _tasks(meta)})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: damaged at {where}: {first['msg']}") from None


def _tasks(meta: Mapping[str, Any]) -> Any:
    """The tasks of study.yaml, each with what its space says of the classes; spaces are laid over the default tasks."""
    tasks = meta.get("tasks")
    if not isinstance(tasks, dict):
        return tasks
    usual = {
        name: task.model_dump(include={"labels", "ordered"}, exclude_none=True)
        for name, task in default_tasks().items()
    }
    return {
        name: {**usual.get(name, {}), **_said_of_classes(meta, name), **task}
        if isinstance(task, dict)
        else task
        for name, task in tasks.items()
    }


def _said_of_classes(meta: Mapping[str, Any], task: str) -> dict[str, Any]:
    entry: Any = meta
    for key in ("space", "tasks", task):
        entry = entry.get(key) if isinstance(entry, dict) else None
    said = entry if isinstance(entry, dict) else {}
    kinds = {"labels": list, "ordered": bool}
    return {name: said[name] for name, kind in kinds.items() if isinstance(said.get(name), kind)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
