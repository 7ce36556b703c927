"""One driver a study: real processes that hold it, are refused, and die."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest
from optuna.study import StudyDirection

from minbert.errors import UserError
from minbert.remote.journal_segments import TakenOver
from tests.no_room import no_room
from tests.trainables.commands import SMALL, start_search
from tests.trainables.studies import state_names, wait_until
from tests.trainables.test_interrupts import LONG
from trainables.studies.journal import JOURNAL, open_journal
from trainables.studies.locks import LOCK, held, locked, still_held

HOLD = """\
import sys, time
from pathlib import Path
from trainables.studies.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder that has a study, whose lock a refused start leaves alone."""
    folder = tmp_path / "results" / "small_ablation"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text("schema_version: 1\n")
    return folder


@contextmanager
def holding(study: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(study)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def holder(study: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the study."""
    with holding(study) as process:
        yield process


def test_a_second_search_is_refused_in_one_line_that_names_host_and_process(
    holder: subprocess.Popen[str], study: Path, tmp_path: Path
) -> None:
    before = sorted((path, path.read_bytes()) for path in study.iterdir())
    second = start_search(tmp_path, *SMALL)
    _, errors = second.communicate(timeout=120)
    place = "results/small_ablation"
    owner = f"host {socket.gethostname()}, process {holder.pid}"
    assert second.returncode == 2
    assert errors == f"error: --study {place}: in use by another search ({owner})\n"
    assert sorted((path, path.read_bytes()) for path in study.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_holds_nothing(
    holder: subprocess.Popen[str], study: Path, number: int
) -> None:
    holder.send_signal(number)
    holder.wait()
    assert f"process {holder.pid}" in (study / LOCK).read_text()
    with locked(study):
        assert f"process {os.getpid()}" in (study / LOCK).read_text()


def test_a_study_on_a_full_disk_can_be_held_to_be_read(study: Path) -> None:
    (study / LOCK).touch()
    with no_room(study / LOCK, 1), held(study):
        assert len((study / LOCK).read_text()) <= 1


@pytest.mark.parametrize("hold", [held, locked])
@pytest.mark.parametrize(("number", "raised"), [(errno.ENOLCK, UserError), (errno.EIO, OSError)])
def test_storage_that_cannot_lock_is_told_with_the_file(
    study: Path, monkeypatch: pytest.MonkeyPatch, hold: Any, number: int, raised: type[Exception]
) -> None:
    def refuses(file: object, kind: int) -> None:
        raise OSError(number, os.strerror(number))

    (study / LOCK).touch()
    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(raised) as caught, hold(study):
        pass
    told = caught.value.filename if isinstance(caught.value, OSError) else str(caught.value)
    assert told in (str(study / LOCK), f"--study {study}: cannot be locked: {os.strerror(number)}")


def test_a_full_disk_names_the_lock_that_cannot_be_written(study: Path) -> None:
    (study / LOCK).touch()
    with no_room(study / LOCK, 0), pytest.raises(OSError, match="File too large") as caught, locked(study):
        pass
    assert caught.value.filename == str(study / LOCK)


def test_a_lock_is_free_again_after_it_was_held(study: Path) -> None:
    for _ in range(2):
        with locked(study):
            pass


def test_one_process_holds_a_study_once(study: Path) -> None:
    with locked(study), pytest.raises(UserError, match=f"process {os.getpid()}"), locked(study):
        pass


def test_a_start_that_is_refused_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="refused"), locked(tmp_path / "new" / "study"):
        raise UserError("refused")
    assert list(tmp_path.iterdir()) == []


def test_a_file_removed_before_it_could_be_locked_is_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that is refused in a new folder takes its file away, maybe under another one's feet."""
    study, flock = tmp_path / "study", fcntl.flock

    def after_another_removed_it(file: TextIO, how: int) -> None:
        monkeypatch.undo()
        (study / LOCK).unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", after_another_removed_it)
    with locked(study), pytest.raises(UserError, match="in use"), locked(study):
        pass


def test_a_study_that_was_only_read_keeps_its_lock_as_it_was(study: Path) -> None:
    (study / LOCK).write_text("host elsewhere, process 12")
    with held(study):
        assert f"process {os.getpid()}" in (study / LOCK).read_text()
    assert (study / LOCK).read_text() == "host elsewhere, process 12"


def test_a_lock_whose_file_was_removed_is_made_again_before_the_journal_is_written(study: Path) -> None:
    with locked(study):
        journal = open_journal(study)
        (study / LOCK).unlink()
        journal.create_new_study([StudyDirection.MAXIMIZE], "study")
        assert f"process {os.getpid()}" in (study / LOCK).read_text()
        second = subprocess.run(
            [sys.executable, "-c", HOLD, str(study)], capture_output=True, text=True, check=False
        )
        assert (
            f"in use by another search (host {socket.gethostname()}, process {os.getpid()})" in second.stderr
        )
    with locked(study):
        pass


def test_a_driver_whose_lock_was_removed_and_taken_writes_nothing_more(study: Path) -> None:
    with locked(study):
        journal = open_journal(study)
        journal.create_new_study([StudyDirection.MAXIMIZE], "study")
        before = (study / JOURNAL).read_bytes()
        (study / LOCK).unlink()
        with holding(study), pytest.raises(TakenOver):
            journal.create_new_study([StudyDirection.MAXIMIZE], "another")
        with pytest.raises(TakenOver):  # that one is gone, and left its file
            journal.create_new_study([StudyDirection.MAXIMIZE], "another")
        assert (study / JOURNAL).read_bytes() == before


def test_a_copy_in_the_place_of_the_locks_file_is_locked_again(study: Path) -> None:
    """As tools that bring folders into step leave it."""
    with locked(study):
        shutil.copy(study / LOCK, study / "copy")
        (study / "copy").replace(study / LOCK)
        still_held(study)
        with pytest.raises(UserError, match=f"process {os.getpid()}"), locked(study):
            pass


def test_a_reader_who_came_while_the_lock_was_removed_takes_nothing_over(study: Path) -> None:
    with locked(study):
        (study / LOCK).unlink()
        with held(study):
            still_held(study)
        still_held(study)
        with pytest.raises(UserError, match=f"process {os.getpid()}"), locked(study):
            pass


@pytest.mark.chaos
def test_a_search_whose_lock_is_removed_is_alone_all_the_same(tmp_path: Path) -> None:
    study = tmp_path / "results" / "small_ablation"
    first = start_search(tmp_path, *LONG)
    wait_until(lambda: any(study.glob("trials/*/history.jsonl")), first)
    (study / LOCK).unlink()
    wait_until((study / LOCK).exists, first)
    refused = start_search(tmp_path, *LONG)
    _, errors = refused.communicate(timeout=120)
    assert (refused.returncode, errors.count("\n")) == (2, 1), errors
    assert f"process {first.pid}" in errors

    first.send_signal(signal.SIGSTOP)
    (study / LOCK).unlink()
    second = start_search(tmp_path, *LONG)
    wait_until(lambda: f"process {second.pid}" in told_owner(study), second)
    begun = len(list(study.glob("trials/*/attempts/*")))
    wait_until(lambda: len(list(study.glob("trials/*/attempts/*"))) > begun, second)
    first.send_signal(signal.SIGCONT)
    output, errors = first.communicate(timeout=120)
    assert (first.returncode, errors.count("\n")) == (3, 1), output + errors
    assert "another search has taken the study over; this one ends" in errors
    second.send_signal(signal.SIGTERM)
    output, errors = second.communicate(timeout=120)
    assert (second.returncode, errors) == (130, ""), output
    assert set(state_names(study)) == {"RUNNING"}


def told_owner(study: Path) -> str:
    return (study / LOCK).read_text() if (study / LOCK).exists() else ""
