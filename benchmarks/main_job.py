"""How much of a search's slot time is training: ``python -m benchmarks.main_job``.

Runs the bundled main job (24 trials of full_ablation unless told otherwise) in a temporary
folder and prints the share of slot time that workers spend in training and evaluation,
from the first trial's first epoch on (warm workers) and over the whole command.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from analysis.study import load


def main() -> None:
    """Run the study and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("options", nargs="*", help="further options of trainables.search, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "trainables.search", "--space", "full_ablation"]
        command += ["--study", f"{folder}/study", "--trials", str(arguments.trials), *arguments.options]
        begin = time.time()
        subprocess.run(command, check=True)
        wall = time.time() - begin
        show(load(Path(folder) / "study").trials, wall, len(os.sched_getaffinity(0)))


def show(trials: pd.DataFrame, wall: float, slots: int) -> None:
    """Print slot time, what of it was training, and what the trials waited for.

    Args:
        trials: the frame of :class:`analysis.study.Study`.
        wall: seconds of the whole command.
        slots: trials at a time.
    """
    done = trials[trials["finished"].notna()]
    work = float(done["cost_paid"].sum())
    first = done.sort_values("started").head(slots)
    warm = done[~done["number"].isin(first["number"])]
    slot_seconds = float(warm["seconds"].sum())
    gaps = _gaps(done, slots)
    busy = float(warm["cost_paid"].sum())
    print(f"\n{len(done)} trials on {slots} slots: {wall:.1f} s for the whole command")
    print(
        f"training and evaluation: {work:.1f} s, {work / (wall * slots):.0%} of the whole command's slot time"
    )
    print(
        f"on warm workers: {busy:.1f} s of {slot_seconds + gaps:.1f} s slot time, {busy / (slot_seconds + gaps):.0%}"
    )
    print(f"from one trial's end to the next one's start: {gaps / max(1, len(warm)):.2f} s a trial")


def _gaps(done: pd.DataFrame, slots: int) -> float:
    """Seconds that slots stood empty between trials: replay the trials on the slots in order of start."""
    free = list(done.sort_values("started")["started"].head(slots))
    lost = 0.0
    for trial in done.sort_values("started").itertuples():
        slot = min(range(len(free)), key=lambda index: free[index])
        lost += max(0.0, (trial.started - free[slot]).total_seconds())
        free[slot] = trial.finished
    return lost


if __name__ == "__main__":
    main()
