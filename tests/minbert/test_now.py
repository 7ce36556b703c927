"""Where a trial stands inside an epoch: told while it trains, gone afterwards, and of no consequence."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert import now
from minbert.config import TrainConfig
from minbert.errors import TrainingFailure
from minbert.files.leftovers import beside
from minbert.model import MultitaskModel
from minbert.now import NOW, Now, read_now, write_now
from minbert.trial import Materials, Trial
from tests.minbert.test_trial import assert_same_outcome

MakeConfig = Callable[..., TrainConfig]
Start = Callable[..., Trial]
SAID = Now("simcse", 1, "training", 3, 8, 0.5, 1e9, 2)


@pytest.fixture
def start(configure: MakeConfig, materials: Callable[[Path], Materials], tmp_path: Path) -> Start:
    """A trial of two stages, in a folder of this name."""

    def made(name: str) -> Trial:
        config = configure(stages__simcse__epochs=1)
        return Trial(config, materials(tmp_path / f"{name}-store"), tmp_path / name)

    return made


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(now, "_SECONDS_BETWEEN", 0.001)


def seen_at_every_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Now | None]:
    """What a folder says during each pass of a model, once whoever writes there had time to."""
    found: list[Now | None] = []
    states = MultitaskModel.states

    def slow(self: MultitaskModel, *arguments: Any, **named: Any) -> torch.Tensor:
        time.sleep(0.03)
        found.append(read_now(folder))
        return states(self, *arguments, **named)

    monkeypatch.setattr(MultitaskModel, "states", slow)
    return found


@pytest.mark.usefixtures("often")
def test_a_trial_tells_every_epoch_from_its_first_step_to_its_scores_and_nothing_afterwards(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = seen_at_every_pass(tmp_path / "trial", monkeypatch)
    trial = start("trial")
    trial.attempt = 7
    records = []
    for record in trial.run():
        records.append((record["stage"], record["epoch"]))
        assert (tmp_path / "trial" / NOW).exists() == (not trial.finished)
    said = [each for each in found if each is not None]
    assert list(dict.fromkeys((each.stage, each.epoch) for each in said)) == records
    for place in records:
        here = [each for each in said if (each.stage, each.epoch) == place]
        training = [each.step for each in here if each.doing == "training"]
        assert training == sorted(training) and training[0] == 0
        assert max(training) == here[0].steps - 1
        shares = [each.share for each in here if each.doing == "scoring" and each.share is not None]
        assert shares == sorted(shares) and all(0 <= share <= 1 for share in shares)
        assert place[0] == "simcse" or len(set(shares)) > 1
        assert all(each.epoch_seconds for each in here if each.doing == "scoring")
    assert {each.doing for each in said if each.stage == "finetune"} == {"training", "scoring"}
    assert all(each.step_seconds >= 0.03 for each in said if each.step_seconds)
    assert any(each.step_seconds for each in said if each.doing == "scoring")
    assert {each.attempt for each in said} == {7}
    assert not list((tmp_path / "trial").glob(f"*{NOW}*"))


def test_a_trial_that_fails_or_is_let_go_of_tells_nothing_any_more(
    start: Start, tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_at_every_pass(tmp_path / "left", monkeypatch)
    left = start("left").run()
    next(left)
    assert (tmp_path / "left" / NOW).exists()
    assert isinstance(left, Generator)
    left.close()
    assert not (tmp_path / "left" / NOW).exists()

    def failing(self: MultitaskModel, *arguments: Any, **named: Any) -> torch.Tensor:
        time.sleep(0.03)
        raise TrainingFailure("nan", "no number")

    monkeypatch.setattr(MultitaskModel, "states", failing)
    with pytest.raises(TrainingFailure, match="no number"):
        list(start("failed").run())
    assert not (tmp_path / "failed" / NOW).exists()


def test_a_start_drops_what_one_that_was_killed_has_left(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    trial = start("trial")
    write_now(folder, SAID)
    half = beside(folder / NOW, "tmp")
    half = half.with_name(half.name.replace(f".{os.getpid()}.", ".999999999."))
    half.touch()
    next(trial.run())
    assert read_now(folder) is None
    assert not half.exists()


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("where", ["told", "a folder", "full"])
def test_it_makes_no_difference_whether_it_is_written(
    where: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as quiet:
        quiet.setattr(now, "_SECONDS_BETWEEN", 3600.0)
        list(start("quiet").run())
    found = seen_at_every_pass(tmp_path / "trial", monkeypatch)
    if where == "a folder":
        (tmp_path / "trial" / NOW / "in the way").mkdir(parents=True)
    if where == "full":
        monkeypatch.setattr(Path, "write_bytes", no_room)
    list(start("trial").run())
    assert any(found) == (where == "told")
    assert_same_outcome(tmp_path / "trial", tmp_path / "quiet")


def no_room(path: Path, data: bytes) -> int:
    if NOW in path.name:
        raise OSError(28, "No space left on device", str(path))
    with path.open("wb") as file:
        return file.write(data)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b"{}",
        b'{"stage": "simcse"',
        json.dumps({**asdict(SAID), "more": 1}).encode(),
        *(
            json.dumps({**asdict(SAID), **wrong}).encode()
            for wrong in (
                {"stage": 3},
                {"epoch": "1"},
                {"epoch": True},
                {"doing": "resting"},
                {"step": 9},
                {"step": -1},
                {"steps": 10**400},
                {"step_seconds": float("nan")},
                {"step_seconds": "1"},
                {"at": None},
                {"scored": 1.5},
                {"scored": -0.5},
                {"scored": True},
                {"scoring_seconds": float("nan")},
                {"at": float("inf")},
                {"stage": "a" * 5000},
            )
        ),
    ],
)
def test_what_cannot_be_used_says_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NOW).write_bytes(content)
    assert read_now(tmp_path) is None


def test_neither_a_pipe_nor_a_link_nor_a_folder_is_read_and_none_is_written_through(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NOW)
    assert read_now(tmp_path) is None
    write_now(tmp_path, SAID)
    assert read_now(tmp_path) == SAID
    other = tmp_path / "other"
    other.write_bytes((tmp_path / NOW).read_bytes())
    before = other.read_bytes()
    (tmp_path / NOW).unlink()
    (tmp_path / NOW).symlink_to(other)
    assert read_now(tmp_path) is None
    write_now(tmp_path, replace(SAID, step=4))
    assert other.read_bytes() == before
    assert not (tmp_path / NOW).is_symlink()
    (tmp_path / NOW).unlink()
    (tmp_path / NOW).mkdir()
    assert read_now(tmp_path) is None
    with pytest.raises(IsADirectoryError):
        write_now(tmp_path, SAID)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NOW, "other"]
