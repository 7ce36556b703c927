"""How far a download is, on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_TENTHS_FROM = 10_000_000
"""Bytes from which on a file gets a plain line at every tenth."""


class Watch:
    """Shows downloads, one after another.

    Args:
        console: where to; stderr by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

    def say(self, line: str) -> None:
        """One line."""
        self._console.print(line)

    @contextmanager
    def file(self, name: str, total: int | None, there: int) -> Iterator[Callable[[int], None]]:
        """Show one file; the block gets the function that takes how many bytes came."""
        if not self._console.is_terminal:
            yield _Lines(self.say, name, total, there).advance
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task(name, total=total, completed=there)
            yield lambda count: bar.advance(task, count)


class _Lines:
    def __init__(self, say: Callable[[str], None], name: str, total: int | None, there: int) -> None:
        self._say, self._name, self._total, self._there = say, name, total, there
        self._told = self._tenth()
        size = "" if total is None else f" ({total / 1e6:,.1f} MB)"
        going_on = f", going on after {there / 1e6:,.1f} MB" if there else ""
        say(f"{name}{size}{going_on}")

    def advance(self, count: int) -> None:
        """Say a line where the next tenth of a large file is there."""
        self._there += count
        tenth = self._tenth()
        if self._total and self._total >= _TENTHS_FROM and tenth > self._told:
            self._say(f"{self._name}: {10 * tenth} %")
        self._told = tenth

    def _tenth(self) -> int:
        return 10 * self._there // self._total if self._total else 0
