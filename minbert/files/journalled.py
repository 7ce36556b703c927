"""What all readers of a study's journal refuse: records that are damaged, and whole ones that no search has written."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minbert.errors import UserError
from minbert.files.sealed import is_sealed, unsealed_line
from minbert.files.storage import whole

NUMBER = "number"
"""Key of a sealed record's number: one more than the sealed record before it. Other programs' records have none."""
_SHOWN = 60
_LONGEST = 2**20
"""Bytes that no record comes near."""
_PRINTED = (ord(" "), ord("~"))
"""All bytes of a record lie between these."""
_MOST_CHANGED = 8
"""Bytes of a record that may have become others; more is damage of another kind."""
_FIELDS = (
    ("study_name", "directions"),
    ("study_id",),
    ("study_id", "user_attr"),
    ("study_id", "system_attr"),
    ("study_id", "datetime_start"),
    ("trial_id", "param_name", "param_value_internal", "distribution"),
    ("trial_id", "state", "values"),
    ("trial_id", "step", "intermediate_value"),
    ("trial_id", "user_attr"),
    ("trial_id", "system_attr"),
    (),
)
"""What Optuna's records hold, by their op_code."""
_TEXTS = ("config_id", "cause", "message")
_WHOLE = (
    "replicate",
    "seed",
    "best_epoch",
    "epochs",
    "attempts",
    "forked_from",
    "copied_from",
    "stops_after",
)
_NUMBERS = ("cost_paid", "cost_alone")
_MAYBE_NONE = ("cause", "message", "best_epoch")


class Damaged(Exception):
    """More of a journal is damaged than its last record.

    Args:
        path: the journal.
        line: where.
        how: what is wrong there.
    """

    def __init__(self, path: Path, line: int, how: str) -> None:
        super().__init__(f"{path}:{line}: damaged ({how})")
        self._path, self._line = path, line

    @property
    def advice(self) -> str:
        """What is wrong, and what to do."""
        way_out = "bring the file back from a copy, or start with another --study"
        if self._line > 1:
            study = shlex.quote(str(self._path.parent))
            fork = f"python -m trainables.search --space SPACE --study {study} --fork NEW"
            way_out = f"bring the file back from a copy, or take over what stands before it: {fork}"
        return f"{self}, and nothing after it can be relied on; {way_out}"


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a journal and their lengths in bytes, without a last one that is torn or damaged.

    A search may be writing that one just now. A journal that is not there has none.

    Raises:
        UserError: the journal cannot be read.
        Damaged: another record is damaged or missing, what is damaged at the end may have been more than one, or
            nothing whole is left beside trials.
    """
    longest, sealed, lines = 0, 0, _lines(path)
    for number, line in enumerate(lines, start=1):
        try:
            record = _record(line)
        except ValueError as error:
            if number == len(lines) - 1 and _was_one(line, lines[number]):
                return
            if number < len(lines):
                raise Damaged(path, number, str(error)) from None
            if _heads(line) > 1 or (not begins_a_record(line) and len(line) > longest):
                raise Damaged(path, number, "more than the last record") from None
            if number == 1 and any(path.parent.glob("trials/[0-9]*")):
                raise Damaged(path, 1, "no whole record is left") from None
            return
        longest = max(longest, len(line))
        sealed += is_sealed(line)
        if (told := record.pop(NUMBER, sealed)) != sealed:
            raise Damaged(path, number, f"it should be record {sealed} of the search, and is record {told}")
        yield len(line), record


def begins_a_record(line: bytes) -> bool:
    """Whether a damaged last line can be one record, torn or changed: it is text, and no second one begins in it."""
    text = line.rstrip(b"\n")
    changed = sum(not _PRINTED[0] <= byte <= _PRINTED[1] for byte in text[:_LONGEST])
    return (
        (text.startswith(b"{") or _heads(text) == 1)
        and len(text) <= _LONGEST
        and changed <= _MOST_CHANGED
        and _heads(text) <= 1
    )


def _was_one(line: bytes, rest: bytes) -> bool:
    """Whether two lines were one sealed record, of which one flipped bit has become an end of line."""
    ends = (bytes([ord("\n") ^ 1 << bit]) for bit in range(8))
    return any(_is_record(line[:-1] + end + rest) for end in ends)


def _is_record(line: bytes) -> bool:
    try:
        _record(line)
    except ValueError:
        return False
    return is_sealed(line)


def _heads(line: bytes) -> int:
    """How many records begin in a line, as far as can be seen."""
    return line.count(b'"op_code"')


def impossible(
    complete: bool, values: list[Any] | None, scores: Mapping[Any, Any], attributes: Mapping[str, Any]
) -> str:
    """What cannot be in the record of a trial, with its value; empty where everything can.

    Args:
        complete: whether the trial is said to have completed.
        values: its score, as Optuna keeps it: a list of one number, or None.
        scores: its scores by epoch.
        attributes: what a search notes of it.
    """
    if (complete or values is not None) and not (
        isinstance(values, list) and len(values) == 1 and _is_number(values[0])
    ):
        return f"its score is {_cut(values)}, not a number"
    for epoch, score in scores.items():
        if not _is_whole(epoch) or not _is_number(score):
            return f"its score in epoch {_cut(epoch)} is {_cut(score)}, not a number"
    for name, value in attributes.items():
        if not _is_possible(name, value):
            return f"its {name} is {_cut(value)}"
    return ""


def _lines(path: Path) -> list[bytes]:
    if path.is_dir():
        raise UserError(
            f"{path}: is a folder where the study's journal should be; bring the file back from a copy"
        )
    try:
        return list(io.BytesIO(whole(path))) if path.is_file() else []
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _record(line: bytes) -> dict[str, Any]:
    """The record of a line.

    Raises:
        ValueError: it is torn or damaged, or Optuna would not take it for one of its own.
    """
    if not line.endswith(b"\n"):
        raise ValueError("torn")
    record = unsealed_line(line.rstrip(b"\n"))
    if NUMBER in record and not is_sealed(line):
        raise ValueError("not what was written")
    kind = record.get("op_code")
    if not isinstance(kind, int) or not 0 <= kind < len(_FIELDS):
        raise ValueError("not a record")
    if missing := [name for name in ("worker_id", *_FIELDS[kind]) if name not in record]:
        raise ValueError(f"the record lacks {missing[0]}")
    return record


def _is_possible(name: str, value: Any) -> bool:
    if value is None and name in _MAYBE_NONE:
        return True
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _WHOLE:
        return _is_whole(value)
    if name in _NUMBERS:
        return _is_number(value)
    if name == "metrics":
        return isinstance(value, dict) and all(map(_is_number, value.values()))
    return True


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cut(value: Any) -> str:
    return repr(value)[:_SHOWN]
