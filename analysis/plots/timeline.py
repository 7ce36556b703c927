"""When which trial ran, slot by slot."""

from __future__ import annotations

import heapq

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.plots.canvas import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, entitle, legend_below, panel
from analysis.scoring import Floats
from analysis.study import WORDS

LOOKS = {
    "complete": (BLUE, ""),
    "pruned": (AMBER, ""),
    "failed": (ORANGE, "xxxx"),
    "running": (GREEN, "////"),
    "waiting": (GREY, "...."),
}
"""Colour and hatching of a state."""
PAUSE = 0.05
"""A gap in which nothing ran, and that is longer than this share of the time something did, is left out."""
MANY = 60
"""From so many bars on in a slot they have no edges."""
MOST_SLOTS = 40
"""A study whose trials overlap more often has no slots worth drawing apart; rows get thinner instead."""


def timeline(trials: pd.DataFrame) -> Figure | None:
    """Draw the trials as bars over wall time, in the fewest slots they fit in.

    Slots are packed from start and end of the trials, not read off the machine. Trials without an end run up
    to the last moment that the study knows of. Times in which nothing ran are left out, each marked by a
    dotted line. None without a trial that started.
    """
    slots = packed(trials)
    if slots.empty:
        return None
    start, end, pauses = _without_pauses(slots["start"].to_numpy(), slots["end"].to_numpy())
    unit, name = next(
        (size, name) for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
        if end.max() > 2 * size or size == 1
    )  # fmt: skip
    count = int(slots["slot"].max()) + 1
    figure, axes = panel(1.5 + min(count, MOST_SLOTS) * (0.34 if count <= 8 else 0.12))
    for state, (color, hatch) in LOOKS.items():
        own = (slots["state"] == state).to_numpy()
        if own.any():
            _bars(axes, start[own] / unit, end[own] / unit, slots["slot"].to_numpy()[own], color, hatch)
            axes.fill_between(
                [], [], color=color, hatch=hatch, ec="white", label=f"{WORDS.get(state, state)} ({own.sum()})"
            )
    for pause in pauses:
        axes.axvline(pause / unit, color=BLACK, ls=":", lw=1.2)
    axes.set_xlim(0, max(end.max(), 1e-3) / unit)  # trials may have been told in no time
    axes.set_ylim(count - 0.4, -0.6)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(axis="y", visible=False)
    entitle(axes, "Trials by slot")
    axes.set_xlabel(f"{name} since the first trial" + (" (dotted: a pause left out)" if pauses else ""))
    axes.set_ylabel("slot")
    legend_below(figure, axes)
    return figure


def packed(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a trial that started: number, state, start, end (seconds since the first), slot (from 0: the
    one that has been free for longest, else a new one)."""
    begun = trials[trials["started"].notna()].sort_values("started", kind="stable")
    if begun.empty:
        return pd.DataFrame(columns=["number", "state", "start", "end", "slot"])
    known = pd.concat([begun["started"], begun["finished"].dropna()])
    first, last = known.min(), known.max()
    start = (begun["started"] - first).dt.total_seconds().to_numpy(np.float64)
    end = (begun["finished"].fillna(last) - first).dt.total_seconds().to_numpy(np.float64)
    free: list[tuple[float, int]] = []
    slots = []
    for begins, ends in zip(start, end, strict=True):
        slot = heapq.heappop(free)[1] if free and free[0][0] <= begins else len(free)
        slots.append(slot)
        heapq.heappush(free, (ends, slot))
    return pd.DataFrame(
        {"number": begun["number"].to_numpy(), "state": begun["state"].to_numpy(), "start": start, "end": end, "slot": slots}
    )  # fmt: skip


def _without_pauses(start: Floats, end: Floats) -> tuple[Floats, Floats, list[float]]:
    """Starts and ends with the long gaps taken out, and where these were. Starts ascend."""
    reached = np.maximum.accumulate(end)
    gaps = np.maximum(0.0, np.append(0.0, start[1:] - reached[:-1]))
    busy = reached[-1] - gaps.sum()
    cut = np.where(gaps > PAUSE * busy, gaps, 0.0)
    # A bar never spans a gap, so what is taken off its start is taken off its end too.
    shift = np.cumsum(cut)
    return start - shift, end - shift, [float(at) for at in (start - shift)[cut > 0]]


def _bars(axes: Axes, start: Floats, end: Floats, slots: np.ndarray, color: str, hatch: str) -> None:
    """All bars of a state as one collection per slot: thousands of patches would take seconds."""
    for slot in np.unique(slots):
        own = slots == slot
        spans = list(zip(start[own], end[own] - start[own], strict=True))
        edge = 0.4 if len(spans) < MANY else 0.0  # thin bars would be all edge
        axes.broken_barh(spans, (slot - 0.4, 0.8), facecolors=color, edgecolor="white", lw=edge, hatch=hatch)
