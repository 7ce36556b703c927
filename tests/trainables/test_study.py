"""What drivers that were killed leave in a study folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minbert.errors import UserError
from minbert.files.leftovers import beside
from minbert.stages import LocalStageStore
from trainables.studies.study import StudyFolder, make_folder, read_spec


def test_a_folder_in_which_a_driver_died_before_it_had_described_the_study_is_free(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".study.yaml.4711.tmp").write_text("schema_ver")
    (tmp_path / ".seen.host.4711.01234567.token").touch()
    assert read_spec(tmp_path) is None
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="not empty and holds no study"):
        read_spec(tmp_path)


def test_what_killed_drivers_left_half_done_is_removed_and_the_rest_stays(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "study", {"schema_version": 1})
    kept = [folder.stages / "key", folder.path / "corpus" / "key", folder.trial(0) / "checkpoint"]
    left = [
        abandoned(folder.stages / "key"),
        beside(folder.path / "corpus" / "key", "old"),
        folder.path / "tune" / "1",
    ]
    for path in (*kept, *left):
        path.mkdir(parents=True)
    beside(folder.path / "study.yaml", "tmp").touch()
    abandoned(folder.stages / "key.failure.json").touch()
    (folder.path / ".seen.another-host-than-this.1.00000000.token").touch()  # the lock is held: nobody's
    abandoned(folder.stages / "seen", "token").touch()
    folder.clear_leftovers()
    assert all(path.is_dir() for path in kept)
    assert not any(path.exists() for path in left)
    assert not [*folder.path.glob(".*"), *folder.stages.glob(".*")]


def test_what_a_living_search_has_half_done_in_a_shared_store_stays(tmp_path: Path) -> None:
    """Its process lives here, or may live on another host."""
    store = tmp_path / "store"
    elsewhere = store / ".key.another-host-than-this.1.00000000.tmp"
    living = [beside(store / "key", "tmp"), beside(store / "key", "old"), elsewhere]
    for path in (*living, abandoned(store / "key"), store / "key"):
        path.mkdir(parents=True)
    tokens = [store / ".seen.another-host-than-this.1.00000000.token", beside(store / "seen", "token")]
    for path in tokens:
        path.touch()
        os.utime(path, (0, 0))  # searches may run for weeks
    folder = make_folder(tmp_path / "study", {"schema_version": 1})
    folder.clear_leftovers(store)
    assert sorted(store.iterdir()) == sorted([*living, *tokens, store / "key"])
    os.utime(elsewhere, (0, 0))
    folder.clear_leftovers(store)
    assert not elsewhere.exists()


def test_a_number_that_no_process_can_have_is_nobodys(tmp_path: Path) -> None:
    mine = beside(tmp_path / "key", "tmp")
    planted = mine.with_name(mine.name.replace(f".{os.getpid()}.", f".{20 * '9'}."))
    planted.mkdir()
    StudyFolder(tmp_path / "study", {}).clear_leftovers(tmp_path)
    assert not planted.exists()


def test_what_is_somebody_elses_stays_however_old_it_is(tmp_path: Path) -> None:
    store = tmp_path / "store"
    theirs = [store / ".config.old" / "thesis.txt", store / ".notes.tmp", store / "project" / "manifest.json"]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    for path in sorted(store.rglob("*")):
        os.utime(path, (0, 0))
    make_folder(tmp_path / "study", {"schema_version": 1}).clear_leftovers(store)
    assert LocalStageStore(store).collect(0) == 0
    assert [path.read_text() for path in theirs] == 3 * ["theirs"]


def abandoned(target: Path, ending: str = "tmp") -> Path:
    """What a process that is dead was about to put in a place, or kept beside it."""
    script = f"from pathlib import Path; from minbert.files.leftovers import beside; print(beside(Path({str(target)!r}), {ending!r}))"
    return Path(
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout.strip()
    )


def test_a_new_folder_has_nothing_to_clear(tmp_path: Path) -> None:
    StudyFolder(tmp_path / "study", {}).clear_leftovers()
    assert not (tmp_path / "study").exists()


def test_what_a_killed_worker_left_half_done_goes_with_its_trials_files(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, {})
    left = [".checkpoint.host.1.ab.tmp", ".best.host.1.ab.old", "checkpoint", "best", "predictions"]
    for name in left:
        (folder.trial(0) / name).mkdir(parents=True)
    folder.drop(0, model=False)
    assert {path.name for path in folder.trial(0).iterdir()} == {".best.host.1.ab.old", "best", "predictions"}
    folder.drop(0, model=True)
    assert {path.name for path in folder.trial(0).iterdir()} == {"predictions"}
