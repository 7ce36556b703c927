"""What is done when memory runs out: recognise it, let go of what was held, and remember what was halved.

A split is noted with the step from which on it holds before that step is taken again, so that a trial that
is interrupted and continued takes the same passes at the same steps, whatever memory there is then.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from minbert.files.durable import append_json, read_json_lines

Kind = Literal["micro_batch", "evaluation_tokens"]
"""What was halved: the examples of a task in a training pass, or the tokens of an evaluation batch."""

SPLITS = "memory_splits.jsonl"
_SIGNS = (
    "DefaultCPUAllocator",  # an allocation on the CPU
    "std::bad_alloc",  # the same inside a library
    "out of memory",  # of a GPU, where it is not torch.OutOfMemoryError
    "ALLOC_FAILED",  # inside cuBLAS and cuDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: on a GPU, or on the CPU from torch, NumPy or Python."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def first_line(error: BaseException) -> str:
    """What an error says, in one line: allocators tell long stories, Python nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def release_memory(model: nn.Module) -> None:
    """Drop all gradients and what the allocator keeps; call where the error and its frames are gone."""
    for parameter in model.parameters():
        parameter.grad = None
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Split:
    """What holds from a step (from 1; 0: of the evaluation) of an epoch to the end of its stage."""

    kind: Kind
    stage: str
    epoch: int
    step: int
    size: int


class MemorySplits:
    """The splits of a trial, in ``memory_splits.jsonl`` of its folder; without a folder in memory alone.

    Args:
        folder: the trial's folder.
        run: names the run (:func:`minbert.canonical.run_name`); what is another's is not used.
        before_writing: is called before a split is noted there.

    Attributes:
        damaged: whether the file is not what this run noted; none of it is used then.
    """

    def __init__(
        self, folder: Path | None = None, run: str = "", before_writing: Callable[[], None] = lambda: None
    ) -> None:
        self._file = None if folder is None else folder / SPLITS
        self._run, self._before_writing = run, before_writing
        self._splits: list[Split] = []
        self.damaged = False
        try:
            self._splits = [] if self._file is None else _read(self._file, run)
        except (ValueError, TypeError):
            self.damaged = True

    @property
    def count(self) -> int:
        """How many are noted."""
        return len(self._splits)

    def drop_damaged(self) -> None:
        """Remove a damaged file, once nothing is left that was trained by it."""
        if self.damaged and self._file is not None:
            self._file.unlink(missing_ok=True)
        self.damaged = False

    def size(self, kind: Kind, stage: str, epoch: int, step: int = sys.maxsize) -> int | None:
        """What the stage was cut down to by a step, or by the end of an epoch; None: nothing was."""
        found = [split for split in self._splits if (split.kind, split.stage) == (kind, stage)]
        return min((s.size for s in found if (s.epoch, s.step) <= (epoch, step)), default=None)

    def add(self, split: Split) -> None:
        """Note a split."""
        self._splits.append(split)
        if self._file is not None:
            self._before_writing()
            append_json(self._file, {"of": self._run, **asdict(split)})


def _read(file: Path, run: str) -> list[Split]:
    """What is noted.

    Raises:
        ValueError, TypeError: a line is no split of the run.
    """
    lines = read_json_lines(file)
    if any(line.pop("of", None) != run for line in lines):
        raise ValueError("of another run")
    splits = [Split(**line) for line in lines]
    if not all(map(_is_possible, splits)):
        raise ValueError("no split")
    return splits


def _is_possible(split: Split) -> bool:
    least = {"epoch": 0, "step": 0, "size": 1}
    numbers = all(_is_whole(getattr(split, name), low) for name, low in least.items())
    return split.kind in get_args(Kind) and isinstance(split.stage, str) and numbers


def _is_whole(value: Any, low: int) -> bool:
    return type(value) is int and low <= value <= sys.maxsize
