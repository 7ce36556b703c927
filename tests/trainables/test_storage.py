"""A disk that is full: the search ends with one line, and goes on once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainables.commands import SMALL, start_search
from tests.trainables.studies import state_names

ROOM_FOR_A_START, ROOM = "size=14m", "size=200m"


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own that is full after a few models."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or not shutil.which("mount")
        or not mount("-t", "tmpfs", "-o", ROOM_FOR_A_START, "tmpfs", str(folder))
    ):
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.chaos
def test_a_search_on_a_full_disk_ends_in_one_line_and_goes_on_once_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    command = ("--trials", "3", *SMALL, "--study", str(small_disk / "study"))
    process = start_search(tmp_path, *command)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 3, errors
    assert errors.startswith("error: ") and errors.count("\n") == 1, errors
    assert "No space left on device; what was finished is kept" in errors
    assert "FAIL" not in state_names(small_disk / "study")
    assert mount("-o", f"remount,{ROOM}", str(small_disk))
    process = start_search(tmp_path, *command)
    _, errors = process.communicate(timeout=240)
    assert (process.returncode, errors) == (0, "")
    states = state_names(small_disk / "study")
    assert len(states) == 3 and set(states) <= {"COMPLETE", "PRUNED"}
