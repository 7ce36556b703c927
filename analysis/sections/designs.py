"""Sections of designed studies: the ablation of a one_factor study, the runs of a listed one."""

from __future__ import annotations

import shlex

import pandas as pd

from analysis import plots
from analysis.ablation_page import show_ablation
from analysis.claim_forms import claims_of
from analysis.claim_pages import marked_verdict
from analysis.claims import claim_table
from analysis.listed import PART, show_readings, show_runs
from analysis.listed_forms import RUN
from analysis.one_factor import DELTA, SCORE, planned_levels
from analysis.paired import paired_differences
from analysis.sections.parts import Picture, Section, drawn
from analysis.settings_text import short_names
from analysis.study import Study


def ablation_sections(study: Study, table: pd.DataFrame) -> list[Section]:
    """The score's table with its intervals as a picture, then every task's with the changes of single pairs.

    ``table``: the study's ``ablation_table``.
    """
    targets = (SCORE, *study.tasks)
    return [
        Section(
            title, note, _verdict_third(frame), _pictures(study, target, table[table["target"] == target])
        )
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
    sections = [
        Section(title, "A dash: not reported, or not measured (yet).", table, pictures),
        *_claims(study),
    ]
    readings = show_readings(study)
    if len(readings):
        explained = "Readings that were taken where the source is open, and where it contradicts itself."
        sections.append(Section("How the runs were read", explained, readings))
    return sections


def pair_changes(study: Study, target: str) -> pd.DataFrame:
    """The changes of ``target`` in single pairs (``paired_differences``), on the examples that the study quotes."""
    part = "dev" if study.meta.get("quote") == "dev" else "report"
    return paired_differences(planned_levels(study), study.trials, f"{part}/{target}")


def _verdict_third(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns with the verdict behind factor and level, as a phone shows the first three or four."""
    return frame[["factor", "level", "verdict", *frame.columns.drop(["factor", "level", "verdict"])]]


def _claims(study: Study) -> list[Section]:
    """What became of each claim of the source; its contrasts have a page of their own."""
    if not claims_of(study):
        return []
    by_claim = claim_table([study]).groupby("claim", sort=False)
    table = pd.DataFrame(
        {
            "claim": [str(name) for name, _ in by_claim],
            "verdict": [marked_verdict(rows) for _, rows in by_claim],
            "what the source says": [str(rows["says"].iloc[0]) for _, rows in by_claim],
        }
    )
    command = f"python -m analysis.claims {shlex.quote(str(study.path))}"
    return [
        Section(
            "Claims of the source",
            "Each verdict is of differences between the runs above, by their 95% intervals.",
            table,
            commands=[("Every claim's differences, reported and measured, and the rules", command)],
        )
    ]


def _pictures(study: Study, target: str, rows: pd.DataFrame) -> list[Picture]:
    names = short_names(study.factors)
    if target == SCORE:
        caption = f"Effects on the score with 95% intervals; shaded: ±{100 * DELTA:g} point, as good as none"
        return drawn(("ablation", caption, plots.forest(rows, names, DELTA)))
    caption = f"Change of {target} in every pair of runs with one seed, and each level's mean change"
    figure = plots.paired_changes(pair_changes(study, target), names, f"Paired changes: {target}")
    return drawn((f"paired_{target}", caption, figure))
