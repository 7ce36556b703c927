"""The section of how the trials trained: curves, which task when, cost, and when each ran."""

from __future__ import annotations

import math

import pandas as pd

from analysis import plots
from analysis.errors import forgetting
from analysis.listed_forms import RUN
from analysis.sections.parts import Section, drawn
from analysis.study import Study
from analysis.tables import StudyTables


def training_section(study: Study, tables: StudyTables) -> Section:
    """Pictures of all trials and of the leading ones; every task after every stage, where there are several."""
    tasks, epochs = list(study.tasks), study.scored_epochs
    runs = _leading(study, tables)
    best = next(iter(runs.items()), None)
    part = "dev" if "dev/score" in epochs and epochs["dev/score"].notna().any() else "select"
    trained = "train/score" in epochs and epochs["train/score"].notna().any()
    gap = "; dashed: on a sample of train" if trained else ""
    curves = plots.learning_curves(epochs, study.trials)
    overlaid = plots.train_against_dev(epochs, runs, tasks, part)
    cost = plots.score_against_cost(study.trials, tables.metric)
    pictures = [
        ("learning_curves", "Select score by epoch, one line a trial", curves),
        ("train_against_dev", f"The leading configurations on {part} by epoch{gap}", overlaid),
        (
            "score_against_cost",
            f"{tables.metric.replace('/', ' ')} against the cost of each complete trial",
            cost,
        ),
        ("timeline", "When each trial ran", plots.timeline(study.trials)),
    ]
    note, table = "", None
    if best is not None:
        label, number = best
        own = study.history[study.history["number"] == number]
        lanes = plots.tasks_over_training(own, tasks, f"What {label} trained when")
        pictures.insert(
            2,
            (
                "tasks_over_training",
                f"Which task {label} trained in which epoch; lines: mean train loss, from 0 to the value at the right",
                lanes,
            ),
        )
        stages = forgetting(own, tasks, part)
        if stages["stage"].nunique() > 1:
            note = (
                f"{part} metrics of {label} after every stage, with the change in points; * = trained in it."
            )
            table = _stages(stages)
    return Section("Training", note, table, drawn(*pictures))


def _leading(study: Study, tables: StudyTables) -> dict[str, int]:
    """A trial of each leading configuration by label, the best first."""
    names = study.trials.set_index("number")[RUN] if RUN in study.trials else None
    numbers = [int(own[0]) for own in tables.leaders["numbers"]]
    return {
        f"trial {number}" if names is None else f"{names[number]} ({number})": number for number in numbers
    }


def _stages(stages: pd.DataFrame) -> pd.DataFrame:
    """One row a stage, a column a task."""

    def cell(value: float, change: float, trained: bool) -> str:
        told = "" if math.isnan(change) else f" ({100 * change:+.1f})"
        return f"{value:.3f}{told}{' *' if trained else ''}"

    cells = [cell(*row) for row in stages[["value", "change", "trained"]].itertuples(index=False)]
    wide = stages.assign(text=cells).pivot(index="stage", columns="task", values="text")
    order = [list(dict.fromkeys(stages[name])) for name in ("stage", "task")]
    wide = wide.loc[order[0], order[1]].reset_index()
    wide.columns.name = None
    return wide
