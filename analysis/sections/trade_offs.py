"""The section of the trials that no other one beats in every task."""

from __future__ import annotations

import pandas as pd

from analysis import plots
from analysis.listed import is_listed
from analysis.number_text import score
from analysis.one_factor import is_one_factor
from analysis.pareto import hypervolume_over_time, pareto_front
from analysis.sections.parts import Section, drawn
from analysis.settings_text import settings_text, short_names
from analysis.study import Study
from analysis.tables import halves_differ

FRONT_SHOWN = 15
LEAST = 3
"""Of fewer complete trials the leaderboard says it all."""


def pareto_sections(study: Study) -> list[Section]:
    """The front of all complete trials; how it grew only where a search was at work."""
    tasks = list(study.tasks)
    front = pareto_front(study.trials, tasks)
    complete = int((study.trials["state"] == "complete").sum())
    if len(tasks) < 2 or complete < LEAST or front.empty:
        return []
    grown = pd.DataFrame(columns=["number", "hypervolume", "on_front"])
    if not is_listed(study) and not is_one_factor(study):
        grown = hypervolume_over_time(study.trials, tasks)
    volume = (
        f" Its hypervolume is {grown['hypervolume'].iloc[-1]:.4f} (from 0 in every task)."
        if len(grown)
        else ""
    )
    shown = f" The {FRONT_SHOWN} with the best scores are listed." if len(front) > FRONT_SHOWN else ""
    honest = halves_differ(study)
    beaten = "is beaten" if len(front) == 1 else "are beaten"
    which = (
        "on the select metrics, which chose them and which the pictures show; only report metrics may be quoted."
        if honest
        else "on the metrics that chose them and are quoted too, from the same examples: optimistic."
    )
    note = (
        f"{len(front)} of {complete} complete trials {beaten} by no other trial in all tasks at once, {which}{shown}{volume} Single trials: "
        "replicates are not averaged here, so luck has its part in who is on the front."
    )
    caption = f"{'Select metrics' if honest else 'Metrics'} of every pair of tasks, one dot a complete trial"
    pictures = drawn(
        ("pareto", caption, plots.pareto(study.trials, tasks)),
        ("hypervolume", "Hypervolume below the front by complete trials", plots.hypervolume(grown)),
    )
    return [Section("Pareto front of the tasks", note, _text(front.head(FRONT_SHOWN), study), pictures)]


def _text(front: pd.DataFrame, study: Study) -> pd.DataFrame:
    names = short_names(study.factors)
    if halves_differ(study):
        columns = {
            f"{name} ({half})": front[f"{half}/{name}"]
            for half, shown in (("select", list(study.tasks)), ("report", [*study.tasks, "score"]))
            for name in shown
        }
    else:
        columns = {name: front[f"select/{name}"] for name in (*study.tasks, "score")}
    return pd.DataFrame(
        {
            "trial": front["number"].astype(str),
            **{name: [score(value) for value in column] for name, column in columns.items()},
            "settings": [settings_text(row, names) for _, row in front.iterrows()],
        }
    )
