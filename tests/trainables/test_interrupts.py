"""Ctrl-C and SIGTERM, to the search, to its process group or to all that it has started; and the loss of Ray itself."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from minbert.interrupts import Interrupts
from tests.trainables.commands import SPACE, start_search
from tests.trainables.killing import mortal, results
from tests.trainables.studies import (
    folder_of,
    history,
    predictions,
    repeat,
    state_names,
    wait_until,
    wait_until_all_end,
    weights,
)
from tests.trainables.test_chaos import ONE_RUN, ONE_SLOT

HANG = 30
SEARCH = 300
"""Seconds after which an end counts as a hang: Ray gives up after a minute or more."""

# Trials of a minute, so that a signal comes in the middle of one.
LONG = ["--set", "search.early_stopping=null", "--set", "stages.simcse.epochs=0",
        "--set", "stages.finetune.epochs=50", "--set", "stages.finetune.epoch_examples=640", "--trials", "30"]  # fmt: skip
SHORT = "stages: {finetune: {epochs: 1, epoch_examples: 48}}\n"
LONG_EPOCHS = "stages: {simcse: {epochs: 0}, finetune: {epochs: 2, epoch_examples: 1280}}\n"
CONTINUE = f"continue with: python -m trainables.search --space {SPACE}"


@pytest.fixture
def running(tmp_path: Path) -> subprocess.Popen[str]:
    """A search with a trial in mid-training."""
    process = start_search(tmp_path, *LONG)
    wait_until(lambda: any((tmp_path / "results").glob("*/trials/*/history.jsonl")), process)
    return process


def test_sigterm_to_all_processes_ends_cleanly_and_names_the_command_that_continues(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    everybody = [running, *psutil.Process(running.pid).children(recursive=True)]
    names = {psutil.Process(each.pid).name() for each in everybody}
    assert {"raylet", "gcs_server"} <= names
    assert any(name.startswith("ray::") for name in names)
    for each in reversed(
        everybody
    ):  # as batch systems and machines that shut down do; the search itself last
        each.send_signal(signal.SIGTERM)
    output, errors = running.communicate(timeout=HANG)
    assert (running.returncode, errors) == (130, "")
    assert "what was done is kept" in output
    assert CONTINUE in output
    wait_until_all_end(tmp_path)
    kept = [
        json.loads(file.read_text()) for file in tmp_path.glob("results/*/trials/*/checkpoint/manifest.json")
    ]
    assert any("unfinished" in manifest for manifest in kept)
    assert set(state_names(tmp_path / "results" / "small_ablation")) == {"RUNNING"}


@pytest.mark.chaos
def test_ctrl_c_in_a_terminal_keeps_what_was_done_inside_an_epoch(tmp_path: Path) -> None:
    endless = [option.replace("examples=640", "examples=500000") for option in LONG]
    process = start_search(tmp_path, *endless, "--max-concurrent", "1")
    trial = tmp_path / "results" / "small_ablation" / "trials"
    wait_until(lambda: any(trial.glob("*/config.yaml")), process)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (130, "")
    assert CONTINUE in output
    (kept,) = trial.glob("*/checkpoint/manifest.json")
    manifest = json.loads(kept.read_text())
    assert (manifest["epoch"], manifest["record"]) == (1, None)
    assert manifest["unfinished"]["steps"] == manifest["step"]


@pytest.mark.chaos
def test_two_signals_end_at_once_and_the_study_goes_on(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    study = tmp_path / "results" / "small_ablation"
    os.kill(running.pid, signal.SIGINT)
    os.kill(running.pid, signal.SIGTERM)
    output, errors = running.communicate(timeout=HANG)
    assert (running.returncode, errors) == (130, "")
    assert "ended at once" in output
    assert CONTINUE in output
    wait_until_all_end(tmp_path)
    epochs = {path: path.read_text() for path in study.glob("trials/*/history.jsonl")}

    again = start_search(tmp_path, *LONG)
    wait_until(
        lambda: all(path.read_text().count("\n") > told.count("\n") for path, told in epochs.items()), again
    )
    assert all(path.read_text().startswith(told) for path, told in epochs.items())
    os.killpg(again.pid, signal.SIGKILL)
    again.communicate()


@pytest.mark.chaos
def test_a_search_ended_by_sigterm_inside_an_epoch_goes_on_to_the_same_end(tmp_path: Path) -> None:
    search = mortal(tmp_path, ONE_RUN + LONG_EPOCHS, *ONE_SLOT)
    process, study = start_search(search.folder, *search.options, space=search.space), results(search)
    wait_until(lambda: any(study.glob("trials/*/history.jsonl")), process)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (130, "")
    wait_until_all_end(search.folder)
    (kept,) = study.glob("trials/*/checkpoint/manifest.json")
    assert "unfinished" in json.loads(kept.read_text())
    assert state_names(study) == ["RUNNING"]
    search.run()
    assert state_names(study) == ["COMPLETE"]
    trial, alone = folder_of(study, 0), repeat(folder_of(study, 0), tmp_path / "alone")
    assert history(trial) == history(alone)
    assert weights(trial) == weights(alone) != {}
    assert predictions(trial) == predictions(alone) != {}


def test_a_signal_before_any_trial_runs_ends_with_the_same_code(tmp_path: Path) -> None:
    process = start_search(tmp_path, *LONG)
    wait_until((tmp_path / "results" / "small_ablation" / ".lock").is_file, process)
    os.killpg(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=HANG)
    assert process.returncode == 130
    assert errors in (
        "interrupted\n",
        "",
    )  # the second if it came inside a destructor, as it may while modules load
    assert CONTINUE in output
    wait_until_all_end(tmp_path)
    assert not list(tmp_path.glob("results/*/trials/*"))


def test_a_signal_inside_a_destructor_is_no_noise_and_is_not_forgotten(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    class Broken:
        def __del__(self) -> None:
            raise ValueError("a fault")

    hook = sys.unraisablehook
    interrupts = Interrupts("a command")
    told = list[str]()
    sys.unraisablehook = lambda ignored: told.append(str(ignored.exc_value))
    try:
        with interrupts.watched():
            Broken()
            Dying()
            assert interrupts.asked
        assert told == ["a fault"]
    finally:
        sys.unraisablehook = hook
    assert capsys.readouterr() == ("continue with: a command\n", "")


@pytest.mark.chaos
@pytest.mark.parametrize("lost", ["raylet", "gcs_server"])
def test_ray_killed_while_it_starts_is_told_in_one_line_and_nothing_is_left(
    tmp_path: Path, lost: str
) -> None:
    search = mortal(tmp_path, ONE_RUN)
    process = start_search(search.folder, *search.options, space=search.space)
    children = psutil.Process(process.pid).children

    def begun() -> list[psutil.Process]:
        return [each for each in children(recursive=True) if each.name() == lost]

    wait_until(begun, process)
    begun()[0].kill()
    output, errors = process.communicate(timeout=SEARCH)
    assert process.returncode == 3, output
    assert re.fullmatch(r"error: Ray[^\n]+; nothing was lost, the same command tries again\n", errors)
    wait_until_all_end(search.folder)
    assert not results(search).exists()


@pytest.mark.chaos
def test_a_search_whose_ray_is_killed_says_so_and_goes_on_to_the_same_end(tmp_path: Path) -> None:
    search = mortal(tmp_path, ONE_RUN + LONG_EPOCHS, *ONE_SLOT)
    study = results(search)
    for start, lost in enumerate(("raylet", "gcs_server"), 1):
        process = start_search(search.folder, *search.options, space=search.space)
        begun = functools.partial(study.glob, f"trials/*/attempts/{start:04d}")
        wait_until(lambda begun=begun: any(begun()), process)
        (victim,) = (each for each in psutil.Process(process.pid).children(True) if each.name() == lost)
        victim.kill()
        output, errors = process.communicate(timeout=HANG)
        assert process.returncode == 3
        assert re.fullmatch(
            rf"error: Ray's process {lost} on this machine has ended \(signal 9\); running trials go on from their last "
            r"checkpoints; continue with: python -m trainables.search .*\n",
            errors,
        )
        assert "(raylet)" not in output
        wait_until_all_end(search.folder)
        assert state_names(study) == ["RUNNING"]
    search.run()
    assert state_names(study) == ["COMPLETE"]
    trial, alone = folder_of(study, 0), repeat(folder_of(study, 0), tmp_path / "alone")
    assert history(trial) == history(alone)
    assert weights(trial) == weights(alone) != {}


@pytest.mark.chaos
def test_a_search_whose_reader_goes_away_goes_on(tmp_path: Path) -> None:
    search = mortal(tmp_path, ONE_RUN + SHORT)
    process = start_search(search.folder, *search.options, space=search.space)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(SEARCH) == 0
    assert (
        process.stderr.read() == "its output cannot be written any more (Broken pipe); the search goes on\n"
    )
    assert state_names(results(search)) == ["COMPLETE"]
    assert (results(search) / "report.html").is_file()
