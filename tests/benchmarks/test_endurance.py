"""The benchmark of long studies, on a short one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.endurance import Figures, growth, verdicts_of
from tests.trainables.commands import SPACE


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


@pytest.mark.parametrize(("driver", "verdict"), [(160.0, "met"), (180.0, "MISSED")])
def test_memory_is_judged_by_what_a_trial_adds_after_the_first_mark(driver: float, verdict: str) -> None:
    first, last = figures(100, driver=100.0), figures(1124, driver=driver)
    assert growth(first, last) == driver - 100
    told = verdicts_of([first, last], [0.1])
    assert told[0] == f"memory: {driver - 100:.0f} KB a trial, at most 60: {verdict}"
