"""The table of the trials that run, in as many columns as the terminal has room for.

No number is ever cut. Where there is little room, the time loses its seconds, the columns of time and of what is done go,
names are cut, and at last epochs and the last tasks go, in this order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from minbert.now import SCORING
from trainables.watching.running_trials import Running
from trainables.watching.texts import duration, printable

BEGUN = "begun"
"""What a trial is that has not ended where no driver is at work any more."""
_NAME_LEAST = 8
"""Cells of a stage's name, or of a run's, that are left of it at least."""
_HEADER_LEAST = 5
_GAPS = (2, 1)
_Side = Literal["left", "right"]


@dataclass(frozen=True)
class RunningTable:
    """Draws itself into the room that it is given.

    Attributes:
        trials: of which each is a row.
        tasks: their names, for the columns.
        at_work: whether a driver works on the study; else no time passes.
    """

    trials: Sequence[Running]
    tasks: Sequence[str]
    at_work: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns, gap = self._fitting(options.max_width)
        widths = _widths(columns, options.max_width - gap * (len(columns) - 1))
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0))
        for column, width in zip(columns, widths, strict=True):
            table.add_column(
                Text(column.name), width=width, justify=column.side, overflow="ellipsis", no_wrap=True
            )
        for row in zip(*(column.cells for column in columns), strict=True):
            table.add_row(*map(Text, row))
        yield table

    def _fitting(self, room: int) -> tuple[list[_Column], int]:
        """The columns that there is room for, and the cells between two of them."""
        for columns, least in self._choices():
            for gap in _GAPS:
                need = sum(column.least if least else column.whole for column in columns)
                if need + gap * (len(columns) - 1) <= room:
                    return columns, gap
        return columns, gap

    def _choices(self) -> Iterator[tuple[list[_Column], bool]]:
        """Columns, fewer and fewer, each time with whether their names may be cut."""
        names, scores = self._names(), self._scores()
        epoch = _Column("epoch", [_epoch(trial) for trial in self.trials])
        done = _Column("done", [_done(trial) for trial in self.trials])
        for short in (False, True) if self.at_work else ():
            times = _Column("time", [duration(trial.elapsed, short) for trial in self.trials])
            yield [*names, epoch, done, *scores, times], False
        yield [*names, epoch, done, *scores], False
        yield [*names, epoch, *scores], False
        yield [*names, epoch, *scores], True
        for count in range(len(self.tasks), -1, -1):
            yield [*names, *scores[:count], scores[-1]], True

    def _names(self) -> list[_Column]:
        numbers = [f"{trial.number} {trial.run}".strip() for trial in self.trials]
        longest = max(len(str(trial.number)) for trial in self.trials)
        start = "starting" if self.at_work else f"{BEGUN}, no epoch done"
        return [
            _Column("trial", numbers, longest + (1 + _NAME_LEAST) * any(trial.run for trial in self.trials)),
            _Column("stage", [trial.stage or start for trial in self.trials], _NAME_LEAST, "left"),
        ]

    def _scores(self) -> list[_Column]:
        cells = {name: [_score(trial, name) for trial in self.trials] for name in (*self.tasks, "score")}
        return [_Column(name, of, max(map(len, of))) for name, of in cells.items()]


class _Column:
    """Cells below a name.

    Args:
        name: of the column.
        cells: one a trial.
        least: width below which nothing may be cut; None: nothing may.
        side: where cells stand in their column.

    Attributes:
        whole: width in which nothing is cut.
        least: the smallest width.
    """

    def __init__(
        self, name: str, cells: Sequence[str], least: int | None = None, side: _Side = "right"
    ) -> None:
        self.name, self.cells = printable(name), [printable(cell) for cell in cells]
        self.side = side
        self.whole = max(map(cell_len, (self.name, *self.cells)))
        self.least = self.whole if least is None else min(max(least, _HEADER_LEAST), self.whole)


def _widths(columns: Sequence[_Column], room: int) -> list[int]:
    """The width of each column; what is too much is taken from the first ones that can do with less."""
    beyond = sum(column.whole for column in columns) - room
    widths = []
    for column in columns:
        taken = min(max(beyond, 0), column.whole - column.least)
        widths.append(column.whole - taken)
        beyond -= taken
    return widths


def _score(trial: Running, name: str) -> str:
    if name not in trial.scores:
        return ""
    mark = "*" if name in trial.constant else " "
    return f"{trial.scores[name]:.3f}{mark}"


def _epoch(trial: Running) -> str:
    if not trial.epoch:
        return ""
    return f"{trial.epoch}/{trial.epochs}" if trial.epochs else str(trial.epoch)


def _done(trial: Running) -> str:
    """How far it is in its epoch's training or scoring; only what is wholly done is 100%."""
    share = "" if trial.share is None else f"{math.floor(100 * trial.share)}%"
    return f"{SCORING} {share}".strip() if trial.doing == SCORING else share
