"""The study's journal: Optuna's own file format, every record with a number and a checksum of its own.

One writer, the driver, which holds the study's lock. Other programs read it as it is, optuna-dashboard too; what
they add carries no checksum and is taken as it stands.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from copy import deepcopy as copied
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial, TrialState

from minbert.errors import UserError
from minbert.files.failpoints import reach
from minbert.files.journal_owner import mismatch
from minbert.files.journalled import NUMBER, Damaged, begins_a_record, impossible, records
from minbert.files.sealed import is_sealed, sealed_line
from trainables.studies.locks import still_held

JOURNAL = "journal.log"
CUT = "journal.log.cut"
"""What was cut off the journal and does not look like the beginning of a record."""
Appended = Callable[[Path, Sequence[Mapping[str, Any]]], None]
"""Is told of the journal's file and of what was appended to it, before anybody acts on that."""


def open_journal(folder: Path, appended: Appended = lambda file, records: None) -> JournalStorage:
    """Optuna's storage on the folder's journal, checked and mended; the driver must hold the study's lock.

    Args:
        folder: the study's.
        appended: is told of every record; its failure is one of writing it.

    Raises:
        UserError: the journal cannot be written, more than its last record is damaged, one is none of Optuna's, or
            says what no search writes.
    """
    if (folder / JOURNAL).is_file():
        _refuse_unwritable(folder / JOURNAL)
        _cut(folder)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            storage = _Storage(_SealedBackend(str(folder / JOURNAL), appended))
            _trials(storage, folder / JOURNAL)
            return storage
        except (OSError, UserError):
            raise
        except Exception as error:  # the storage checks no value
            raise UserError(f"{folder / JOURNAL}: damaged: not a journal of Optuna's ({error!r})") from None


class _Storage(JournalStorage):
    """Optuna's storage, which knows the trials that wait to be asked for: for each ``ask`` Optuna looks through all."""

    _waiting: list[int] | None = None

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial = super().create_new_trial(study_id, template_trial)
        waits = template_trial is not None and template_trial.state is TrialState.WAITING
        if waits and self._waiting is not None:
            self._waiting.append(trial)
        return trial

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if states != (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        if self._waiting is None:
            self._waiting = [trial._trial_id for trial in super().get_all_trials(study_id, False, states)]
        found = [trial for trial in map(self.get_trial, self._waiting) if trial.state is TrialState.WAITING]
        self._waiting = [trial._trial_id for trial in found]
        return copied(found) if deepcopy else found


class _SealedBackend(JournalFileBackend):
    """Optuna's backend, whose records carry their number and checksum; reading passes over them."""

    def __init__(self, path: str, appended: Appended) -> None:
        super().__init__(path, lock_obj=_NoLock())
        self._appended = appended
        self._count = sum(map(is_sealed, Path(path).read_bytes().splitlines()))
        self._unsure: OSError | None = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records, durably and all at once."""
        if not logs:
            return
        if self._unsure is not None:
            raise self._unsure
        reach("journal.before")
        path = Path(self._file_path)
        still_held(path.parent)
        size = path.stat().st_size
        try:
            with path.open("ab") as file:
                for number, log in enumerate(logs, start=self._count + 1):
                    file.write(sealed_line({**log, NUMBER: number}) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            # What follows must not stand behind half a record, or one that may be there: then nothing does any more.
            code = getattr(error, "errno", None) or errno.EIO
            self._unsure = OSError(code, os.strerror(code), str(path))
            os.truncate(path, size)
            self._unsure = None
            raise
        self._count += len(logs)
        reach("journal.after")
        self._appended(path, logs)


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
        return sum(length for length, _ in records(path))
    except Damaged as damaged:
        raise UserError(damaged.advice) from None


def refuse_another_journal(path: Path, stored: Mapping[str, Any], named: Mapping[str, Any]) -> None:
    """Refuse a study.yaml that is another study's than its journal.

    Args:
        path: the study's folder.
        stored: what study.yaml says.
        named: what the journal says (:mod:`minbert.files.journal_owner`).

    Raises:
        UserError: the two differ.
    """
    if found := mismatch(stored, named):
        name, here, there = found
        raise UserError(
            f"{path / 'study.yaml'}: {name} is {here}, but that of the trials in {JOURNAL} is {there}; "
            "bring back the file that belongs to this study"
        )


def _cut(folder: Path) -> None:
    """Cut off what is not whole; bytes that are no beginning of a record are kept beside the journal."""
    path, length = folder / JOURNAL, good_length(folder)
    tail = path.read_bytes()[length:]
    if not tail:
        return
    if not begins_a_record(tail):
        with (folder / CUT).open("ab") as file:
            file.write(tail)
            file.flush()
            os.fsync(file.fileno())
    os.truncate(path, length)


def _refuse_unwritable(path: Path) -> None:
    """Refuse a journal to which nothing can be added, before any work is done that could not be noted.

    Raises:
        UserError: it is somebody else's, or made immutable.
    """
    try:
        path.open("ab").close()
    except PermissionError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def torn(folder: Path) -> str:
    """A line for the user where the journal's last record is not whole; else empty."""
    path = folder / JOURNAL
    if not path.is_file() or path.stat().st_size == good_length(folder):
        return ""
    return f"{path}: the last record is not whole; what it said is done again"


def refuse_lost_journal(folder: Path) -> None:
    """Refuse a study whose trials nothing gives an account of.

    Raises:
        UserError: there are trials and no journal.
    """
    trials = len(list(folder.glob("trials/[0-9]*")))
    journal = folder / JOURNAL
    if trials and not (journal.is_file() and journal.stat().st_size):
        raise UserError(
            f"{journal}: is gone, but trials/ holds {trials} trial{'s' * (trials > 1)}, of which it is the only account; "
            "bring it back from a copy, or start with another --study"
        )


def read_trials(folder: Path) -> tuple[list[FrozenTrial], str]:
    """The trials of a journal that is only read, and where it is damaged; what follows that place is left out.

    Raises:
        UserError: its records are whole and are not Optuna's, or say what no search writes.
    """
    snapshot, damage = _Snapshot(), ""
    try:
        for _, record in records(folder / JOURNAL):
            snapshot.records.append(record)
    except Damaged as damaged:
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
