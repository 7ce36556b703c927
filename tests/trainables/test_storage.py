"""Storage that is full, read-only, broken, frozen or gone: one line, nothing lost, and the same command goes on."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest

from minbert import command_line
from tests.needing_root import cannot_run
from tests.trainables.commands import SMALL, start_search
from tests.trainables.disks import Disk, call, why_no_disks
from tests.trainables.studies import (
    attempts,
    counted,
    folder_of,
    history,
    predictions,
    repeat,
    state_names,
    wait_until,
    wait_until_all_end,
    weights,
)
from trainables.spaces.runs import RUN

ROOM_FOR_A_START, ROOM = "size=14m", "size=200m"
SPACE = """\
description: Two trials whose storage fails
search: {design: listed}
runs: {mean: {}, cls: {set: {pooling: cls}}}
stages: {finetune: {epochs: 4, epoch_examples: 120}}
"""
ONE_TRIAL = """\
description: A trial whose storage fails
search: {design: listed}
runs: {mean: {}}
stages: {finetune: {epochs: 4, epoch_examples: 120}}
"""
OPTIONS = ("--set", "device=cpu", "--set", "precision=fp32", "--max-concurrent", "2")
FROZEN_SECONDS = 15
_HANG = 240
pytestmark = pytest.mark.chaos


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own that is full after a few models."""
    folder = tmp_path / "small"
    folder.mkdir()
    if why_no_disks() or not call("mount", "-t", "tmpfs", "-o", ROOM_FOR_A_START, "tmpfs", folder):
        cannot_run(why_no_disks() or "no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk that can be broken."""
    made = None if why_no_disks() else Disk.make(tmp_path)
    if made is None:
        cannot_run(why_no_disks() or "no disk can be mounted here: is there a loop device?")
    yield made
    made.thaw()
    while made.folder.is_mount():
        made.unmount()


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def ends(folder: Path, study: Path, space: Path) -> tuple[int, str, str]:
    """One start of the search: its exit code, output and errors."""
    process = start_search(folder, *OPTIONS, "--study", str(study), space=space)
    output, errors = process.communicate(timeout=_HANG)
    return process.returncode, output, errors


def start_and_reach_a_second_epoch(folder: Path, study: Path, space: Path) -> subprocess.Popen[str]:
    """A line may be seen before it is on the disk; once the next one is there, it must be."""
    process = start_search(folder, *OPTIONS, "--study", str(study), space=space)
    records = folder_of(study, 0) / "history.jsonl"
    wait_until(lambda: records.is_file() and records.read_bytes().count(b"\n") >= 2, process)
    return process


def assert_as_if_undisturbed(study: Path, out: Path, *runs: str) -> None:
    """Every trial is there once and is what it would have been alone."""
    trials = counted(study)
    assert sorted(trial.params[RUN] for trial in trials) == [*runs]
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    for trial in trials:
        folder = folder_of(study, trial.number)
        alone = repeat(folder, out / f"alone-{trial.number}")
        assert history(folder) == history(alone)
        assert weights(folder) == weights(alone) != {}
        assert predictions(folder) == predictions(alone) != {}


def assert_one_line(errors: str) -> None:
    assert errors.startswith("error: ") and errors.count("\n") == 1, errors


def test_a_search_on_a_full_disk_ends_in_one_line_and_goes_on_once_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    command = ("--trials", "3", *SMALL, "--study", str(small_disk / "study"))
    process = start_search(tmp_path, *command)
    _, errors = process.communicate(timeout=_HANG)
    assert process.returncode == 3, errors
    assert_one_line(errors)
    assert "No space left on device; what was finished is kept" in errors
    assert "FAIL" not in state_names(small_disk / "study")
    filling = small_disk / "filling"
    with pytest.raises(OSError, match="No space"), filling.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    process = start_search(tmp_path, *command)
    _, errors = process.communicate(timeout=_HANG)
    assert (process.returncode, errors.count("\n")) == (3, 1), errors
    assert "No space left on device; what was finished is kept" in errors
    filling.unlink()
    assert call("mount", "-o", f"remount,{ROOM}", small_disk)
    process = start_search(tmp_path, *command)
    _, errors = process.communicate(timeout=_HANG)
    assert (process.returncode, errors) == (0, "")
    states = state_names(small_disk / "study")
    assert len(states) == 3 and set(states) <= {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize(
    ("fail", "reasons", "content", "runs"),
    [
        (Disk.become_read_only, ("Read-only file system",), ONE_TRIAL, ["mean"]),
        (Disk.lose_power, ("Input/output error",), ONE_TRIAL, ["mean"]),
        (Disk.unmount, ("No such file or directory", "is no longer there"), SPACE, ["cls", "mean"]),
    ],
    ids=["read-only", "without power", "gone"],
)
def test_a_search_whose_disk_fails_ends_in_one_line_and_goes_on_once_it_is_back(
    disk: Disk,
    tmp_path: Path,
    space: Path,
    fail: Callable[[Disk], None],
    reasons: tuple[str, ...],
    content: str,
    runs: list[str],
) -> None:
    study = disk.folder
    space.write_text(content)
    process = start_and_reach_a_second_epoch(tmp_path, study, space)
    fail(disk)
    output, errors = process.communicate(timeout=_HANG)
    assert process.returncode == 3, output + errors
    assert_one_line(errors)
    assert any(f"{reason}; what was finished is kept" in errors for reason in reasons), errors
    wait_until_all_end(tmp_path)
    if disk.folder.is_mount():
        disk.unmount()
    assert not list(disk.folder.iterdir()), "something was written below the mount point"
    assert disk.mount()
    states = state_names(study)
    assert "RUNNING" in states and set(states) <= {"RUNNING", "COMPLETE"}
    kept = history(folder_of(study, 0))
    assert kept
    assert ends(tmp_path, study, space)[::2] == (0, "")
    assert history(folder_of(study, 0))[: len(kept)] == kept
    assert_as_if_undisturbed(study, tmp_path, *runs)


def test_a_search_whose_disk_does_not_answer_for_a_while_waits_and_loses_nothing(
    disk: Disk, tmp_path: Path, space: Path
) -> None:
    study = disk.folder
    process = start_and_reach_a_second_epoch(tmp_path, study, space)
    disk.freeze()
    before = [history(folder_of(study, number)) for number in range(2)]
    time.sleep(FROZEN_SECONDS)
    assert process.poll() is None
    assert [history(folder_of(study, number)) for number in range(2)] == before
    assert disk.thaw()
    output, errors = process.communicate(timeout=_HANG)
    assert (process.returncode, errors) == (0, ""), output
    assert_as_if_undisturbed(study, tmp_path, "cls", "mean")
    assert [len(attempts(folder_of(study, number))) for number in range(2)] == [1, 1]


def run(folder: Path, *command: str | Path) -> tuple[int, str]:
    """A command's exit code and errors."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=_HANG,
    )  # fmt: skip
    return done.returncode, done.stderr


def refused(module: str, *arguments: str | Path) -> tuple[int, str]:
    """The same in this process, for what ends before anything is begun."""
    errors = StringIO()
    with (
        patch.object(sys, "argv", [module, *map(str, arguments)]),
        redirect_stdout(StringIO()),
        redirect_stderr(errors),
    ):
        code = command_line.run(importlib.import_module(module).main)
    return code, errors.getvalue()


def test_on_a_read_only_disk_every_command_says_so_and_ends(
    disk: Disk, tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, config = disk.folder / "study", tmp_path / "config.yaml"
    config.write_text("stages: {finetune: {epochs: 1, epoch_examples: 48}}\n")
    space.write_text(ONE_TRIAL)
    command = ("trainables.search", "--space", space, *OPTIONS, "--study")
    short = ("--set", "stages.finetune.epochs=1", "--set", "stages.finetune.epoch_examples=48")
    assert run(tmp_path, *command, study, *short) == (0, "")
    assert run(tmp_path, "minbert.train", "--config", config, "--out", disk.folder / "run") == (0, "")
    there = sorted(disk.folder.rglob("*"))
    assert call("mount", "-o", "remount,ro", disk.folder)
    refusals = {
        "a new study": (*command, disk.folder / "new"),
        "a study to be continued": (*command, study, *short),
        "a new run": ("minbert.train", "--config", config, "--out", disk.folder / "new"),
        "a run to be continued": ("minbert.train", "--config", config, "--out", disk.folder / "run"),
        "a report": ("analysis.report", study),
    }
    monkeypatch.chdir(tmp_path)
    for name, (module, *arguments) in refusals.items():
        code, errors = refused(str(module), *arguments)
        assert code in (2, 3), f"{name}: {errors}"
        assert_one_line(errors)
        assert str(disk.folder) in errors and ": Read-only file system" in errors, f"{name}: {errors}"
    assert run(tmp_path, "analysis.report", study, "--out", tmp_path / "elsewhere") == (0, "")
    assert sorted(disk.folder.rglob("*")) == there


@pytest.fixture
def full_scratch() -> Iterator[Path]:
    """A full disk for Ray's files, by a name that is short enough for its sockets."""
    folder = Path(tempfile.mkdtemp(prefix="mb"))
    if why_no_disks() or not call("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder):
        cannot_run(why_no_disks() or "no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def test_a_full_scratch_disk_of_rays_is_named(full_scratch: Path, space: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    process = start_search(
        tmp_path,
        *(*OPTIONS, "--study", str(study)),
        space=space,
        within=("env", f"RAY_TMPDIR={full_scratch}"),
    )
    output, errors = process.communicate(timeout=_HANG)
    assert process.returncode == 3, output
    named = f"error: RAY_TMPDIR {full_scratch}: its disk is full: make room there, or set RAY_TMPDIR to a folder with more"
    assert errors == f"{named}; nothing was lost, the same command tries again\n"
    assert not study.exists()
