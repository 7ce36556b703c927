"""What study.yaml says of a study, as far as the frames and the commands that a report suggests depend on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minbert.errors import UserError
from minbert.files.strangers import refuse_irregular, refuse_irregular_below
from minbert.files.yaml_dialect import read_record

SCHEMA_VERSION = 1


class Factor(BaseModel):
    """An axis of the searched space: a list of levels, or a range when ``levels`` is None."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    """Dotted path of the leaf, also the name of its column in ``Study.trials``."""
    levels: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False


class TaskInfo(BaseModel):
    """What a task's outputs mean: its kind, number of classes and label range."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["classification", "binary", "regression"]
    classes: int = 2
    label_range: tuple[float, float] = (0.0, 5.0)


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
        raise UserError(f"{folder}: no such folder")
    file = folder / "study.yaml"
    refuse_irregular(file)
    if not file.is_file():
        raise UserError(f"{folder}: not a study folder (it has no study.yaml)")
    refuse_irregular_below(folder)
    meta = read_record(file)
    version = meta.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UserError(
            f"{file}: schema_version {version} is newer than this program reads ({SCHEMA_VERSION}): update it"
        )
    try:
        return meta, Description.model_validate(meta)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: damaged at {where}: {first['msg']}") from None
