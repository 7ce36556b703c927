"""Tables of text on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_WIDEST = 200


def print_table(console: Console, title: str, frame: pd.DataFrame) -> None:
    """Print a table; every column but the last keeps its lines whole, and a repeated first cell is left blank.

    A column ``settings`` is too long for a cell: it goes below the table, numbered by row; empty ones are left out.
    """
    console.print(f"\n{title}", style="bold", markup=False, highlight=False)
    settings = frame["settings"].tolist() if "settings" in frame else []
    frame = frame.drop(columns="settings", errors="ignore")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in frame.columns:
        table.add_column(str(name), no_wrap=name != frame.columns[-1], overflow="fold")
    previous = ""
    for row in frame.itertuples(index=False):
        first, *rest = map(str, row)
        table.add_row(*map(Text, ("" if first == previous else first, *rest)))  # brackets are no markup
        previous = first
    # On a narrow terminal it wraps, where rich would cut figures off.
    needed, width = (
        Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum,
        console.width,
    )
    console.width = max(width, needed)
    console.print(table)
    console.width = width
    for rank, text in enumerate(settings, 1):
        for line in _between_settings(f"{rank}: {text}", width) if text else ():
            console.print(line, highlight=False, markup=False)


def _between_settings(text: str, width: int) -> Iterator[str]:
    """The lines of ``1: a=b, c=d, …``, none of which ends inside a setting."""
    line, *others = re.split(r"(?<=,) (?=[\w.-]+=)", text)
    for setting in others:
        if len(line) + 1 + len(setting) > width:
            yield line
            line = f"   {setting}"
        else:
            line = f"{line} {setting}"
    yield line
