"""The section of ensembles: the greedy one of every task, how it grew, and what other methods would have given."""

from __future__ import annotations

import shlex

import pandas as pd

from analysis import plots
from analysis.ensemble import best_trials, candidates_left_out, methods_table, show_methods
from analysis.growth import greedy_growth
from analysis.sections.parts import Section, drawn, filled
from analysis.study import Study
from analysis.tables import StudyTables, show_ensemble

METHODS = (
    "best: the trial that is best at a task; top: the mean of the five best; greedy: forward selection with "
    "replacement; sorted: the same from the best trials on; bagged: the mean of many such selections, each among a "
    "random half of the trials."
)


_OPTIMISM = " Optimism: select − report, which is also how much easier one half is; gain on select minus gain is the choice's own."


def ensemble_sections(study: Study, tables: StudyTables) -> list[Section]:
    """From stored predictions; a sentence where there are none."""
    numbers = best_trials(study)
    predictions = {task: study.predictions(task, numbers) for task in study.tasks}
    without = candidates_left_out(study, predictions, numbers)
    missing = f" {without[0].upper()}{without[1:]}." if without else ""
    if not tables.ensembles:
        return [Section("Ensemble", "No stored predictions to build an ensemble from.")]
    honest = all(one.halves_differ for one in tables.ensembles.values())
    halves = (
        "chosen on the select half, quoted on the report half"
        if honest
        else "chosen and quoted on the same examples: optimistic"
    )
    pool = max(one.pool for one in tables.ensembles.values())
    best, metrics = (
        ("best on the select half", "Select and report metric") if honest else ("best there", "Metric")
    )
    note = (
        f"Greedy forward selection with replacement (Caruana 2004) for each task, from the stored predictions of the "
        f"{len(numbers)} best trials: {halves}.{missing} Gain: points over the trial that is {best}; its interval covers "
        "examples, not seeds."
    )
    shown = filled(show_ensemble(tables.ensemble, tables.members))
    if pool < 2:
        return [
            Section(
                "Ensemble", f"Only one trial has stored predictions, so there is nothing to combine.{missing}"
            )
        ]
    growth = plots.ensemble_growth(greedy_growth(predictions, study.tasks))
    caption = f"{metrics} of each task's greedy ensemble as members are added"
    command = f"python -m analysis.ensemble {shlex.quote(str(study.path))} --out DIR"
    return [
        Section("Ensemble", note, shown, drawn(("ensemble_growth", caption, growth))),
        Section(
            "Ensemble methods",
            f"Averages over the tasks, each with its own ensemble; all methods were tried, so the best of them is a "
            f"little lucky. {METHODS}{_OPTIMISM if honest else ''}",
            _methods(methods_table(predictions, study.tasks), honest),
            commands=[("Write the members and the submission files of a method (--method NAME)", command)],
        ),
    ]


def _methods(table: pd.DataFrame, honest: bool) -> pd.DataFrame:
    """The rows of the score; of all tasks where some task has no ensemble."""
    score = table[table["task"] == "score"]
    if score.empty:
        return show_methods(table, honest)
    return show_methods(score, honest).drop(columns="task")
