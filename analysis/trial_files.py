"""The files of one trial, checked where they are read: what they hold is of the kind that everything else relies on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from minbert.files.sealed import CHECKSUMS, damage, owner, unsealed_line

_TEXTS = ("split", "half", "id")
_NUMBERS = frozenset(
    (
        *("select", "report", "dev", "train", "train_loss", "measures", "gradients", "geometry"),
        *("step", "examples", "task_examples", "tokens", "learning_rate", "peak_memory_bytes"),
        *("train_seconds", "eval_seconds", "seconds_saved"),
    )
)
"""Fields of an epoch that are a number, or a mapping of such."""


_LARGEST = 2**63 - 1


class Damaged(Exception):
    """A file does not hold what was written, or what the study says of it; the message is why."""


def read_epochs(file: Path, run: str) -> Iterator[dict[str, Any] | Damaged]:
    """The records of a history.jsonl, or why one cannot be used; none when there is no such file.

    Args:
        file: the history.
        run: names the trial's configuration and seed, as records do that are not of older studies.
    """
    if not file.exists():
        return
    if not file.is_file():
        yield Damaged("is not a file")
        return
    lines = file.read_bytes().split(b"\n")[:-1]  # a torn last line is trained and written again
    for line in lines:
        try:
            record = unsealed_line(line)
            record.pop("chosen", None)  # repeats figures of other epochs
            if record.get("of", run) != run:
                raise Damaged("an epoch belongs to another run")
            _check_epoch(record)
        except Damaged as error:
            yield error
        except ValueError:
            yield Damaged("an epoch is not what was written")
        else:
            yield record


def last_scored(records: Sequence[Mapping[str, Any]]) -> tuple[int, float] | None:
    """The last epoch of a trial's last stage that was scored, and its score; None where none was.

    Args:
        records: a whole history, its fields flattened; that of an older study does not say which stage is the last.
    """
    final = [record for record in records if record.get("final_stage")]
    final = final or [record for record in records if record["stage"] == records[-1]["stage"]]
    scores = {
        record["epoch"]: record["select/score"] for record in final if record.get("select/score") is not None
    }
    return max(scores.items(), default=None)


def read_outputs(file: Path, kind: str, classes: int, run: str, sealed: bool) -> pa.Table | None:
    """The stored predictions of one task; None when there is no such file.

    Args:
        file: the predictions.
        kind, classes: of the task.
        run: whose they have to be, where they say whose they are.
        sealed: whether they have to say so; those of older studies do not.

    Raises:
        Damaged: it cannot be read, or its columns or labels are not those of a task of this kind.
    """
    if not file.exists():
        return None
    if sealed or (file.parent / CHECKSUMS).exists():
        of = run if sealed or owner(file.parent) else None
        if found := damage(file.parent, file.name, of):
            raise Damaged(found)
    try:
        with pq.ParquetFile(file) as stored:
            table = stored.read()
    except (OSError, pa.ArrowException) as error:
        raise Damaged(f"cannot be read as Parquet ({type(error).__name__})") from None
    missing = {*_TEXTS, "label", "output_0"} - set(table.column_names)
    if missing:
        raise Damaged(f"lacks the column(s) {', '.join(sorted(missing))}")
    _check_columns(table)
    _check_outputs(table, kind, classes)
    return table


def _check_epoch(record: Mapping[str, Any]) -> None:
    if not isinstance(record.get("stage"), str):
        raise Damaged("an epoch does not name its stage")
    if not isinstance(record.get("epoch"), int) or abs(record["epoch"]) > _LARGEST:
        raise Damaged("an epoch has no number")
    constant = record.get("constant", [])
    if not isinstance(constant, list) or not all(isinstance(task, str) for task in constant):
        raise Damaged("'constant' of an epoch is not a list of tasks")
    for name in _NUMBERS & record.keys():
        _check_number(name, record[name])


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_number(f"{name}/{key}", inner)
    elif value is not None and not (isinstance(value, float) or _is_whole(value)):
        raise Damaged(f"{name!r} of an epoch is not a number")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and abs(value) <= _LARGEST


def _check_columns(table: pa.Table) -> None:
    for column in table.schema:
        if column.name in _TEXTS:
            fits = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        elif column.name == "label" or column.name.startswith("output_"):
            fits = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
        else:
            continue
        if not fits and not pa.types.is_null(column.type):
            raise Damaged(f"{column.name} is of type {column.type}")


def _check_outputs(table: pa.Table, kind: str, classes: int) -> None:
    outputs = {name for name in table.column_names if name.startswith("output_")}
    expected = classes if kind == "classification" else 1
    if outputs != {f"output_{place}" for place in range(expected)}:
        raise Damaged(f"has {len(outputs)} output columns where {kind} has {expected}")
    labels = table["label"].to_numpy().astype(np.float64)
    known = labels[~np.isnan(labels)]
    if kind == "regression":
        if not np.isfinite(known).all():
            raise Damaged("a label is not a number")
    elif not np.isin(known, np.arange(classes if kind == "classification" else 2)).all():
        raise Damaged(f"a label is none of the {classes if kind == 'classification' else 2} classes")
