"""The journal's checksums: damage is found, a tail is mended, half a record is never left behind."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from analysis import ablation_page, ensemble, errors, report
from analysis.journal import read_trials
from minbert.command_line import EXIT_USER, run
from minbert.errors import UserError
from minbert.files.sealed import sealed_line
from tests.trainables.permissions import held_to_permissions
from trainables.chosen_space import best_of
from trainables.studies import journal
from trainables.studies.journal import CUT, JOURNAL, good_length, open_journal
from trainables.watching.study_state import read_state

EXAMPLE = Path(ablation_page.__file__).with_name("notebooks") / "example_study"


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


def test_any_bit_of_the_last_record_that_is_another_loses_that_record_alone(folder: Path) -> None:
    path = folder / JOURNAL
    whole = path.read_bytes()
    last = whole.rfind(b"\n", 0, -1) + 1
    for bit in range(8 * last, 8 * (len(whole) - 1)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert good_length(folder) == last, bytes(changed[last:])


@pytest.mark.parametrize("whole_lines", [0, 1, 5])
@pytest.mark.parametrize("byte", [b"\0", b"\x9c\x07", b"x"])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_block_of_damage_at_the_end_is_refused_by_every_reader_and_nothing_is_written(
    folder: Path, whole_lines: int, byte: bytes, end: bytes
) -> None:
    path = folder / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    lost = len(b"".join(lines[whole_lines:])) // len(byte)
    harmed = b"".join([*lines[:whole_lines], byte * lost, end])
    path.write_bytes(harmed)
    said = f"{path}:{whole_lines + 1}: damaged (more than the last record)"
    for read in (lambda: open_journal(folder), lambda: read_trials(path)):
        with pytest.raises(UserError, match=re.escape(said)):
            read()
    assert journal.read_trials(folder)[1] == said
    assert path.read_bytes() == harmed and [entry.name for entry in folder.iterdir()] == [JOURNAL]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_no_command_uses_a_study_whose_journal_lost_many_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end: bytes
) -> None:
    study = shutil.copytree(EXAMPLE, tmp_path / "study")
    path, whole = study / JOURNAL, (study / JOURNAL).read_bytes()
    kept = whole[: len(whole) * 6 // 10]
    noise = np.random.default_rng(0).integers(128, 256, len(whole) - len(kept), np.uint8)
    path.write_bytes(kept + noise.tobytes() + end)
    line = kept.count(b"\n") + 1
    said = f"{path}:{line}: damaged (more than the last record)"
    for command in (
        partial(report.main, [str(study)]),
        partial(ensemble.main, [str(study), "--out", str(tmp_path / "out")]),
        partial(errors.main, [str(study)]),
        partial(ablation_page.main, [str(study)]),
    ):
        assert run(command) == EXIT_USER
        told = capsys.readouterr()
        assert told.out == "" and told.err.startswith(f"error: {said}") and told.err.count("\n") == 1
    with pytest.raises(UserError, match=re.escape(said)):
        best_of(str(study))
    assert read_state(study).damage == said
    assert sorted(each.name for each in tmp_path.iterdir()) == ["study"]


def test_two_records_that_run_into_one_line_are_not_taken_for_a_last_one(folder: Path) -> None:
    path = folder / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:-2], lines[-2].rstrip(b"\n"), lines[-1]]))
    with pytest.raises(UserError, match=rf"journal\.log:{len(lines) - 1}: damaged"):
        good_length(folder)


def test_two_records_in_one_line_are_refused_also_where_a_longer_one_stands_before(tmp_path: Path) -> None:
    records = [{"op_code": 10, "worker_id": "x", "text": text} for text in ("a" * 500, "b", "c")]
    long, first, second = (sealed_line(record) + b"\n" for record in records)
    (tmp_path / JOURNAL).write_bytes(long + first.rstrip(b"\n") + second)
    with pytest.raises(UserError, match=r"journal\.log:2: damaged"):
        good_length(tmp_path)


def test_a_last_record_whose_first_byte_changed_is_one_record(tmp_path: Path) -> None:
    short, long = (
        sealed_line({"op_code": 10, "worker_id": "x", "text": text}) + b"\n" for text in ("a", "b" * 500)
    )
    (tmp_path / JOURNAL).write_bytes(short + b"[" + long[1:])
    assert good_length(tmp_path) == len(short)


def test_zeros_in_the_place_of_one_record_are_cut_and_kept_beside_it(folder: Path) -> None:
    path, whole = folder / JOURNAL, (folder / JOURNAL).read_bytes()
    path.write_bytes(whole + bytes(100))
    for times in (1, 2):
        assert good_length(folder) == len(whole)
        open_journal(folder)
        assert path.read_bytes() == whole
        assert (folder / CUT).read_bytes() == bytes(100 * times)
        path.write_bytes(whole + bytes(100))


def test_a_first_record_that_is_torn_is_cut_only_where_there_are_no_trials(folder: Path) -> None:
    path, torn = folder / JOURNAL, (folder / JOURNAL).read_bytes()[:30]
    path.write_bytes(torn)
    (folder / "trials" / "00000").mkdir(parents=True)
    for read in (lambda: open_journal(folder), lambda: read_trials(path)):
        with pytest.raises(UserError, match=r"journal\.log:1: damaged .*no whole record"):
            read()
    assert path.read_bytes() == torn
    (folder / "trials" / "00000").rmdir()
    open_journal(folder)
    assert path.read_bytes() == b""


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


def test_a_journal_that_is_whole_is_not_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(path: Path, length: int) -> None:
        raise AssertionError(f"{path} was cut")

    monkeypatch.setattr(os, "truncate", cut)
    assert len(open_journal(folder).get_all_trials(0)) == 3


def test_a_journal_that_may_not_be_written_is_refused_in_one_line(folder: Path) -> None:
    (folder / JOURNAL).chmod(0o400)
    with (
        held_to_permissions(),
        pytest.raises(UserError, match=r"journal\.log: cannot be written: Permission denied$"),
    ):
        open_journal(folder)


def test_a_journal_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert good_length(tmp_path) == 0
    assert open_journal(tmp_path).get_all_studies() == []


def test_a_record_whose_values_are_none_of_optunas_is_refused(folder: Path) -> None:
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    wrong = b'{"op_code": 4, "worker_id": "x", "study_id": 0, "datetime_start": 3}\n'
    (folder / JOURNAL).write_bytes(b"".join([lines[0], wrong, *lines[1:]]))
    with pytest.raises(UserError, match=r"journal\.log: damaged: not a journal of Optuna's"):
        open_journal(folder)


IMPOSSIBLE = [
    ({"op_code": 6, "trial_id": 3, "state": 1, "values": []}, "its score is []"),
    ({"op_code": 6, "trial_id": 3, "state": 1, "values": ["high"]}, "its score is ['high']"),
    ({"op_code": 6, "trial_id": 3, "state": 1, "values": None}, "its score is None"),
    ({"op_code": 7, "trial_id": 3, "step": 1, "intermediate_value": "low"}, "its score in epoch 1 is 'low'"),
    ({"op_code": 7, "trial_id": 3, "step": "one", "intermediate_value": 0.5}, "its score in epoch 'one' is"),
    ({"op_code": 8, "trial_id": 3, "user_attr": {"metrics": 3.5}}, "its metrics is 3.5"),
    ({"op_code": 8, "trial_id": 3, "user_attr": {"metrics": {"select/sst": "x"}}}, "its metrics is {"),
    ({"op_code": 8, "trial_id": 3, "user_attr": {"config_id": ["a"]}}, "its config_id is ['a']"),
    ({"op_code": 8, "trial_id": 3, "user_attr": {"replicate": {}}}, "its replicate is {}"),
]


@pytest.mark.parametrize(("record", "said"), IMPOSSIBLE)
def test_a_whole_record_that_says_what_no_search_writes_is_refused_by_every_reader(
    folder: Path, record: dict[str, Any], said: str
) -> None:
    study = optuna.load_study(study_name="study", storage=open_journal(folder))
    study.ask()
    more = {"worker_id": "x", "datetime_complete": "2026-01-01T00:00:00.000000", **record}
    with (folder / JOURNAL).open("ab") as file:
        file.write(json.dumps(more).encode() + b"\n")
    readers = (
        lambda: open_journal(folder),
        lambda: journal.read_trials(folder),
        lambda: read_trials(folder / JOURNAL),
    )
    for read in readers:
        with pytest.raises(UserError, match=re.escape("journal.log: damaged: of trial 3: " + said)):
            read()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: lines[:4] + lines[5:], 5),
        (lambda lines: lines[:2] + lines[5:], 3),
        (lambda lines: lines[1:], 1),
        (lambda lines: lines[:-2] + lines[-1:], -1),
        (lambda lines: lines + lines[3:5], 0),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], 4),
    ],
    ids=[
        "one missing",
        "three missing",
        "the first missing",
        "the last but one missing",
        "two twice",
        "two swapped",
    ],
)
def test_records_that_are_missing_or_stand_elsewhere_are_refused_by_every_reader(
    folder: Path, change: Any, line: int
) -> None:
    path = folder / JOURNAL
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(changed := b"".join(change(whole)))
    said = rf"{re.escape(str(path))}:{line if line > 0 else len(whole) + line + (line == 0)}: damaged \(it should be record"
    for read in (open_journal, good_length, lambda folder: read_trials(folder / JOURNAL)):
        with pytest.raises(UserError, match=said) as refused:
            read(folder)
        assert ("--fork NEW" in str(refused.value)) == (line != 1)
    assert re.match(said, journal.read_trials(folder)[1])
    assert path.read_bytes() == changed


def test_records_of_other_programs_and_older_versions_have_no_number(folder: Path) -> None:
    path = folder / JOURNAL
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["crc"], line["number"]
    older = [sealed_line(line) + b"\n" for line in lines[:4]]
    path.write_bytes(b"".join(older) + json.dumps(lines[4]).encode() + b"\n")
    storage = open_journal(folder)
    for value in (1, 2):
        storage.set_study_user_attr(0, "mine", value)
        with path.open("ab") as file:  # beside a search that is at work
            file.write(json.dumps({**lines[4], "worker_id": "another"}).encode() + b"\n")
    numbers = [json.loads(line).get("number") for line in path.read_text().splitlines()]
    assert numbers == [None] * 5 + [5, None, 6, None]
    assert open_journal(folder).get_study_user_attrs(0) == {"mine": 2}
