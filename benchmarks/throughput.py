"""Training and evaluation throughput beside two other programs: ``python -m benchmarks.throughput``.

All sides of a case take turns, a step each, in one process; medians and ratios are printed, and what the
products of a step achieve of the machine's own peak, measured in the same run. Random weights; real
sentence lengths with ``--data`` and ``--encoder`` (whose vocabulary is used), else those of the bundled
corpus. ``--only`` takes parts of case names, such as ``minilm cross b32 1thr``.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.baseline import Baseline
from benchmarks.cases import Case, Heads, Material, Side
from benchmarks.ours import Ours
from benchmarks.tuned_loop import TunedLoop

PARTS = ("train", "evaluate", "pcgrad", "memory")
_HEADS: tuple[Heads, ...] = ("bi", "cross")
CASES = [
    Case(shape, heads, batch, threads)
    for shape in ("minilm", "base")
    for batch in (8, 32)
    for heads in _HEADS
    for threads in (1, 2)
]
_PEAK_SIZES = ((1536, 384, 1536), (1536, 768, 3072), (2048, 2048, 2048))
_WARM = 2


def main() -> None:
    """Run the parts that were asked for."""
    arguments = _parser().parse_args()
    material = Material(arguments.data, arguments.encoder)
    if arguments.memory_of:
        batch, micro = arguments.memory_of
        print(peak_memory(material, batch, micro))
        return
    cases = [case for case in CASES if not arguments.only or _matches(case, arguments.only)]
    for part in arguments.parts:
        if part == "memory":
            _memory_lines(arguments)
            continue
        lines = [_LINES[part](case, material, arguments) for case in cases]
        print(f"\n{part}:")
        print("\n".join(lines), flush=True)


def in_turn(sides: Sequence[Side], rounds: int, act: Callable[[Side], None], warm: int) -> np.ndarray:
    """Seconds (rounds, sides) of ``act`` on every side, one after the other in every round."""
    for side in sides:
        for _ in range(warm):
            act(side)
    seconds = np.empty((rounds, len(sides)))
    for row in seconds:
        for number, side in enumerate(sides):
            begin = time.perf_counter()
            act(side)
            row[number] = time.perf_counter() - begin
    return seconds


def matmul_peak(dtype: torch.dtype) -> float:
    """Operations a second of the fastest of a few large products."""
    found = []
    for rows, inner, columns in _PEAK_SIZES:
        a, b = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
        times = []
        for _ in range(12):
            begin = time.perf_counter()
            torch.nn.functional.linear(a, b)
            times.append(time.perf_counter() - begin)
        found.append(2 * rows * inner * columns / float(np.median(times)))
    return max(found)


def training_line(case: Case, material: Material, arguments: argparse.Namespace) -> str:
    """Sentences a second of every side, ratios, and the share of the machine's peak."""
    torch.set_num_threads(case.threads)
    automatic, exact = Ours(case, material), Ours(case, material, "fp32")
    sides: list[Side] = [Baseline(case, material), TunedLoop(case, material), exact, automatic]
    peaks = {dtype: matmul_peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = in_turn(sides, arguments.steps, lambda side: side.step(), _WARM)
    rates = automatic.flops(_WARM + arguments.steps)[_WARM:] / seconds[:, -1]
    used = " ".join(f"{np.median(rates) / peak:.0%} of {_giga(peak)}" for peak in peaks.values())
    line = _line(case, sides, seconds, case.sentences)
    return _told(f"{line} | {_giga(float(np.median(rates)))} of GFLOP/s fp32, bf16: {used}")


def evaluation_line(case: Case, material: Material, arguments: argparse.Namespace) -> str:
    """The same for predictions on dev."""
    torch.set_num_threads(case.threads)
    count = min([arguments.examples, *(len(s["dev"]) for s in material.raw.splits.values())])
    sides: list[Side] = [
        Baseline(case, material),
        TunedLoop(case, material),
        Ours(case, material, "fp32"),
        Ours(case, material),
    ]
    seconds = in_turn(sides, max(2, arguments.steps // 3), lambda side: side.evaluate(count), 1)
    return _told(_line(case, sides, seconds, 5 * count))


def pcgrad_line(case: Case, material: Material, arguments: argparse.Namespace) -> str:
    """A step with PCGrad against a plain one."""
    torch.set_num_threads(case.threads)
    sides: list[Side] = [Ours(case, material), Ours(case, material, pcgrad=True)]
    seconds = in_turn(sides, 2 * arguments.steps, lambda side: side.step(), _WARM)
    plain, projected = np.median(seconds, axis=0)
    ratio = float(np.median(seconds[:, 1] / seconds[:, 0]))
    return _told(f"{case}: plain {plain * 1e3:.0f} ms, PCGrad {projected * 1e3:.0f} ms, ratio {ratio:.2f}")


_LINES = {"train": training_line, "evaluate": evaluation_line, "pcgrad": pcgrad_line}


def peak_memory(material: Material, batch: int, micro: int) -> str:
    """Peak memory of this process after a few PCGrad steps; ``micro`` 0: the batch in one piece."""
    side = Ours(Case("minilm", "cross", batch, 1), material, pcgrad=True, micro_batch_size=micro or None)
    for _ in range(3):
        side.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"minilm cross b{batch} PCGrad, micro-batches of {micro or batch}: peak {peak:.0f} MiB"


def _memory_lines(arguments: argparse.Namespace) -> None:
    print("\nmemory:")
    for batch, micro in ((8, 0), (32, 0), (64, 0), (128, 0), (8, 8), (32, 8), (64, 8), (128, 8)):
        command = [sys.executable, "-m", "benchmarks.throughput", "--memory-of", str(batch), str(micro)]
        for option in ("data", "encoder"):
            if getattr(arguments, option):
                command += [f"--{option}", str(getattr(arguments, option))]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def _line(case: Case, sides: Sequence[Side], seconds: np.ndarray, sentences: int) -> str:
    """Sentences a second of each side; in brackets the median ratio to the first and to the second one."""
    parts = []
    for number, side in enumerate(sides):
        ratios = [float(np.median(seconds[:, other] / seconds[:, number])) for other in (0, 1)]
        beside = f" ({ratios[0]:.2f}x, {ratios[1]:.2f}x)" if number else ""
        parts.append(f"{side.name} {sentences / float(np.median(seconds[:, number])):.0f}{beside}")
    return f"{case}: sentences/s " + ", ".join(parts)


def _matches(case: Case, only: Sequence[str]) -> bool:
    words = str(case).split()
    return all(any(word in wanted.split(",") for word in words) for wanted in only)


def _told(line: str) -> str:
    print(line, flush=True)
    return line


def _giga(rate: float) -> str:
    return f"{rate / 1e9:.0f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="folder in the course's layout (default: the bundled corpus)"
    )
    parser.add_argument(
        "--encoder", type=Path, help="checkpoint whose vocabulary is used (default: the bundled)"
    )
    parser.add_argument(
        "--only", nargs="+", help="words of case names; commas join alternatives, as in: minilm b8,b32 2thr"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--steps", type=int, default=9, help="measured steps of every side")
    parser.add_argument("--examples", type=int, default=400, help="dev examples of every task in evaluation")
    parser.add_argument("--memory-of", type=int, nargs=2, metavar=("BATCH", "MICRO"), help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
