"""How far something is that takes longer than a moment, on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_MOMENT = 1.0
"""Seconds without a bar."""
_BETWEEN_LINES = 15.0
"""Seconds before each plain line."""


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Show how much is done, and clear a bar at the end; yields what is told of every step's size."""
    if not sys.stderr.isatty():
        yield _Lines(total, unit).advance
        return
    with tqdm(total=total, unit=f" {unit}", delay=_MOMENT, leave=False, file=sys.stderr) as bar:
        yield bar.update


class _Lines:
    def __init__(self, total: int, unit: str) -> None:
        self._total, self._unit, self._done = total, unit, 0
        self._next = time.monotonic() + _BETWEEN_LINES

    def advance(self, count: int) -> None:
        """Say a line where the last one is long ago."""
        self._done += count
        if time.monotonic() >= self._next and self._done < self._total:
            print(f"{self._done:,} of {self._total:,} {self._unit}", file=sys.stderr, flush=True)
            self._next = time.monotonic() + _BETWEEN_LINES
