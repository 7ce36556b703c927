"""What drivers that were killed leave in a study folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.errors import UserError
from trainables.study import StudyFolder, make_folder, read_spec


def test_a_folder_in_which_a_driver_died_before_it_had_described_the_study_is_free(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".study.yaml.4711.tmp").write_text("schema_ver")
    assert read_spec(tmp_path) is None
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="not empty and holds no study"):
        read_spec(tmp_path)


def test_what_killed_drivers_left_half_done_is_removed_and_the_rest_stays(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "study", {"schema_version": 1})
    kept = [folder.stages / "key", folder.path / "corpus" / "key", folder.trial(0) / "checkpoint"]
    left = [folder.stages / ".key.12.tmp", folder.path / "corpus" / ".key.12.old", folder.path / "tune" / "1"]
    for path in (*kept, *left):
        path.mkdir(parents=True)
    (folder.path / ".study.yaml.12.tmp").touch()
    folder.clear_leftovers()
    assert all(path.is_dir() for path in kept)
    assert not any(path.exists() for path in left)
    assert not list(folder.path.glob(".*"))


def test_a_new_folder_has_nothing_to_clear(tmp_path: Path) -> None:
    StudyFolder(tmp_path / "study", {}).clear_leftovers()
    assert not (tmp_path / "study").exists()
