"""What a long study costs the driver: ``python -m benchmarks.endurance [--trials 2000]``.

The driver as ``trainables.search`` starts it runs trials that train nothing (:mod:`benchmarks.stub_trials`). Printed
on the way: its memory and that of Ray's own processes, open files, what lies on the disk, and the slot time that a
trial takes though it does nothing; in the end Optuna's own share and whether each target is met.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from benchmarks.stub_trials import run_stubs
from trainables.designs.sampler import build_sampler
from trainables.machines.connection import quieten_ray, start_ray
from trainables.machines.placement import Placement, TrialResources
from trainables.spaces.space import Space, load_space
from trainables.studies.journal import JOURNAL
from trainables.studies.study import StudyFolder

MARKS = (100, 500, 1000, 1500, 2000, 3000, 5000, 7500, 10_000)
"""Ended trials at which figures are taken; memory counts from the first."""
MEMORY_TARGET = 60.0
"""KB a trial, Optuna's own record included."""
SLOT_TARGET = 0.5
"""Seconds of a slot a trial."""
_GROWING = 1.25
"""A last window this much slower than the first one is growing, on a machine that drifts."""


@dataclass(frozen=True)
class Figures:
    """What was found when so many trials had ended; megabytes unless said otherwise; CPU seconds are the driver's."""

    trials: int
    seconds: float
    cpu_seconds: float
    driver: float
    ray: float
    workers: float
    open_files: int
    study: float
    study_files: int
    models: int
    tune: float
    session: float

    COLUMNS = "trials  KB/trial  slot s/trial  driver CPU s/trial  driver MB  raylet+gcs MB  workers MB  fds  study MB  files  models  tune/ MB  session MB"


class Meter(io.TextIOBase):
    """Takes the driver's lines of progress and measures when enough trials have ended.

    Args:
        study: the study's folder.
        slots: trials at a time.
    """

    def __init__(self, study: Path, slots: int) -> None:
        self._study, self._slots = study, slots
        self._began, self._measuring = time.monotonic(), 0.0
        self.taken: list[Figures] = []

    def write(self, text: str) -> int:
        """Look at what the driver says."""
        for found in re.finditer(r"(\d+) of (\d+) trials done", text):
            ended, target = map(int, found.groups())
            if ended in MARKS or ended == target:
                self._take(ended)
        return len(text)

    def _take(self, trials: int) -> None:
        now = time.monotonic()
        self.taken.append(measure(self._study, trials, now - self._began - self._measuring))
        self._measuring += time.monotonic() - now
        print(self.row(len(self.taken) - 1), flush=True)

    def row(self, index: int) -> str:
        """The figures taken at a mark, beside those before it."""
        now, first = self.taken[index], self.taken[0]
        cells = [f"{now.trials:6}", f"{growth(first, now):8.0f}" if index else " " * 8]
        cells += [f"{self.slot_seconds(index):12.2f}", f"{self.cpu_seconds(index):18.3f}"]
        cells += [f"{now.driver:9.0f}", f"{now.ray:13.0f}", f"{now.workers:10.0f}", f"{now.open_files:3}"]
        cells += [f"{now.study:8.1f}", f"{now.study_files:5}", f"{now.models:6}"]
        return "  ".join([*cells, f"{now.tune:8.1f}", f"{now.session:10.1f}"])

    def slot_seconds(self, index: int) -> float:
        """Seconds of a slot a trial between a mark and the one before; the first holds the start of workers."""
        return self._slots * self._per_trial(index, lambda figures: figures.seconds)

    def cpu_seconds(self, index: int) -> float:
        """The driver's CPU time a trial in the same window: other work on the machine changes it little."""
        return self._per_trial(index, lambda figures: figures.cpu_seconds)

    def _per_trial(self, index: int, value: Callable[[Figures], float]) -> float:
        now = self.taken[index]
        if index == 0:
            return value(now) / max(1, now.trials)
        before = self.taken[index - 1]
        return (value(now) - value(before)) / max(1, now.trials - before.trials)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--space", default="full_ablation")
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe")
    parser.add_argument("--seconds", type=float, default=0.0, help="that a stub takes (default: 0)")
    options = parser.parse_args(arguments)
    space = load_space(options.space).fix("search.trials", options.trials)
    space = space.fix("search.sampler", options.sampler)
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        meter = run(study, space, options.seconds)
        marks = range(
            min(1, len(meter.taken) - 1), len(meter.taken)
        )  # the first window holds the start of workers
        windows, cpu = [[value(mark) for mark in marks] for value in (meter.slot_seconds, meter.cpu_seconds)]
        print(f"driver's CPU time: {cpu[0]:.3f} s a trial in the first window, {cpu[-1]:.3f} s in the last")
        for line in [*optuna_share(study, space), *verdicts_of(meter.taken, windows)]:
            print(line)


def run(study: Path, space: Space, seconds: float) -> Meter:
    """Run a study of stubs and return its meter."""
    quieten_ray()
    placement = Placement(start_ray(None), TrialResources(1, 0.0))
    meter = Meter(study, slots=placement.slots)
    print(Figures.COLUMNS)
    console = Console(file=meter, width=1000, soft_wrap=True)  # type: ignore[arg-type]
    run_stubs(study, space, lambda: placement, console, seconds)
    return meter


def measure(study: Path, trials: int, seconds: float) -> Figures:
    """What the driver, Ray and the study's folder take now.

    Args:
        study: the study's folder.
        trials: that have ended.
        seconds: since the start.
    """
    import ray  # noqa: PLC0415 - reads the environment when imported

    own = psutil.Process()
    ray_own, workers = 0.0, 0.0
    for child in own.children(recursive=True):
        name = child.name()
        if name.startswith(("gcs_server", "raylet")):
            ray_own += child.memory_info().rss / 2**20
        elif name.startswith("ray::"):
            workers += child.memory_info().rss / 2**20
    node: Any = ray._private.worker.global_worker.node
    session = Path(node.get_session_dir_path())
    return Figures(
        trials,
        seconds,
        sum(own.cpu_times()[:2]),
        own.memory_info().rss / 2**20,
        ray_own,
        workers,
        own.num_fds(),
        *content_of(study),
        sum(1 for _ in study.glob("trials/*/best")),
        content_of(study / "tune")[0],
        content_of(session)[0],
    )


def growth(first: Figures, last: Figures) -> float:
    """KB of the driver's memory a trial between two marks."""
    return (last.driver - first.driver) * 1024 / max(1, last.trials - first.trials)


def optuna_share(study: Path, space: Space) -> list[str]:
    """What of it is Optuna's: bytes of the journal and memory of its records a trial, seconds of the next draw."""
    spawned = multiprocessing.get_context("spawn")
    with spawned.Pool(1) as pool:
        count, memory, draw = pool.apply(_load_alone, (study, space))
    size = (study / JOURNAL).stat().st_size
    return [
        f"Optuna's own: {size / 1024 / count:.1f} KB of journal and {memory / count:.1f} KB of memory a trial; "
        f"drawing the next configuration takes {draw:.2f} s after {count} trials",
    ]


def verdicts_of(taken: Sequence[Figures], windows: Sequence[float]) -> list[str]:
    """Each target, what was found, and whether it is met.

    Args:
        taken: the figures at the marks.
        windows: seconds of a slot a trial between them.
    """
    first, last = taken[0], taken[-1]
    memory = growth(first, last)
    grown = windows[-1] / windows[0]
    return [
        f"memory: {memory:.0f} KB a trial, at most {MEMORY_TARGET:.0f}: {_met(memory <= MEMORY_TARGET)}",
        f"open files: {first.open_files} after {first.trials} trials, {last.open_files} after {last.trials}: "
        f"{_met(last.open_files <= first.open_files + 5)}",
        f"models kept: {last.models} of {last.trials}; the study's folder grows by "
        f"{(last.study - first.study) * 1024 / max(1, last.trials - first.trials):.1f} KB a trial, Ray's session by "
        f"{(last.session - first.session) * 1024 / max(1, last.trials - first.trials):.1f} KB",
        f"slot time: {max(windows):.2f} s a trial at most, target {SLOT_TARGET}: {_met(max(windows) <= SLOT_TARGET)}",
        f"slot time does not grow: {windows[0]:.2f} s in the first window, {windows[-1]:.2f} s in the last: "
        f"{_met(grown <= _GROWING)}",
    ]


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def content_of(folder: Path) -> tuple[float, int]:
    """Megabytes and number of the files below a folder, as far as they last while they are counted."""
    size, count = 0, 0
    for path in folder.rglob("*"):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        size, count = size + found.st_blocks * 512, count + 1
    return size / 2**20, count


def _load_alone(study: Path, space: Space) -> tuple[int, float, float]:
    """In a process of its own: trials of the journal, KB of memory of their records, seconds of the next draw."""
    own = psutil.Process()
    sampler = build_sampler(space, 0, 0)
    before = own.memory_info().rss
    loaded = StudyFolder(study, {}).journal(sampler)
    count = len(loaded.get_trials(deepcopy=False))
    memory = (own.memory_info().rss - before) / 1024
    begin = time.perf_counter()
    space.ask(loaded.ask())
    return count, memory, time.perf_counter() - begin


if __name__ == "__main__":
    main()
