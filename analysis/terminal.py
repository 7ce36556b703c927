"""Tables of text on a terminal."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_WIDEST = 200


def print_table(console: Console, title: str, frame: pd.DataFrame) -> None:
    """Print a table; every column but the last one keeps its lines whole."""
    console.print(f"\n{title}", style="bold", markup=False, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in frame.columns:
        table.add_column(str(name), no_wrap=name != frame.columns[-1], overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*map(Text, map(str, row)))  # brackets are no markup
    # On a narrow terminal it wraps, where rich would cut figures off.
    needed = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    console.width = max(console.width, needed)
    console.print(table)
