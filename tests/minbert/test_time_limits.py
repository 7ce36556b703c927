"""A step that hangs ends the process with a note, an epoch that takes too long ends the trial."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from minbert import time_limits
from minbert.canonical import run_name
from minbert.config import TrainConfig
from minbert.errors import TrainingFailure
from minbert.files.sealed import sealed_line
from minbert.model import MultitaskModel
from minbert.time_limits import TIMEOUT, TimeLimits, read_timeout
from minbert.trial import Materials, Trial

MakeConfig = Callable[..., TrainConfig]
Start = Callable[..., Trial]
FOREVER = 600.0


@pytest.fixture
def start(configure: MakeConfig, materials: Callable[[Path], Materials], tmp_path: Path) -> Start:
    def made(limits: TimeLimits | None = None, name: str = "trial") -> Trial:
        return Trial(configure(), materials(tmp_path / f"{name}-store"), tmp_path / name, limits)

    return made


def hang_at(monkeypatch: pytest.MonkeyPatch, number: int, scoring: bool, seconds: float = FOREVER) -> None:
    """Let the pass of this number (from 1) of training or of scoring take as long."""
    states, passes = MultitaskModel.states, {True: 0, False: 0}

    def slow(self: MultitaskModel, *arguments: Any, **named: Any) -> torch.Tensor:
        kind = torch.is_inference_mode_enabled()
        passes[kind] += 1
        if kind == scoring and passes[kind] == number:
            time.sleep(seconds)
        return states(self, *arguments, **named)

    monkeypatch.setattr(MultitaskModel, "states", slow)


def run_in_a_process(trial: Trial) -> int | None:
    """Exit code of a process of its own that runs the trial."""
    process = multiprocessing.get_context("fork").Process(target=lambda: list(trial.run()))
    process.start()
    process.join(60)
    hung = process.is_alive()
    process.kill()
    assert not hung, "nobody ended the process"
    return process.exitcode


@pytest.mark.parametrize(
    ("number", "scoring", "limits", "message"),
    [
        (5, False, TimeLimits(2.0), "a step took longer than 2 s (stage finetune, epoch 2, step 2)"),
        (1, True, TimeLimits(2.0), "a scoring batch took longer than 2 s (stage finetune, epoch 1, scoring batch 1)"),
        (2, False, TimeLimits(None, 2.0), "the epoch took longer than 2 s (stage finetune, epoch 1, step 2)"),
    ],
    ids=["training", "scoring", "epoch"],
)  # fmt: skip
def test_what_hangs_ends_the_process_with_one_line_and_a_note(
    number: int,
    scoring: bool,
    limits: TimeLimits,
    message: str,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hang_at(monkeypatch, number, scoring)
    trial = start(limits)
    run = run_name(trial.config)
    assert read_timeout(tmp_path / "trial", run) is None
    assert run_in_a_process(trial) == 3
    assert capfd.readouterr().err == f"failed (timeout): {message}\n"
    failure = read_timeout(tmp_path / "trial", run)
    assert failure is not None
    assert (failure.cause, str(failure)) == ("timeout", message)


def test_what_hangs_ends_the_process_whatever_cannot_be_told(
    start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(note: object) -> bytes:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(time_limits, "sealed_line", fails)
    hang_at(monkeypatch, 5, False)
    assert run_in_a_process(start(TimeLimits(1.0))) == 3
    assert capfd.readouterr().err.startswith("failed (timeout): a step took longer than 1 s (")


def test_every_step_has_the_whole_of_its_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six steps of half a second are no hang, although together they take longer than the limit."""
    states = MultitaskModel.states

    def slow(self: MultitaskModel, *arguments: Any, **named: Any) -> torch.Tensor:
        time.sleep(0.0 if torch.is_inference_mode_enabled() else 0.5)
        return states(self, *arguments, **named)

    monkeypatch.setattr(MultitaskModel, "states", slow)
    assert run_in_a_process(start(TimeLimits(2.0))) == 0


def test_after_a_timeout_the_trial_can_be_continued_to_the_same_end(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(start(name="whole").run())
    with monkeypatch.context() as hanging:
        hang_at(hanging, 5, scoring=False)
        run_in_a_process(start(TimeLimits(2.0)))
    list(start(TimeLimits(FOREVER, FOREVER)).run())
    assert not (tmp_path / "trial" / TIMEOUT).exists()
    left, right = (load_file(tmp_path / name / "best" / "heads.safetensors") for name in ("whole", "trial"))
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("scoring", [False, True], ids=["training", "scoring"])
def test_an_epoch_that_takes_too_long_is_a_failure_with_cause_timeout_and_the_process_lives_on(
    scoring: bool, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang_at(monkeypatch, 2, scoring, seconds=1.2)
    with pytest.raises(
        TrainingFailure, match=r"^the epoch took longer than 1 s \(stage finetune, epoch 1, "
    ) as caught:
        list(start(TimeLimits(None, 1.0)).run())
    assert caught.value.cause == "timeout"


def test_a_trial_is_not_timed_while_nobody_asks_it_for_the_next_epoch(start: Start) -> None:
    trial = start(TimeLimits(FOREVER, FOREVER))
    clocks = [(trial._clock.doing, trial._clock.ends) for _ in trial.run()]
    assert clocks == [(None, None)] * 2


def test_the_thread_lives_as_long_as_the_run_and_only_where_there_is_a_limit(start: Start) -> None:
    def watching() -> int:
        time.sleep(0.5)
        return sum(thread.name == "time limits" for thread in threading.enumerate())

    run = start().run()
    next(run)
    assert watching() == 0
    run.close()  # type: ignore[attr-defined]
    run = start(TimeLimits(step=FOREVER), "limited").run()
    next(run)
    assert watching() == 1
    run.close()  # type: ignore[attr-defined]
    assert watching() == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            sealed_line({"of": "this", "message": "a step took longer than 2 s"}),
            "a step took longer than 2 s",
        ),
        (sealed_line({"of": "that", "message": "a step took longer than 2 s"}), None),
        (sealed_line({"of": "this", "message": "a step took longer than 2 s"}).replace(b"2", b"3"), None),
        (b'{"message": "a step took longer than 2 s"}', None),
        (b"{", None),
    ],
    ids=["whole", "of another trial", "changed", "of nobody", "torn"],
)
def test_a_note_that_is_damaged_or_another_trials_says_nothing_of_this_one(
    line: bytes, message: str | None, tmp_path: Path
) -> None:
    (tmp_path / TIMEOUT).write_bytes(line)
    failure = read_timeout(tmp_path, "this")
    assert (failure and str(failure)) == message
