"""What a report is made of: sections with a paragraph, a table, pictures, facts and commands, each optional."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis import plots


@dataclass(frozen=True)
class Picture:
    """A drawn picture and what it shows in words."""

    name: str
    """Of its file, without an ending."""
    caption: str
    data: bytes

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode("ascii")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the PNG's header."""
        return int.from_bytes(self.data[16:20]), int.from_bytes(self.data[20:24])


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    title: str
    note: str = ""
    table: pd.DataFrame | None = None
    """Every cell a string."""
    pictures: Sequence[Picture] = ()
    facts: Sequence[tuple[str, str]] = ()
    commands: Sequence[tuple[str, str]] = ()
    """What a command is for, and the command."""


def drawn(*pictures: tuple[str, str, Figure | None]) -> list[Picture]:
    """Render (name, caption, figure) of those that there are."""
    return [
        Picture(name, caption, plots.png(figure)) for name, caption, figure in pictures if figure is not None
    ]


def filled(frame: pd.DataFrame) -> pd.DataFrame | None:
    """The table, or None when it has no rows."""
    return frame if len(frame) else None
