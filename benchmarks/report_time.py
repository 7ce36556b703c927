"""How long it takes to read and report a large study: ``python -m benchmarks.report_time [--trials N]``.

Writes a synthetic study into a temporary folder, then prints the seconds of each part of the analysis within one
process, and those of the whole commands, each in a process of its own as a user starts them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from analysis.ablation import leaderboard, main_effects
from analysis.common_epoch import at_common_epoch
from analysis.ensemble import best_trials, greedy, methods_table
from analysis.headline import margin_of_first
from analysis.importance import importance
from analysis.interactions import interactions
from analysis.pareto import hypervolume_over_time, pareto_front
from analysis.study import Study, load
from benchmarks.synthetic_study import write_study


def main() -> None:
    """Write the study, time the parts and the commands, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the study there and leave it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = arguments.keep or Path(temporary) / "study", Path(temporary)
        begin = time.perf_counter()
        write_study(folder, arguments.trials)
        print(f"{arguments.trials} trials written in {time.perf_counter() - begin:.1f} s\n")
        show("within one process", time_parts(load(folder)))
        show("commands", time_commands(folder, out))


def time_parts(study: Study) -> dict[str, float]:
    """Seconds of each part; what an earlier part has read is not read again."""
    seconds = {"trials": timed(lambda: study.trials), "history": timed(lambda: study.history)}
    trials, factors, tasks = study.trials, study.factors, list(study.tasks)
    seconds["leaderboard"] = timed(lambda: leaderboard(trials, tasks, factors=factors))
    compared = at_common_epoch(study).trials
    parts: dict[str, Callable[[], object]] = {
        "common epoch": lambda: at_common_epoch(study),
        "main effects": lambda: main_effects(compared, factors, tasks),
        "interactions": lambda: interactions(compared, factors),
        "importance": lambda: importance(compared, factors, tasks),
        "Pareto front": lambda: pareto_front(trials, tasks),
        "hypervolume": lambda: hypervolume_over_time(trials, tasks),
        "lead of the first": lambda: margin_of_first(study, leaderboard(trials, tasks, factors=factors)),
    }
    seconds |= {name: timed(part) for name, part in parts.items()}
    pool, predictions = best_trials(study), {}
    for task in tasks:
        begin = time.perf_counter()
        predictions[task] = study.predictions(task, pool)
        seconds[f"{task} predictions, {len(pool)} trials"] = time.perf_counter() - begin
    seconds["greedy ensemble"] = timed(lambda: greedy(predictions, study.tasks))
    seconds["all ensembles"] = timed(lambda: methods_table(predictions, study.tasks))
    return seconds


def time_commands(folder: Path, out: Path) -> dict[str, float]:
    """Seconds of each command line, start of Python and imports included."""
    commands = {
        "analysis.report": ["--out", str(out / "report")],
        "analysis.ensemble": ["--out", str(out / "ensemble")],
        "analysis.errors": [],
    }
    return {name: timed(partial(command, name, folder, options)) for name, options in commands.items()}


def command(name: str, folder: Path, options: list[str]) -> None:
    """Run a command line over the study, its output dropped.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    words = [sys.executable, "-m", name, str(folder), *options]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def timed(part: Callable[[], object]) -> float:
    begin = time.perf_counter()
    part()
    return time.perf_counter() - begin


def show(title: str, seconds: dict[str, float]) -> None:
    """Print seconds and shares, a line a part."""
    total = sum(seconds.values())
    print(f"{title}: {total:.1f} s")
    for name, spent in seconds.items():
        print(f"  {name:<24}{spent:7.2f} s  {spent / total:4.0%}")


if __name__ == "__main__":
    main()
