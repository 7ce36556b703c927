"""Where a large study bends: what a trial costs the driver, by what it is spent on, and what many slots lose.

``python -m benchmarks.scale account --trials 10000 --slots 32`` runs the driver's part of a study without Ray
(:mod:`benchmarks.driver_account`): CPU milliseconds of every part, which other work on the machine changes little.
``python -m benchmarks.scale slots --slots 32 --trials 100 --seconds 60`` runs stubs (:mod:`benchmarks.stub_trials`) through
the driver of a search and Ray on that many workers of this machine, against the ideal.
"""

from __future__ import annotations

import argparse
import io
import re
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.driver_account import PARTS, Window, account
from benchmarks.endurance import MARKS, Figures, measure
from benchmarks.stub_trials import run_stubs
from trainables.designs.bounded_tpe import BEST, NEWEST
from trainables.machines.connection import quieten_ray, start_ray
from trainables.machines.placement import Placement, TrialResources
from trainables.spaces.space import Space, load_space

_TARGET = 1.25
"""A last window that costs so much more than the first full one is growing."""
_ACCOUNT = f"trials  {'  '.join(f'{part:>8}' for part in PARTS)}  CPU ms  wall ms  results  journal KB     MB"
_SLOTS = "slots  trials  s a trial  ideal s    lost  driver's CPU s  driver MB  raylet+gcs MB  workers MB"


def row(window: Window) -> str:
    """A line of the account."""
    parts = "  ".join(f"{window.parts[part]:8.2f}" for part in PARTS)
    return (
        f"{window.trials:6}  {parts}  {window.total:6.1f}  {window.wall:7.1f}  {window.results:7.2f}  "
        f"{window.journal_kb:10.1f}  {window.memory:5.0f}"
    )


def many_slots(folder: Path, space: Space, slots: int, trials: int, seconds: float) -> str:
    """Run stubs on many workers; returns a line of figures, of the trials after each worker's first one.

    Args:
        folder: an empty one.
        space: what is searched.
        slots: workers; each is a process of this machine, whatever cores there are.
        trials: in all.
        seconds: that a stub takes.
    """
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - reads the environment when imported

    quieten_ray()
    head = {"num_cpus": slots, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)  # its CPUs are a number: stubs only sleep
    placement = Placement(start_ray(cluster.address), TrialResources(1, 0.0))
    ends = Ends(folder / "study", (trials + slots) // 2)
    run_stubs(folder / "study", space, lambda: placement, ends.console, seconds, slots)
    took, cpu = ends.per_trial(slots)
    lost = took * slots / seconds - 1 if seconds else 0.0
    found = ends.found
    assert found is not None
    return (
        f"{slots:5}  {trials:6}  {took * slots:9.2f}  {seconds:7.1f}  {lost:6.1%}  {cpu:12.3f}  "
        f"{found.driver:9.0f}  {found.ray:13.0f}  {found.workers:10.0f}"
    )


class Ends(io.TextIOBase):
    """Notes when trials ended, from the driver's lines of progress, and measures memory halfway, when all workers run.

    Args:
        study: the study's folder.
        halfway: how many trials have ended by then.
    """

    def __init__(self, study: Path, halfway: int) -> None:
        self._study, self._halfway = study, halfway
        self.ends: list[tuple[int, float, float]] = []
        self.found: Figures | None = None
        self.console = Console(file=self, width=1000, soft_wrap=True)  # type: ignore[arg-type]

    def write(self, text: str) -> int:
        """Look at what the driver says."""
        for done in map(int, re.findall(r"(\d+) of \d+ trials done", text)):
            self.ends.append((done, time.monotonic(), time.process_time()))
            if done == self._halfway:
                self.found = measure(self._study, done, 0.0)
        return len(text)

    def per_trial(self, slots: int) -> tuple[float, float]:
        """Seconds between two ends, and CPU seconds of the driver, once each worker has had a trial; from the end of that round on,
        as the trials of a round may end together."""
        warm = [end for end in self.ends if end[0] >= slots]
        (first, *begin), (last, *end) = warm[0], warm[-1]
        wall, cpu = ((now - then) / (last - first) for then, now in zip(begin, end, strict=True))
        return wall, cpu


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the two and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("account", "slots"))
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument(
        "--earlier", type=int, default=0, help="trials of --trials that are put together, not run (account)"
    )
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0, help="that a stub takes (slots)")
    parser.add_argument("--space", default="full_ablation")
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe")
    options = parser.parse_args(arguments)
    if options.part == "slots" and options.trials < 3 * options.slots:
        parser.error("at least three trials a slot are needed: the first of each worker waits for its start")
    space = load_space(options.space).fix("search.trials", options.trials)
    space = space.fix("search.sampler", options.sampler)
    warnings.filterwarnings("ignore")  # as the search's command line does
    with tempfile.TemporaryDirectory() as folder:
        if options.part == "slots":
            print(_SLOTS, flush=True)
            print(many_slots(Path(folder), space, options.slots, options.trials, options.seconds))
            return
        print(_ACCOUNT, flush=True)
        windows = []
        for window in account(Path(folder) / "study", space, options.slots, MARKS, options.earlier):
            windows.append(window)
            print(row(window), flush=True)
        print(verdict(windows))


def verdict(windows: Sequence[Window]) -> str:
    """Whether a trial's cost grows once the sampler learns from as many trials as it ever will."""
    full = [window for window in windows if window.trials > NEWEST + BEST]
    if len(full) < 2:
        return (
            f"too few trials to say whether it grows: up to {NEWEST + BEST} the sampler learns from ever more"
        )
    first, last = full[0], full[-1]
    part = max(PARTS, key=lambda name: last.parts[name] - first.parts[name])
    met = "does not grow" if last.total <= _TARGET * first.total else f"grows, most of all {part}"
    return (
        f"a trial's cost {met}: {first.total:.0f} ms of CPU time up to the {first.trials}th, "
        f"{last.total:.0f} ms up to the {last.trials}th"
    )


if __name__ == "__main__":
    main()
