"""Whole files of another run are not taken for a run's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from minbert.canonical import stage_key
from minbert.trial import Trial
from tests.minbert.test_trial import MakeConfig, MakeMaterials, assert_same_outcome, history

TAKEN = ["checkpoint", "best", "predictions", "history.jsonl"]


def put(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.rmtree(target)
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


@pytest.mark.parametrize("name", TAKEN)
def test_a_run_that_finds_anothers_files_ends_as_it_would_have(
    name: str, configure: MakeConfig, materials: MakeMaterials, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure()
    whole, made = finish(config, "whole"), materials(tmp_path / "store")
    for folder, each in (("other", config.model_copy(update={"seed": 7})), ("cut", config)):
        begun = Trial(each, made, tmp_path / folder).run()
        next(begun)
        begun.close()  # type: ignore[attr-defined]
    put(tmp_path / "other" / name, tmp_path / "cut" / name)
    for _ in Trial(config, made, tmp_path / "cut").run():
        pass
    assert_same_outcome(whole, tmp_path / "cut")


def test_a_folder_says_what_is_trained_in_it(
    configure: MakeConfig, materials: MakeMaterials, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure()
    whole = finish(config, "whole")
    finish(config.model_copy(update={"seed": 7}), "folder")
    for _ in Trial(config, materials(tmp_path / "store"), tmp_path / "folder").run():
        pass
    assert (tmp_path / "folder" / "config.yaml").read_text() == (whole / "config.yaml").read_text()
    assert_same_outcome(whole, tmp_path / "folder")


def test_entries_of_the_store_under_each_others_keys_are_not_used(
    configure: MakeConfig, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure(stages__simcse__epochs=2)
    whole = finish(config, "whole", "store")
    first, second = (tmp_path / "store" / stage_key(config, "simcse", epochs) for epochs in (1, 2))
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    other = finish(config, "other", "store")
    assert not any(record.get("shared") for record in history(other))
    assert_same_outcome(whole, other)
