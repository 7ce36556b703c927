"""What sharing stages saves: ``python -m benchmarks.study_cost OUT --space full_ablation -- --trials 48``.

Runs the spaces as studies below OUT with one stage store (a study that is there is continued), and prints from
their histories what every trial alone would have cost, what all distinct pieces of training cost once, which no
sharing can go below, and what was spent.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from minbert.canonical import config_id
from minbert.config import TrainConfig
from minbert.files.durable import read_json_lines
from minbert.history import Record, cost_paid
from minbert.stage_chain import stage_ends
from minbert.yaml_reader import load_config


@dataclass(frozen=True)
class Piece:
    """An epoch of a stage on top of all that came before it.

    Attributes:
        key: equal for what trains the same.
        seconds: of training and scoring it; those of the store where it was taken from there.
        paid: what of this the trial spent itself.
    """

    key: str
    seconds: float
    paid: float


@dataclass
class Costs:
    """Sums over trials, in seconds of a slot.

    Attributes:
        trials: how many.
        full: all trials by themselves, each to its last epoch.
        alone: all trials by themselves, as far as they went.
        unique: every distinct piece once.
        paid: what was spent.
    """

    trials: int
    full: float
    alone: float
    unique: float
    paid: float


def pieces(config: TrainConfig, records: Iterable[Record]) -> Iterator[Piece]:
    """What a trial consists of; a beginning that was taken from the store is one piece, as long as it was there."""
    keys = {(end.stage, end.epochs): end.key for end in stage_ends(config)}
    ends = dict(config.running_stages())
    own = f"{config_id(config)} {config.seed}"
    for record in records:
        stage, epoch = record["stage"], record["epoch"]
        key = keys.get((stage, min(epoch, ends[stage].epochs)), f"{own} {stage} {epoch}")
        paid = cost_paid(record)
        yield Piece(key, paid + record.get("seconds_saved", 0.0), paid)


def costs(studies: Iterable[Path]) -> Costs:
    """Sum up finished studies that shared a store."""
    total, unique = Costs(0, 0.0, 0.0, 0.0, 0.0), dict[str, float]()
    for folder in sorted(folder for study in studies for folder in study.glob("trials/*")):
        config, records = load_config(folder / "config.yaml"), read_json_lines(folder / "history.jsonl")
        found = list(pieces(config, records))
        total.trials += 1
        total.paid += sum(piece.paid for piece in found)
        total.alone += sum(piece.seconds for piece in found)
        total.full += _to_the_end(config, records)
        for piece, record in zip(found, records, strict=True):
            if not record.get("shared"):
                unique.setdefault(piece.key, piece.seconds)
    total.unique = sum(unique.values())
    return total


def _to_the_end(config: TrainConfig, records: list[Record]) -> float:
    """What a trial would have cost alone with all epochs of its last stage, at the mean price of those it had."""
    name, stage = config.running_stages()[-1]
    last = [cost_paid(record) for record in records if record["stage"] == name]
    before = sum(cost_paid(r) + r.get("seconds_saved", 0.0) for r in records if r["stage"] != name)
    return before + (sum(last) / len(last) * stage.last_epoch if last else 0.0)


def main() -> None:
    """Run the studies and print the table."""
    arguments, options = _arguments()
    begin = time.perf_counter()
    studies = [arguments.out / space.replace("/", "-") for space in arguments.space]
    for space, study in zip(arguments.space, studies, strict=True):
        stages = ("--stages", str(arguments.out / "stages"))
        search = [sys.executable, "-m", "trainables.search", "--space", space, "--study", str(study), *stages]
        if code := subprocess.run([*search, *options], check=False).returncode:
            sys.exit(code)
    found = costs(studies)
    print(
        f"\n{found.trials} trials of {', '.join(arguments.space)}, {time.perf_counter() - begin:.0f} s on the clock"
    )
    print(f"every trial alone, to its last epoch  {found.full:9.0f} s")
    print(f"every trial alone, as far as it went  {found.alone:9.0f} s")
    print(f"every distinct piece once             {found.unique:9.0f} s")
    print(f"spent                                 {found.paid:9.0f} s")
    print(f"ceiling of sharing: {found.alone / found.unique:.2f}×; reached: {found.alone / found.paid:.2f}×")
    print(
        f"({found.unique / found.paid:.0%} of the ceiling); with early stopping: {found.full / found.paid:.2f}×"
    )


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    given = sys.argv[1:]
    split = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the studies and their stage store")
    parser.add_argument(
        "--space", action="append", required=True, help="repeatable; options of the search follow --"
    )
    return parser.parse_args(given[:split]), given[split + 1 :]


if __name__ == "__main__":
    main()
