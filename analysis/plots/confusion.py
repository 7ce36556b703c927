"""Labels against answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.plots.canvas import WIDTH, entitle, panel, shortened

DARK = 0.55
LONGEST = 16
"""Characters of a class's name at the axes."""
UPRIGHT = 40
"""So many characters of names fit side by side below the picture; more are turned."""


def confusion_matrix(counts: pd.DataFrame, title: str = "Labels and answers") -> Figure | None:
    """Draw ``errors.confusion``: counts by label (rows) and answer, shaded by their share of the label.

    None without examples.
    """
    values = counts.to_numpy(np.float64)
    if not values.sum():
        return None
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1)
    figure, axes = panel(min(WIDTH, 1.2 + 0.6 * len(values)))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        text = f"{values[row, column]:.0f}\n{share:.0%}"
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=9,
            color="white" if share > DARK else "black",
        )
    names = [shortened(str(name), LONGEST) for name in counts.index]
    turned = 90 if sum(map(len, names)) > UPRIGHT else 0
    axes.set_xticks(range(len(names)), names, rotation=turned, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=False)
    axes.set_xlabel("answer")
    axes.set_ylabel("label")
    entitle(axes, title)
    return figure
