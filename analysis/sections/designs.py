"""Sections of designed studies: the ablation of a one_factor study, the runs of a listed one."""

from __future__ import annotations

import pandas as pd

from analysis import plots
from analysis.ablation_page import show_ablation
from analysis.listed import PART, RUN, show_readings, show_runs
from analysis.one_factor import DELTA, SCORE, planned_levels
from analysis.paired import paired_differences
from analysis.sections.parts import Picture, Section, drawn
from analysis.study import Study
from analysis.tables import short_names


def ablation_sections(study: Study, table: pd.DataFrame) -> list[Section]:
    """The score's table with its intervals as a picture, then every task's with the changes of single pairs.

    ``table``: the study's ``ablation_table``.
    """
    targets = (SCORE, *study.tasks)
    return [
        Section(title, note, frame, _pictures(study, target, table[table["target"] == target]))
        for target, (title, note, frame) in zip(targets, show_ablation(study, table), strict=True)
    ]


def listed_sections(study: Study) -> list[Section]:
    """The runs beside what their source reports, and how they were read."""
    title, table = show_runs(study)
    complete = study.trials[study.trials["state"] == "complete"]
    single = complete.assign(config_id=complete["number"].astype(str))  # every replicate a dot of its own
    pictures = [
        picture
        for factor in study.factors
        if factor.path == RUN
        for picture in drawn(
            (
                "runs",
                f"{PART} score of every replicate by run, and each run's mean",
                plots.score_by_level(single, factor, f"{PART}/score"),
            )
        )
    ]
    sections = [Section(title, "A dash: not reported, or not measured (yet).", table, pictures)]
    readings = show_readings(study)
    if len(readings):
        explained = "Readings that were taken where the source is open, and where it contradicts itself."
        sections.append(Section("How the runs were read", explained, readings))
    return sections


def _pictures(study: Study, target: str, rows: pd.DataFrame) -> list[Picture]:
    names = short_names(study.factors)
    if target == SCORE:
        caption = f"Effects on the score with 95% intervals; shaded: ±{100 * DELTA:g} point, as good as none"
        return drawn(("ablation", caption, plots.forest(rows, names, DELTA)))
    quoted = "dev" if study.meta.get("quote") == "dev" else "report"
    pairs = paired_differences(planned_levels(study), study.trials, f"{quoted}/{target}")
    caption = f"Change of {target} in every pair of runs with one seed, and each level's mean change"
    return drawn(
        (f"paired_{target}", caption, plots.paired_changes(pairs, names, f"Paired changes: {target}"))
    )
