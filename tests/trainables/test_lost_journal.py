"""A journal that lost its end gives no trial the files of another one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from minbert.errors import UserError
from tests.trainables.commands import SMALL, start_search
from tests.trainables.studies import counted, folder_of, history
from trainables.studies.journal import JOURNAL, refuse_lost_journal
from trainables.studies.study import StudyFolder

COMMAND = ("--trials", "2", *SMALL, "--set", "device=cpu", "--set", "precision=fp32")


def search(folder: Path, *more: str) -> tuple[int, str, str]:
    process = start_search(folder, *COMMAND, *more)
    output, errors = process.communicate(timeout=240)
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert search(folder)[0] == 0
    return folder / "results" / "small_ablation"


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "results" / "small_ablation"))


@pytest.mark.long
def test_folders_of_trials_that_the_journal_lost_are_set_aside_and_nothing_of_them_is_used(
    study: Path, tmp_path: Path
) -> None:
    before = history(folder_of(study, 1))
    lines = (study / JOURNAL).read_bytes().splitlines(keepends=True)
    second = next(place for place, line in enumerate(lines) if place > 2 and b'"op_code": 4' in line)
    (study / JOURNAL).write_bytes(b"".join([*lines[:second], lines[second][:30]]))
    (folder_of(study, 1) / "config.yaml").write_text(
        (folder_of(study, 1) / "config.yaml").read_text().replace("seed: ", "seed: 1")
    )
    code, output, errors = search(tmp_path)
    assert (code, errors) == (0, "")
    assert "the last record is not whole; what it said is done again" in output
    assert "trials 00001: not in the journal, which lost its end; moved to" in output
    assert history(study / "set_aside" / "00001") == before
    for trial in counted(study):
        config: dict[str, Any] = yaml.safe_load((folder_of(study, trial.number) / "config.yaml").read_text())
        assert config["seed"] == trial.user_attrs["seed"]
        assert {record["of"] for record in history(folder_of(study, trial.number)) if "of" in record} <= {
            f"{trial.user_attrs['config_id']} {config['seed']}"
        }


@pytest.mark.long
def test_a_study_without_its_journal_is_not_begun_anew(study: Path, tmp_path: Path) -> None:
    (study / JOURNAL).unlink()
    files = sorted(path for path in study.rglob("*") if path.is_file())
    code, _, errors = search(tmp_path)
    assert code == 2
    assert f"{JOURNAL}: is gone, but trials/ holds 2 trials" in errors and errors.count("\n") == 1
    code, _, errors = search(tmp_path, "--fork", str(tmp_path / "new"))
    assert code == 2
    assert f"{JOURNAL}: is gone" in errors and errors.count("\n") == 1
    assert not (tmp_path / "new").exists()
    assert sorted(path for path in study.rglob("*") if path.is_file()) == files


@pytest.mark.long
def test_a_journal_of_zeros_and_one_that_says_nonsense_are_refused_and_nothing_is_written(
    study: Path, tmp_path: Path
) -> None:
    whole = (study / JOURNAL).read_bytes()
    metrics = b'{"op_code": 8, "worker_id": "x", "trial_id": 0, "user_attr": {"metrics": 3.5}}\n'
    ended = next(line for line in whole.splitlines(keepends=True) if b'"values": [' in line)
    before = whole[: whole.index(ended)]  # nothing more is said of a trial that has ended
    for harmed, said in (
        (bytes(len(whole)), f"{JOURNAL}:1: damaged "),
        (before + metrics, f"{JOURNAL}: damaged: of trial 0: its metrics is 3.5"),
    ):
        (study / JOURNAL).write_bytes(harmed)
        trials = sorted(path for path in (study / "trials").rglob("*") if path.is_file())
        code, _, errors = search(tmp_path)
        assert code == 2, errors
        assert said in errors and errors.count("\n") == 1
        assert (study / JOURNAL).read_bytes() == harmed and not (study / "set_aside").exists()
        assert sorted(path for path in (study / "trials").rglob("*") if path.is_file()) == trials


@pytest.mark.long
def test_trials_are_not_computed_otherwise_than_earlier_ones(study: Path, tmp_path: Path) -> None:
    file = study / "study.yaml"
    changed = file.read_text().replace("\nthreads: 1\n", "\nthreads: 2\n")
    file.write_text(changed)
    code, _, errors = search(tmp_path)
    assert code == 2, errors
    assert "study.yaml: damaged: its first line says another content" in errors and errors.count("\n") == 1
    unsealed = changed.partition("\n")[2]
    file.write_text(unsealed)
    for more in ((), ("--trials", "4"), ("--dry-run", "--seconds-per-trial", "1")):
        code, _, errors = search(tmp_path, *more)
        assert code == 2, errors
        assert "threads is 2, but that of the trials in journal.log is 1" in errors
        assert file.read_text() == unsealed


@pytest.mark.long
def test_the_journal_of_another_study_is_refused(study: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    process = start_search(other, *COMMAND, "--seed", "3", "--time-budget", "1")
    process.communicate(timeout=240)
    shutil.copy(other / "results" / "small_ablation" / JOURNAL, study / JOURNAL)
    before = (study / "study.yaml").read_bytes()
    code, _, errors = search(tmp_path)
    assert code == 2
    assert "seed is 0, but that of the trials in journal.log is 3" in errors and errors.count("\n") == 1
    assert (study / "study.yaml").read_bytes() == before


@pytest.mark.long
def test_a_folder_whose_trial_the_journal_knows_only_in_part_is_set_aside(
    study: Path, tmp_path: Path
) -> None:
    lines = (study / JOURNAL).read_bytes().splitlines(keepends=True)
    whole = [place for place, line in enumerate(lines) if b'"config_id"' in line]
    (study / JOURNAL).write_bytes(b"".join(lines[: whole[1]]))
    code, output, errors = search(tmp_path)
    assert (code, errors) == (0, "")
    assert "trials 00001: not in the journal, which lost its end; moved to" in output
    assert len(counted(study)) == 2 and not (study / "trials" / "00001").exists()


def test_what_is_set_aside_twice_stays_both_times(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, {})
    for text in ("first", "second"):
        folder.trial(3).mkdir(parents=True)
        (folder.trial(3) / "error.txt").write_text(text)
        assert folder.set_aside({0, 1, 2}) == ["00003"]
    assert folder.set_aside({0, 1, 2}) == []
    assert {path.read_text() for path in tmp_path.glob("set_aside/*/error.txt")} == {"first", "second"}


def test_a_study_that_has_no_trials_yet_needs_no_journal(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    refuse_lost_journal(tmp_path)
    (tmp_path / "trials" / "00000").mkdir()
    (tmp_path / JOURNAL).touch()
    with pytest.raises(UserError, match="is gone, but trials/ holds 1 trial, "):
        refuse_lost_journal(tmp_path)
