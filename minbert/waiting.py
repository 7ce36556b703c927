"""A progress bar on stderr for what takes longer than a moment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_MOMENT = 1.0
"""Seconds without a bar."""


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Show how much is done, on a terminal alone, and clear it at the end; yields what is told of every step's size."""
    with tqdm(
        total=total,
        unit=f" {unit}",
        delay=_MOMENT,
        leave=False,
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
    ) as bar:
        yield bar.update
