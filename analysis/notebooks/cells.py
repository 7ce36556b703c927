"""How a notebook's cell opens its study and shows a table."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from analysis.study import Study, load

FOLDER = Path(__file__).parent
UNBROKEN = 20
"""Cells of so many characters stay on one line."""


@dataclass(frozen=True)
class Table:
    """A table as a notebook shows it: all columns and the whole text of every cell, without row numbers."""

    frame: pd.DataFrame
    title: str = ""

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            html = self.frame.map(_unbroken).to_html(index=False, border=0, justify="left", na_rep="–")
        # Notebooks align cells to the right, which makes words hard to read.
        for tag in ("th", "td"):
            html = html.replace(f"<{tag}>", f'<{tag} style="text-align: left">')
        return f"<p><b>{escape(self.title)}</b></p>\n{html}" if self.title else html

    def __repr__(self) -> str:
        text = self.frame.to_string(index=False, na_rep="–")
        return f"{self.title}\n\n{text}" if self.title else text


def table(frame: pd.DataFrame, title: str = "") -> Table:
    """Show a frame of texts or rounded numbers, below its title if it has one."""
    return Table(frame, title)


def open_study(path: str | Path) -> Study:
    """Open a study folder; a relative path may start in the working directory, beside the notebooks or in the project's root.

    So one path works whether a notebook runs in its own folder, as Jupyter does, or in the root.

    Raises:
        UserError: no such folder, or not a study.
    """
    places = [start / path for start in (Path(), FOLDER, FOLDER.parents[1])]
    return load(next((place for place in places if place.is_dir()), path))


def _unbroken(cell: object) -> object:
    """A short text with spaces that no line ends at; code hosts drop styles but keep characters."""
    return (
        cell.replace(" ", "\N{NO-BREAK SPACE}") if isinstance(cell, str) and len(cell) <= UNBROKEN else cell
    )
