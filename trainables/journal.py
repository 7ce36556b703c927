"""The study's journal: Optuna's own file format, every record with a checksum of its own.

One writer, the driver, which holds the study's lock. Other programs read it as it is, optuna-dashboard too; what
they add carries no checksum and is taken as it stands.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial, TrialState

from minbert.errors import UserError
from minbert.failpoints import reach
from minbert.journalled import impossible
from minbert.sealed import sealed_line, unsealed_line

JOURNAL = "journal.log"
CUT = "journal.log.cut"
"""What was cut off the journal and does not look like the beginning of a record."""
_LONGEST = 2**20
"""Bytes that no record comes near."""
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


def open_journal(folder: Path) -> JournalStorage:
    """Optuna's storage on the folder's journal, checked and mended; the driver must hold the study's lock.

    Raises:
        UserError: more than the last record is damaged, one is none of Optuna's, or says what no search writes.
    """
    if (folder / JOURNAL).is_file():
        _cut(folder)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            storage = JournalStorage(_SealedBackend(str(folder / JOURNAL), lock_obj=_NoLock()))
            _trials(storage, folder / JOURNAL)
            return storage
        except (OSError, UserError):
            raise
        except Exception as error:  # the storage checks no value
            raise UserError(f"{folder / JOURNAL}: damaged: not a journal of Optuna's ({error!r})") from None


class _SealedBackend(JournalFileBackend):
    """Optuna's backend, whose records carry their checksum; reading passes over it."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records, durably and all at once."""
        if not logs:
            return
        reach("journal.before")
        path = Path(self._file_path)
        size = path.stat().st_size
        try:
            with path.open("ab") as file:
                file.write(b"".join(sealed_line(log) + b"\n" for log in logs))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            os.truncate(path, size)  # what follows must not stand behind half a record
            raise
        reach("journal.after")


class _NoLock(BaseJournalFileLock):
    """The study's own lock admits one writer; Optuna's would outlive a killed driver and hang the next one."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def good_length(folder: Path) -> int:
    """Bytes of the folder's journal without a last record that is torn or damaged; 0 where there is no journal.

    What that record said is done again: a trial asked for but not noted is asked for again, and one whose end was
    not noted goes on from its own files.

    Raises:
        UserError: more than the last record is damaged, or nothing whole is left beside trials.
    """
    path = folder / JOURNAL
    try:
        length = sum(length for length, _ in _records(path))
        if not length and path.is_file() and path.stat().st_size and any(folder.glob("trials/[0-9]*")):
            raise _Damaged(f"{path}:1: damaged (no whole record is left)")
        return length
    except _Damaged as damaged:
        raise UserError(
            f"{damaged}, and nothing after it can be relied on; bring the file back from a copy, take over what "
            "stands before it with --fork NEW, or start with another --study"
        ) from None


def _cut(folder: Path) -> None:
    """Cut off what is not whole; bytes that are no beginning of a record are kept beside the journal."""
    path, length = folder / JOURNAL, good_length(folder)
    tail = path.read_bytes()[length:]
    if tail and not _begins_a_record(tail):
        with (folder / CUT).open("ab") as file:
            file.write(tail)
            file.flush()
            os.fsync(file.fileno())
    os.truncate(path, length)


def torn(folder: Path) -> str:
    """A line for the user where the journal's last record is not whole; else empty."""
    path = folder / JOURNAL
    if not path.is_file() or path.stat().st_size == good_length(folder):
        return ""
    return f"{path}: the last record is not whole; what it said is done again"


def read_trials(folder: Path) -> tuple[list[FrozenTrial], str]:
    """The trials of a journal that is only read, and where it is damaged; what follows that place is left out.

    Raises:
        UserError: its records are whole and are not Optuna's, or say what no search writes.
    """
    snapshot, damage = _Snapshot(), ""
    try:
        for _, record in _records(folder / JOURNAL):
            snapshot.records.append(record)
    except _Damaged as damaged:
        damage = str(damaged)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _trials(JournalStorage(snapshot), folder / JOURNAL), damage
    except UserError:
        raise
    except Exception as error:  # the storage checks no record: what lacks a field may raise anything
        raise UserError(f"{folder / JOURNAL}: damaged: not a journal of Optuna's ({error!r})") from None


def _trials(storage: JournalStorage, path: Path) -> list[FrozenTrial]:
    """The trials of a journal, checked.

    Raises:
        UserError: what is said of one cannot be.
    """
    trials = [
        trial
        for study in storage.get_all_studies()
        for trial in storage.get_all_trials(study._study_id, deepcopy=False)
    ]
    for trial in trials:
        complete = trial.state is TrialState.COMPLETE
        if said := impossible(complete, trial.values, trial.intermediate_values, trial.user_attrs):
            raise UserError(f"{path}: damaged: of trial {trial.number}: {said}")
    return trials


class _Snapshot(BaseJournalBackend):
    """The records of a journal as it stood at one moment."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self.records[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise PermissionError("a study that is only read is not written")


class _Damaged(Exception):
    """A record before the last one is damaged; which, and how."""


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records and their lengths in bytes, without a last one that is torn or damaged.

    Raises:
        _Damaged: another one is, or what is damaged at the end may have been more than one.
    """
    if path.is_dir():
        raise UserError(
            f"{path}: is a folder where the study's journal should be; bring the file back from a copy"
        )
    lines = list(io.BytesIO(path.read_bytes())) if path.is_file() else []
    longest = 0
    for number, line in enumerate(lines, start=1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("torn")
            record = unsealed_line(line.rstrip(b"\n"))
            _check(record)
        except ValueError as error:
            if number < len(lines):
                raise _Damaged(f"{path}:{number}: damaged ({error})") from None
            if _begins_a_record(line) or len(line) <= longest:
                return
            raise _Damaged(f"{path}:{number}: damaged (more than the last record)") from None
        longest = max(longest, len(line))
        yield len(line), record


def _begins_a_record(line: bytes) -> bool:
    """Whether a damaged last line can be one record, torn or changed: it is text, and no second one begins in it."""
    text = line.rstrip(b"\n")
    return (
        text.startswith(b"{")
        and len(text) <= _LONGEST
        and min(text) >= ord(" ")
        and text.count(b'"op_code"') <= 1
    )


def _check(record: dict[str, Any]) -> None:
    """Refuse what Optuna would not take for a record of its own.

    Raises:
        ValueError: why.
    """
    kind = record.get("op_code")
    if not isinstance(kind, int) or not 0 <= kind < len(_FIELDS):
        raise ValueError("not a record")
    if missing := [name for name in ("worker_id", *_FIELDS[kind]) if name not in record]:
        raise ValueError(f"the record lacks {missing[0]}")
