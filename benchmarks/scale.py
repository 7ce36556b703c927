"""Where a large study bends: what a trial costs the driver, by what it is spent on, and what many slots lose.

``python -m benchmarks.scale account --trials 10000 --slots 32`` runs the account of a study without Ray: every trial is
asked for, reports an epoch and is told, so many at a time, with the real journal, sampler, kept models and progress.
``python -m benchmarks.scale slots --slots 32 --trials 1000 --seconds 10`` runs stubs (:mod:`benchmarks.stub_trials`) through
the driver of a search on that many workers of this machine, against the ideal.
"""

from __future__ import annotations

import argparse
import functools
import io
import tempfile
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.endurance import MARKS, measure
from benchmarks.stub_trials import run_stubs, stub_record
from minbert.bundled import CORPUS, ENCODER
from minbert.sources import resolve
from trainables.machines.connection import quieten_ray, start_ray
from trainables.machines.placement import Placement, TrialResources
from trainables.spaces.space import Space, load_space
from trainables.studies import journal
from trainables.studies.kept_models import KEPT_MODELS, KeptModels
from trainables.studies.ledger import Issue, Ledger
from trainables.studies.opening import open_ledger
from trainables.studies.study import make_folder, pinned_sources
from trainables.studies.study_description import described_plan, described_study
from trainables.watching.progress import Outlets, Progress

_PINNED = {"device": "cpu", "precision": "fp32", "threads": 1}
_HEAD = "trials  ask ms  result ms  tell ms  journal ms  models ms  progress ms  sum ms  CPU ms  trials/s  MB"
_TARGET = 1.25
"""A last window that costs so much more than the first full one is growing."""


@dataclass
class Stopwatch:
    """Seconds by what they went to; of what is inside another, such as the journal, both are counted."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def counting(self, what: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - begin

    @contextmanager
    def watching(self, owner: type, method: str, what: str) -> Iterator[None]:
        """Count all calls of a method."""
        original = getattr(owner, method)

        @functools.wraps(original)
        def counted(*arguments: Any, **named: Any) -> Any:
            with self.counting(what):
                return original(*arguments, **named)

        setattr(owner, method, counted)
        try:
            yield
        finally:
            setattr(owner, method, original)


@dataclass(frozen=True)
class Window:
    """Milliseconds of the driver a trial, between two marks; ``cpu`` of them it computed, which other work changes little."""

    trials: int
    by_part: dict[str, float]
    cpu: float

    @property
    def total(self) -> float:
        """Milliseconds of the driver a trial, as parts that are inside others count once."""
        return sum(value for part, value in self.by_part.items() if part != "journal")

    def row(self, memory: float) -> str:
        """A line of the table."""
        parts = ("ask", "result", "tell", "journal", "models", "progress")
        widths = (6, 9, 7, 10, 9, 11)
        cells = [f"{self.by_part.get(part, 0):{width}.1f}" for part, width in zip(parts, widths, strict=True)]
        return "  ".join(
            [
                f"{self.trials:6}",
                *cells,
                f"{self.total:6.1f}",
                f"{self.cpu:6.1f}",
                f"{1000 / self.total:8.1f}",
                f"{memory:.0f}",
            ]
        )


def account(study: Path, space: Space, slots: int, marks: Sequence[int] = MARKS) -> list[Window]:
    """Run the account of a study without Ray and print what a trial costs at each mark.

    Args:
        study: the study's folder.
        space: what is searched.
        slots: trials that are open at a time.
        marks: numbers of ended trials.
    """
    watch, windows, before = Stopwatch(), list[Window](), dict[str, float]()
    with ExitStack() as stack:
        for what, method in (("ask", "next"), ("result", "report"), ("tell", "finish")):
            stack.enter_context(watch.watching(Ledger, method, what))
        stack.enter_context(watch.watching(journal._SealedBackend, "append_logs", "journal"))
        ledger, models, progress = _open(study, space)
        stack.enter_context(progress)
        cpu = time.process_time()
        for ended in _trials(ledger, models, progress, watch, slots):
            if ended in marks or ended == ledger.target:
                since = ended - (windows[-1].trials if windows else 0)
                spent = {what: 1000 * (s - before.get(what, 0)) / since for what, s in watch.seconds.items()}
                windows.append(Window(ended, spent, 1000 * (time.process_time() - cpu) / since))
                before, cpu = dict(watch.seconds), time.process_time()
                print(windows[-1].row(_memory()), flush=True)
    return windows


def _open(study: Path, space: Space) -> tuple[Ledger, KeptModels, Progress]:
    sources = resolve(str(CORPUS), str(ENCODER), space.example().tasks)
    pinned = {**pinned_sources(sources), **_PINNED}
    spec = {**described_study(space, sources, 0, ""), **_PINNED, **described_plan(space, pinned)}
    folder = make_folder(study, spec)
    console = Console(file=io.StringIO(), width=1000)
    ledger = open_ledger(folder, space, 0, pinned, console)
    tasks = space.example().tasks
    models = KeptModels(folder, tasks, KEPT_MODELS)
    return ledger, models, Progress(ledger, study, space.name, list(tasks), console, Outlets())


def _trials(
    ledger: Ledger, models: KeptModels, progress: Progress, watch: Stopwatch, slots: int
) -> Iterator[int]:
    """Ask, report and tell until the target; yields how many have ended."""
    running: deque[Issue] = deque()
    ended = 0
    while ended < ledger.target:
        while len(running) < slots and (issue := ledger.next()) is not None:
            running.append(issue)
            with watch.counting("progress"):
                progress.issued(issue)
        issue = running.popleft()
        record = stub_record(issue.config, 1.0)
        ledger.report(issue.number, record)
        with watch.counting("progress"):
            progress.reported(issue, record)
        trial = ledger.finish(issue.number, "complete")
        with watch.counting("models"):
            models.ended(issue, trial)
        with watch.counting("progress"):
            progress.ended(issue, trial)
            progress.tick()
        ended += 1
        yield ended


def many_slots(folder: Path, space: Space, slots: int, trials: int, seconds: float) -> float:
    """Run stubs on many workers; prints and returns the share of slot time that is lost."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - reads the environment when imported

    quieten_ray()
    head = {"num_cpus": slots, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)  # its CPUs are a number: stubs only sleep
    placement = Placement(start_ray(cluster.address), TrialResources(1, 0.0))
    progress = _Ends()
    run_stubs(folder / "study", space, lambda: placement, progress.console, seconds, slots)
    warm = [end for end in progress.ends if end[1] > slots]  # the first of each worker waits for its start
    took = (warm[-1][0] - warm[0][0]) / (len(warm) - 1)
    lost = took * slots / seconds - 1
    figures = measure(folder / "study", trials, 0.0)
    print(
        f"{slots:5}  {trials:6}  {took * slots:9.2f}  {seconds:7.1f}  {lost:6.1%}  {1 / took:8.2f}  "
        f"{figures.cpu_seconds / trials:12.3f}  {figures.driver:9.0f}  {figures.ray:13.0f}  {figures.workers:10.0f}"
    )
    return lost


class _Ends(io.TextIOBase):
    """Notes when trials ended, from the driver's lines of progress."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, int]] = []
        self.console = Console(file=self, width=1000, soft_wrap=True)  # type: ignore[arg-type]

    def write(self, text: str) -> int:
        """Look at what the driver says."""
        for line in text.splitlines():
            if " trials done" in line:
                done = int(line.split(" of ", maxsplit=1)[0].rpartition(" ")[2])
                self.ends.append((time.monotonic(), done))
        return len(text)


def _memory() -> float:
    import psutil  # noqa: PLC0415 - of the tests' packages

    return psutil.Process().memory_info().rss / 2**20


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the two and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("account", "slots"))
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0, help="that a stub takes (slots)")
    parser.add_argument("--space", default="full_ablation")
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe")
    options = parser.parse_args(arguments)
    space = load_space(options.space).fix("search.trials", options.trials)
    space = space.fix("search.sampler", options.sampler)
    warnings.filterwarnings("ignore")  # as the search's command line does
    with tempfile.TemporaryDirectory() as folder:
        if options.part == "slots":
            print(
                "slots  trials  s a trial  ideal s    lost  trials/s  driver CPU s  driver MB  raylet+gcs MB  workers MB"
            )
            many_slots(Path(folder), space, options.slots, options.trials, options.seconds)
            return
        print(_HEAD)
        windows = account(Path(folder) / "study", space, options.slots)
        print(verdict(windows))


def verdict(windows: Sequence[Window]) -> str:
    """Whether what a trial costs grows from the second window on; the first one holds the random start of the sampler."""
    if len(windows) < 3:
        return "too few trials to say whether it grows"
    grown = windows[-1].total / windows[1].total
    part = max(windows[-1].by_part, key=lambda name: windows[-1].by_part[name] - windows[1].by_part[name])
    met = "does not grow" if grown <= _TARGET else f"grows, most of all {part}"
    return f"a trial's cost {met}: {windows[1].total:.0f} ms up to the {windows[1].trials}th, {windows[-1].total:.0f} ms at the end"


if __name__ == "__main__":
    main()
