"""The trials of an Optuna journal, read without a lock and without ever writing.

A driver may be appending while we read, so the file is taken once as it stands and a
torn last record is left out; Optuna's own file backend would create and lock files.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from minbert.errors import UserError
from minbert.files.journalled import Damaged, impossible, records

STUDY_NAME = "study"


class _Snapshot(BaseJournalBackend):
    """The records of a journal file as it stood at one moment."""

    def __init__(self, path: Path) -> None:
        self._records = [record for _, record in records(path)]
        self.line = 0
        """Number of the line that was handed out last."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        for line, record in enumerate(self._records[log_number_from:], start=log_number_from + 1):
            self.line = line
            yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise PermissionError("a study that is being read cannot be written")


def read_trials(path: Path) -> list[FrozenTrial]:
    """Return the trials of the journal at ``path``, by number; none when it does not exist yet.

    Trials that were abandoned while they were being asked are left out.

    Raises:
        UserError: the journal cannot be read, more than its last record is damaged, or what it says of a trial
            cannot be.
    """
    try:
        snapshot = _Snapshot(path)
    except Damaged as damaged:
        raise UserError(damaged.advice) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the journal storage is stable; its warnings are noise to a reader
        try:
            trials = _trials(JournalStorage(snapshot))
        except Exception as error:  # the storage checks no record: what lacks a field may raise anything
            raise UserError(
                f"{path}:{snapshot.line}: damaged (not a record of Optuna's: {error!r})"
            ) from None
    for trial in trials:
        complete = trial.state is TrialState.COMPLETE
        if said := impossible(complete, trial.values, trial.intermediate_values, trial.user_attrs):
            raise UserError(f"{path}: damaged: of trial {trial.number}: {said}")
    return trials


def _trials(storage: JournalStorage) -> list[FrozenTrial]:
    for study in storage.get_all_studies():
        if study.study_name == STUDY_NAME:
            found = storage.get_all_trials(study._study_id, deepcopy=False)
            kept = [trial for trial in found if not trial.user_attrs.get("abandoned")]
            return sorted(kept, key=lambda trial: trial.number)
    return []
