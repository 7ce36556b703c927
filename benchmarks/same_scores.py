"""Whether the package's way of training scores as the plain way does: ``python -m benchmarks.same_scores OUT``.

Trains the baseline (:mod:`benchmarks.baseline`) and the package with the same model, batch size, learning rate,
dropout and number of steps from the same pre-trained encoder, with several seeds, and compares what they score on dev.
Every run is a line of OUT, and one that stands there is not trained again. With ``--data`` and ``--encoder`` (a checkpoint
of MiniLM's or BERT-base's shape) on real data.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from scipy import stats

from benchmarks.baseline import LEARNING_RATE, Baseline
from benchmarks.cases import SHAPES, Case, Material
from benchmarks.ours import Ours
from minbert.config import TaskConfig
from minbert.evaluation import metric, probabilities

SIDES = ("baseline", "minbert")
EXAMPLES = 2_000  # first dev examples of every task that are scored
# What the baseline does, as a stage's leaves.
SAME: dict[str, Any] = {
    "learning_rate": LEARNING_RATE,
    "schedule": "constant",
    "warmup_share": 0,
    "max_grad_norm": 0,
    "weight_decay": 0.01,
    "dropout": 0.1,
    "encoder_dropout": 0.1,
}


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        case: heads, batch and threads.
        side: a name of SIDES.
        seed: of fresh heads, order and dropout.
        steps: of a batch of every task.
    """

    case: str
    side: str
    seed: int
    steps: int


def train(run: Run, case: Case, material: Material) -> dict[str, np.ndarray]:
    """Predictions on dev after a run, by task, in the form that trials store."""
    tasks = case.config().tasks
    torch.set_num_threads(case.threads)
    if run.side == "baseline":
        plain = Baseline(case, material, run.seed)
        for _ in track(range(run.steps), f"{run.side}, seed {run.seed}"):
            plain.step()
        return {
            task: probabilities(tasks[task].kind, output).numpy().astype(np.float64)
            for task, output in plain.outputs(EXAMPLES).items()
        }
    ours = Ours(case, material, seed=run.seed, **SAME)
    for _ in track(range(run.steps), f"{run.side}, seed {run.seed}"):
        ours.step()
    return ours.predictions(EXAMPLES)


def compare(scores: dict[str, list[float]]) -> str:
    """A line on the scores of both sides, one a seed: means, and their difference with its 95% interval (Welch)."""
    plain, ours = (np.array(scores[side]) for side in SIDES)
    interval = stats.ttest_ind(ours, plain, equal_var=False).confidence_interval()
    difference = ours.mean() - plain.mean()
    return (
        f"baseline {plain.mean():.4f} ± {plain.std(ddof=1):.4f}, minbert {ours.mean():.4f} ± {ours.std(ddof=1):.4f}, "
        f"difference {difference:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})"
    )


def main() -> None:
    """Train what is missing and print the comparison."""
    arguments = _parser().parse_args()
    material = Material(arguments.data, arguments.encoder, pretrained=True)
    shape = next(name for name, shape in SHAPES.items() if shape == material.files.config)
    case = Case(shape, arguments.heads, arguments.batch, arguments.threads)
    tasks = case.config().tasks
    runs = [Run(str(case), side, seed, arguments.steps) for seed in range(arguments.seeds) for side in SIDES]
    done = _read(arguments.out)
    for run in runs:
        if run not in done:
            begin = time.perf_counter()
            done[run] = _scores(train(run, case, material), tasks, material)
            line = {**asdict(run), "scores": done[run], "seconds": time.perf_counter() - begin}
            with arguments.out.open("a", encoding="utf-8") as file:
                print(json.dumps(line), file=file)
    for task in tasks:
        values = {side: [done[run][task] for run in runs if run.side == side] for side in SIDES}
        print(f"{task}: {compare(values)}")


def _scores(
    predictions: dict[str, np.ndarray], tasks: dict[str, TaskConfig], material: Material
) -> dict[str, float]:
    scores = {}
    for task, values in predictions.items():
        labels = material.raw.splits[task]["dev"].labels
        assert labels is not None
        scores[task] = metric(tasks[task].kind, values, labels[: len(values)])
    return scores


def _read(path: Path) -> dict[Run, dict[str, float]]:
    lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines() if path.exists() else ()
    found = {}
    for line in lines:
        row = json.loads(line)
        found[Run(row["case"], row["side"], row["seed"], row["steps"])] = row["scores"]
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="file of finished runs, one JSON object a line")
    parser.add_argument("--data", type=Path, help="folder in the course's layout")
    parser.add_argument("--encoder", type=Path, required=True, help="checkpoint of MiniLM's or base's shape")
    parser.add_argument("--heads", choices=("bi", "cross"), default="bi")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--steps", type=int, default=267, help="267 of 32 are one pass through the course's SST"
    )
    parser.add_argument("--seeds", type=int, default=3)
    return parser


if __name__ == "__main__":
    main()
