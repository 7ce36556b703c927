"""The benchmark of long studies, on a short one."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.driver_account import Account
from benchmarks.endurance import MEMORY_TARGET, Figures, content_of, growth, verdicts_of
from benchmarks.stub_trials import MODEL_BYTES
from tests.trainables.commands import SPACE
from trainables.spaces.space import load_space

TRIALS = 400
"""Enough that what a trial leaves behind stands out from what a process allocates at its start."""
_MOST_MODELS = 30
"""The best ones and a front over three tasks, which grows with the logarithm of the trials."""


def figures(trials: int, **values: float) -> Figures:
    named: dict[str, float] = dict.fromkeys(Figures.__annotations__, 0)
    return Figures(**{**named, "trials": trials, **values})  # type: ignore[arg-type]


@pytest.mark.long
def test_stubs_run_through_the_real_driver_and_every_target_gets_a_verdict() -> None:
    command = [sys.executable, "-m", "benchmarks.endurance", "--trials", "8", "--sampler", "random"]
    command += ["--space", str(SPACE)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, timeout=120
    ).stdout
    assert "models kept: " in output
    for name in ("memory", "open files", "slot time", "slot time does not grow"):
        (line,) = [line for line in output.splitlines() if line.startswith(f"{name}: ")]
        assert line.endswith((": met", ": MISSED"))


@pytest.mark.long
def test_memory_open_files_and_the_disk_stay_bounded_over_hundreds_of_trials(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as alone:  # whose memory no other test has been in
        halfway, end = alone.apply(halves, (tmp_path / "study",))
    assert growth(halfway, end) <= MEMORY_TARGET
    assert end.open_files == halfway.open_files
    assert end.models <= _MOST_MODELS
    trials = end.trials - halfway.trials
    assert (end.study - halfway.study) * 2**20 / trials < MODEL_BYTES  # a trial leaves less than one model
    assert (end.study_files - halfway.study_files) / trials <= 10


def halves(study: Path) -> list[Figures]:
    """What the driver, without Ray, takes after half of a study of stubs and after all of it."""
    space, own, taken = load_space("full_ablation").fix("search.trials", TRIALS), psutil.Process(), []
    with Account(study, space, slots=4) as opened:
        for ended in opened.run():
            if ended in (TRIALS // 2, TRIALS):
                size, files = content_of(study)
                found = {"driver": own.memory_info().rss / 2**20, "open_files": own.num_fds()}
                models = sum(1 for _ in study.glob("trials/*/best"))
                taken.append(figures(ended, **found, study=size, study_files=files, models=models))
    return taken


@pytest.mark.parametrize(("driver", "verdict"), [(160.0, "met"), (180.0, "MISSED")])
def test_memory_is_judged_by_what_a_trial_adds_after_the_first_mark(driver: float, verdict: str) -> None:
    first, last = figures(100, driver=100.0), figures(1124, driver=driver)
    assert growth(first, last) == driver - 100
    told = verdicts_of([first, last], [0.1])
    assert told[0] == f"memory: {driver - 100:.0f} KB a trial, at most 60: {verdict}"
