"""A trial goes on from what it kept whenever that is whole, and only then."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from minbert.canonical import run_name
from minbert.choice import Choice
from minbert.errors import TrainingFailure
from minbert.files.durable import read_json_lines
from minbert.files.sealed import sealed_line
from minbert.memory_splits import SPLITS, Split
from minbert.trial import Trial
from minbert.trial_log import TrialLog
from tests.minbert.test_trial import (
    MakeConfig,
    MakeMaterials,
    assert_same_model,
    assert_same_outcome,
    flip_a_head,
    flip_a_prediction,
)

STILL = {"stages__finetune__learning_rate": 1e-30, "stages__finetune__weight_decay": 0.0}
"""Of equal scores the first counts: what is kept of it is not written again."""


@pytest.fixture
def begun(configure: MakeConfig, materials: MakeMaterials, tmp_path: Path) -> tuple[Trial, Path]:
    """A trial that was closed after its first epoch, which counts, about to go on; and its folder."""
    config, made, folder = configure(**STILL), materials(tmp_path / "store"), tmp_path / "cut"
    run = Trial(config, made, folder).run()
    next(run)
    run.close()  # type: ignore[attr-defined]
    return Trial(config, made, folder), folder


@pytest.mark.parametrize("name", ["checkpoint", "best", "predictions"])
def test_what_a_crash_left_aside_is_brought_back_and_no_epoch_is_trained_again(
    name: str, begun: tuple[Trial, Path]
) -> None:
    trial, folder = begun
    (folder / name).rename(folder / f".{name}.host.12345.0a1b2c3d.old")
    (folder / f".{name}.host.12345.4e5f6a7b.tmp").mkdir()
    assert [record["epoch"] for record in trial.run()] == [1, 2]
    assert trial.found == 1
    assert not list(folder.glob(".*.*"))


@pytest.mark.parametrize("damage", [flip_a_head, flip_a_prediction])
def test_a_damaged_best_epoch_that_no_later_one_replaces_is_made_again(
    damage: Callable[[Path], None], begun: tuple[Trial, Path], finish: Callable[..., Path]
) -> None:
    trial, folder = begun
    damage(folder)
    list(trial.run())
    assert trial.found == 0
    assert_same_outcome(finish(trial.config, "whole"), folder)


@pytest.mark.parametrize("damage", [flip_a_head, flip_a_prediction])
def test_what_is_damaged_while_a_trial_runs_is_made_again_and_every_epoch_told_once(
    damage: Callable[[Path], None],
    configure: MakeConfig,
    materials: MakeMaterials,
    finish: Callable[..., Path],
    tmp_path: Path,
) -> None:
    config, folder = configure(**STILL, stages__simcse__epochs=2), tmp_path / "damaged"
    told = []
    for record in Trial(config, materials(tmp_path / "store"), folder).run():
        told.append((record["stage"], record["epoch"]))
        if told[-1] == ("finetune", 1):
            damage(folder)
    assert told == [("simcse", 1), ("simcse", 2), ("finetune", 1), ("finetune", 2)]
    assert_same_model(finish(config, "whole"), folder)
    log = read_json_lines(folder / "history.jsonl")
    assert [(record["stage"], record["epoch"]) for record in log] == told[1:]  # simcse came from the store


def test_damaged_predictions_of_an_earlier_epoch_are_not_carried_over(
    configure: MakeConfig, materials: MakeMaterials, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config, folder = configure(checkpoint="task", stages__finetune__epochs=3), tmp_path / "damaged"
    whole = finish(config, "whole")
    _, second, last = (record["chosen"]["epochs"] for record in read_json_lines(whole / "history.jsonl"))
    carried = next(task for task, epoch in last.items() if epoch == 1)
    assert 2 in second.values()  # so that the predictions were written again, that task's as they were
    for record in Trial(config, materials(tmp_path / "store"), folder).run():
        if record["epoch"] == 1:
            file = folder / "predictions" / f"{carried}.parquet"
            pd.read_parquet(file).assign(output_0=0.0).to_parquet(file, index=False)
    assert_same_outcome(whole, folder)


def test_a_trial_whose_files_are_damaged_again_and_again_fails(begun: tuple[Trial, Path]) -> None:
    trial, folder = begun
    flip_a_head(folder)  # found as it begins
    trial.kept = lambda: flip_a_head(folder)
    with pytest.raises(TrainingFailure, match=r"heads\.safetensors is not what was written") as caught:
        list(trial.run())
    assert caught.value.cause == "damaged"


@pytest.mark.parametrize("gone", [0, 1, 2])
@pytest.mark.parametrize("epochs", [4, 5], ids=["continued", "finished"])
def test_a_trial_whose_history_lacks_an_epoch_starts_over(
    epochs: int,
    gone: int,
    configure: MakeConfig,
    materials: MakeMaterials,
    finish: Callable[..., Path],
    tmp_path: Path,
) -> None:
    config, folder = configure(stages__simcse__epochs=2, stages__finetune__epochs=3), tmp_path / "gap"
    run = Trial(config, materials(tmp_path / "store"), folder).run()
    assert len(list(islice(run, epochs if epochs < 5 else None))) == epochs
    run.close()  # type: ignore[attr-defined]
    history = folder / "history.jsonl"
    lines = history.read_bytes().splitlines(keepends=True)
    history.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    trial = Trial(config, materials(tmp_path / "other-store"), folder)
    assert [record["epoch"] for record in trial.run()] == [1, 2, 1, 2, 3]
    assert trial.found == 0
    assert_same_outcome(finish(config, "whole"), folder)


def test_a_history_that_does_not_say_its_lines_is_not_continued(begun: tuple[Trial, Path]) -> None:
    trial, folder = begun
    history = folder / "history.jsonl"
    (record,) = read_json_lines(history)
    assert record.pop("line") == 1
    history.write_bytes(sealed_line(record) + b"\n")
    assert [each["epoch"] for each in trial.run()] == [1, 2]
    assert trial.found == 0
    assert [each["line"] for each in read_json_lines(history)] == [1, 2]


def test_a_record_whose_checksum_went_with_what_it_says_is_not_used(begun: tuple[Trial, Path]) -> None:
    trial, folder = begun
    history = folder / "history.jsonl"
    whole = history.read_bytes()
    other = whole.replace(b'"crc"', b'"crb"').replace(b'"score": 0.', b'"score": 1.', 1)
    assert other.count(b'"score": 1.') == 1
    history.write_bytes(other)
    assert [each["epoch"] for each in trial.run()] == [1, 2]
    assert trial.found == 0
    assert history.read_bytes().startswith(whole[:20])


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00bad", b"\x00", b""])
def test_a_damaged_configuration_is_written_anew_and_no_epoch_is_trained_again(
    damage: bytes, begun: tuple[Trial, Path]
) -> None:
    trial, folder = begun
    whole = (folder / "config.yaml").read_bytes()
    (folder / "config.yaml").write_bytes(damage)
    assert [record["epoch"] for record in trial.run()] == [1, 2]
    assert trial.found == 1
    assert (folder / "config.yaml").read_bytes() == whole


@pytest.mark.parametrize("line", [{"of": "another run"}, {"size": -3}])
def test_a_trial_with_splits_that_are_not_its_own_starts_over(
    line: dict[str, Any], begun: tuple[Trial, Path], finish: Callable[..., Path]
) -> None:
    trial, folder = begun
    split = {"of": run_name(trial.config), **asdict(Split("micro_batch", "finetune", 2, 1, 2)), **line}
    (folder / SPLITS).write_bytes(sealed_line(split) + b"\n")
    list(trial.run())
    assert trial.found == 0
    assert not (folder / SPLITS).exists()
    assert_same_outcome(finish(trial.config, "whole"), folder)


@pytest.mark.parametrize(
    ("dropped", "may_be_gone", "damage", "stays"),
    [
        (True, True, None, True),
        (True, True, flip_a_prediction, False),
        (True, False, None, False),
        (False, True, flip_a_head, False),
    ],
    ids=["dropped", "dropped, and predictions damaged", "dropped by nobody", "damaged"],
)
def test_a_finished_trial_whose_model_was_dropped_is_not_trained_again(
    dropped: bool,
    may_be_gone: bool,
    damage: Callable[[Path], None] | None,
    stays: bool,
    configure: MakeConfig,
    materials: MakeMaterials,
    finish: Callable[..., Path],
    tmp_path: Path,
) -> None:
    folder = finish(configure(), "whole")
    if damage:
        damage(folder)
    if dropped:
        shutil.rmtree(folder / "best")
    trial = Trial(configure(), materials(tmp_path / "again"), folder)
    trial.model_may_be_gone = may_be_gone
    records = list(trial.run())
    assert [record["epoch"] for record in records] == [1, 2]
    assert trial.found == (2 if stays else 0)
    assert (folder / "best").exists() != stays


def test_splits_that_are_none_change_nothing_of_a_finished_trial(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    folder = finish(configure(), "whole")
    whole = (folder / "history.jsonl").read_bytes()
    (folder / SPLITS).write_bytes(b"{]\n")
    finish(configure(), "whole")
    assert (folder / "history.jsonl").read_bytes() == whole


def test_whoever_may_not_write_any_more_notes_no_epoch(
    configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    config = configure()
    log = TrialLog(tmp_path, "run", Choice(config, tmp_path, materials(tmp_path / "store").encoder))

    def given_up() -> None:
        raise ZeroDivisionError

    log.before_writing = given_up
    with pytest.raises(ZeroDivisionError):
        log.add({"stage": "finetune", "epoch": 1})
    assert not (tmp_path / "history.jsonl").exists()
    log.before_writing = lambda: None
    log.add({"stage": "finetune", "epoch": 1})
    assert (tmp_path / "history.jsonl").is_file()
