"""How numbers are written, rounded and in their units (a point is 0.01 of a score), and tables of them in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd


def markdown_table(frame: pd.DataFrame) -> str:
    """Write a frame of strings as a Markdown table."""

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    header = [line(list(frame.columns)), line(["---"] * frame.shape[1])]
    return "\n".join(header + [line(list(row)) for row in frame.itertuples(index=False)])


def score(value: float) -> str:
    """A metric to three decimals; a dash for NaN, as in all of these."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def points(value: float) -> str:
    """A difference in points (0.01), signed."""
    return "–" if math.isnan(value) else f"{100 * value:+.1f}"


def interval(low: float, high: float) -> str:
    """Both ends of a difference in points."""
    return "–" if math.isnan(low) or math.isnan(high) else f"{points(low)} to {points(high)}"


def probability(value: float) -> str:
    """A p-value to three decimals; the smallest only as below 0.001."""
    return "–" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best: s, min or h."""
    if math.isnan(seconds):
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
