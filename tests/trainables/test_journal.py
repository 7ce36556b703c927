"""The journal's checksums: damage is found, a tail is mended, half a record is never left behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import optuna
import pytest

from analysis.journal import read_trials
from minbert.errors import UserError
from trainables.journal import JOURNAL, good_length, open_journal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal of three finished trials."""
    study = optuna.create_study(storage=open_journal(tmp_path), study_name="study")
    for value in (0.1, 0.2, 0.3):
        trial = study.ask()
        trial.set_user_attr("config_id", f"c{value}")
        study.tell(trial, value)
    return tmp_path


def values(folder: Path) -> list[float | None]:
    return [trial.value for trial in read_trials(folder / JOURNAL)]


def flip(path: Path, at: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)


def test_optunas_own_backend_reads_it(folder: Path) -> None:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL))
    study = optuna.load_study(study_name="study", storage=optuna.storages.JournalStorage(backend))
    assert [trial.value for trial in study.trials] == values(folder) == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("harm", ["torn", "flipped"])
def test_a_damaged_tail_loses_its_last_record_alone(folder: Path, harm: str) -> None:
    path = folder / JOURNAL
    size, whole = good_length(folder), path.read_bytes()
    last = whole.rfind(b"\n", 0, -1) + 1
    if harm == "torn":
        path.write_bytes(whole[:-5])
    else:
        flip(path, last + 10)
    assert size == len(whole) and good_length(folder) == last
    storage = open_journal(folder)
    assert path.read_bytes() == whole[:last]
    states = [trial.state.name for trial in storage.get_all_trials(0)]
    assert states == ["COMPLETE", "COMPLETE", "RUNNING"]


def test_every_flipped_byte_before_the_tail_is_refused_or_harmless(folder: Path) -> None:
    path, whole, known = folder / JOURNAL, (folder / JOURNAL).read_bytes(), values(folder)
    last = whole.rfind(b"\n", 0, -1) + 1
    refused = 0
    for at in range(0, last - 1, 3):
        flip(path, at)
        try:
            good_length(folder)
            assert values(folder) == known  # only the name of a seal was hit
        except UserError as error:
            assert f"{path}:" in str(error) or "line" in str(error)
            refused += 1
        path.write_bytes(whole)
    assert refused > last // 3 * 0.8


def test_a_record_that_does_not_fit_on_the_disk_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = folder / JOURNAL, (folder / JOURNAL).read_bytes()
    study = optuna.load_study(study_name="study", storage=open_journal(folder))
    real = os.fsync

    def full(number: int) -> None:
        real(number)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        study.ask()
    assert path.read_bytes() == before
    monkeypatch.setattr(os, "fsync", real)
    study.ask()
    assert good_length(folder) == path.stat().st_size > len(before)


def test_a_journal_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert good_length(tmp_path) == 0
    assert open_journal(tmp_path).get_all_studies() == []


def test_a_record_whose_values_are_none_of_optunas_is_refused(folder: Path) -> None:
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    wrong = b'{"op_code": 4, "worker_id": "x", "study_id": 0, "datetime_start": 3}\n'
    (folder / JOURNAL).write_bytes(b"".join([lines[0], wrong, *lines[1:]]))
    with pytest.raises(UserError, match=r"journal\.log: damaged: not a journal of Optuna's"):
        open_journal(folder)
