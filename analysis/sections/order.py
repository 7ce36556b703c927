"""Which sections a study's report has, in their order, and those that every study has."""

from __future__ import annotations

import pandas as pd

from analysis import plots
from analysis.further_measures import further_measures
from analysis.headline import nothing_complete
from analysis.listed import is_listed
from analysis.provenance import continue_command, facts
from analysis.sections.designs import ablation_sections, listed_sections
from analysis.sections.ensembles import ensemble_sections
from analysis.sections.mistakes import error_sections
from analysis.sections.parts import Section, drawn, filled
from analysis.sections.searched import searched_sections
from analysis.sections.trade_offs import pareto_sections
from analysis.sections.training import training_section
from analysis.study import WORDS, Study
from analysis.tables import StudyTables, halves_differ, leaders_title, show_leaders

NUMBERS_SHOWN = 20


def report_sections(study: Study, tables: StudyTables) -> list[Section]:
    """The sections of a report, the answers first and what they rest on last."""
    if is_listed(study):
        answers = listed_sections(study)
    elif tables.ablation is not None:
        answers = ablation_sections(study, tables.ablation)
    else:
        answers = []
    searched = [] if is_listed(study) or tables.ablation is not None else searched_sections(study, tables)
    return [
        *answers,
        _leaders(study, tables),
        *searched,
        *pareto_sections(study),
        *ensemble_sections(study, tables),
        *error_sections(study),
        *_further(study),
        training_section(study, tables),
        _unfinished(study, tables),
        Section(
            "Behind the numbers",
            facts=facts(study, tables.metric),
            commands=[("Continue this study", continue_command(study))],
        ),
    ]


def _leaders(study: Study, tables: StudyTables) -> Section:
    part = tables.metric.partition("/")[0]
    metrics = f"{part} metrics" if halves_differ(study) else "Metrics"
    caption = f"{metrics} of every complete trial, a strip for the score and one a task"
    return Section(
        leaders_title(study),
        _leaders_note(study) if len(tables.leaders) else f"{nothing_complete(study).capitalize()}.",
        filled(show_leaders(tables.leaders, study)),
        drawn(("scores_by_task", caption, plots.scores_by_task(study.trials, list(study.tasks), part))),
    )


def _leaders_note(study: Study) -> str:
    sources = {
        "dev_half": "chosen by the select half of dev and quoted on the other half, the report half",
        "train_holdout": "chosen by a tenth of train that was held out and quoted on all of dev",
        "dev": "chosen and quoted on the same dev set, as the papers did: optimistic",
    }
    source = sources.get(
        str(study.meta.get("selection")), "chosen on the select half, quoted on the report half"
    )
    scale = "the score is the mean over tasks of the metric mapped to [0, 1]"
    if not halves_differ(study):
        return f"Configurations are {source}. Ranked by mean score over replicates (± sd over them); {scale}."
    return (
        f"Configurations are {source}. Ranked by mean select score over replicates (± sd over them); optimism "
        f"is select minus report in points; {scale}; "
        "full dev contains the examples that chose, and is for comparing with others' numbers only."
    )


def _further(study: Study) -> list[Section]:
    table = further_measures(study)
    if table.empty:
        return []
    note = (
        "Of the best complete trial, on all of dev; plain is the mean of the tasks' metrics as they are, never to be "
        "mixed with the score. Alignment: mean squared distance of the vectors of similar pairs; uniformity: log of "
        "the mean of exp(−2 distance²) over all pairs of vectors; lower is better in both."
    )
    return [
        Section("Further measures", note, table.assign(value=[f"{value:.3f}" for value in table["value"]]))
    ]


def _unfinished(study: Study, tables: StudyTables) -> Section:
    title = "Trials that did not complete"
    trials = study.trials[study.trials["state"] != "complete"]
    if trials.empty:
        return Section(title, "None." if len(study.trials) else "No trial has started.")
    causes = trials["cause"].where(trials["cause"].notna(), "–")
    counts = trials.groupby([trials["state"], causes.rename("cause")], sort=True)["number"]
    table = pd.DataFrame(
        {
            "state": [WORDS.get(str(state), str(state)) for (state, _), _ in counts],
            "cause": [str(cause) for (_, cause), _ in counts],
            "trials": [str(len(numbers)) for _, numbers in counts],
            "numbers": [_listed(numbers.tolist()) for _, numbers in counts],
        }
    )
    counted = "only the main effects count them" if tables.compared.when else "no table above counts them"
    return Section(title, f"Trials were stopped early because they were behind; {counted}.", table)


def _listed(numbers: list[int]) -> str:
    more = f" and {len(numbers) - NUMBERS_SHOWN} more" if len(numbers) > NUMBERS_SHOWN else ""
    return ", ".join(map(str, numbers[:NUMBERS_SHOWN])) + more
