"""What a trial costs beside its training: ``python -m benchmarks.overhead``.

First stubs of three seconds (:mod:`benchmarks.stub_trials`) on two slots, against the ideal; then real trials of one
short epoch on the bundled data: how long a worker that has run one takes from a trial's end to the first step of
the next one.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from benchmarks.stub_trials import run_stubs
from minbert.bundled import CORPUS, ENCODER
from minbert.files.durable import read_json_lines
from minbert.history import cost_paid
from minbert.interrupts import Interrupts
from minbert.sources import resolve
from trainables.machines.connection import quieten_ray, start_ray
from trainables.machines.placement import Placement, TrialResources
from trainables.running.driver import Plan, run_study
from trainables.spaces.space import load_space
from trainables.studies.locks import locked

SLOTS, TARGET, GAP_TARGET = 2, 0.15, 0.5
SHORT = """\
description: Short trials, so that what lies between them shows.
search: {design: grid, replicates: 2}
pooling: {choice: [mean, cls, pooler]}
shared_layer: {choice: [none, all]}
stages: {finetune: {epochs: 1, epoch_examples: 320, learning_rate: {choice: [1e-4, 1e-3]}}}
"""


class Clock(Console):
    """A console that prints nothing and knows when the first trial started and the last line came."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.first = self.last = 0.0

    def print(self, *objects: object, **options: object) -> None:
        """Look at a line of progress."""
        self.last = time.monotonic()
        if not self.first and any(re.search(r"trial \d+ started", str(each)) for each in objects):
            self.first = self.last


def stubs(folder: Path, placement: Placement, trials: int, seconds: float) -> None:
    """Print the time of stubs against the ideal."""
    space = load_space("full_ablation").fix("search.trials", trials)
    clock, begin = Clock(), time.monotonic()
    run_stubs(folder / "stubs", space, lambda: placement, clock, seconds, SLOTS)
    took, ideal = clock.last - clock.first, trials * seconds / SLOTS
    lost = took / ideal - 1
    print(f"{trials} stubs of {seconds:g} s on {SLOTS} slots: {took:.0f} s, ideal {ideal:.0f} s")
    print(f"with the start of Ray: {time.monotonic() - begin:.0f} s")
    print(
        f"lost: {lost:.1%} at most {TARGET:.0%}: {_met(lost <= TARGET)}; {lost * seconds:.2f} s of a slot a trial"
    )


def short_trials(folder: Path, placement: Placement) -> None:
    """Print how long warm workers take from one real trial to the next."""
    file = folder / "short.yaml"
    file.write_text(SHORT, encoding="utf-8")
    space = load_space(str(file))
    sources = resolve(str(CORPUS), str(ENCODER), space.example().tasks)
    study = folder / "short"
    plan = Plan(space, sources, study, 0, "", max_concurrent=SLOTS)
    with locked(study):
        run_study(plan, lambda: placement, Console(quiet=True), Interrupts(""))
    gaps = gaps_between(study)
    median = statistics.median(gaps)
    print(f"{len(gaps)} times from a trial's end to the next one's first step on a warm worker:")
    print(
        f"median {median:.2f} s, at most {max(gaps):.2f} s; target {GAP_TARGET}: {_met(median <= GAP_TARGET)}"
    )


def gaps_between(study: Path) -> list[float]:
    """Seconds between trials of one epoch on each worker process; of keeping the model, which comes in between, too."""
    by_process: dict[int, list[tuple[float, float]]] = {}
    for trial in study.glob("trials/*"):
        owner = json.loads((trial / "attempts" / "0001").read_text(encoding="utf-8"))
        (record,) = read_json_lines(trial / "history.jsonl")
        end = (trial / "history.jsonl").stat().st_mtime
        by_process.setdefault(owner["process"], []).append((end - cost_paid(record), end))
    return [
        later[0] - earlier[1] for spans in by_process.values() for earlier, later in pairwise(sorted(spans))
    ]


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    quieten_ray()
    placement = Placement(start_ray(None), TrialResources(1, 0.0))
    with tempfile.TemporaryDirectory() as folder:
        stubs(Path(folder), placement, arguments.trials, arguments.seconds)
        short_trials(Path(folder), placement)


if __name__ == "__main__":
    main()
