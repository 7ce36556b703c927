"""The first lines of a report: what was searched, what won, by how much, how sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis import intervals
from analysis.ablation import per_configuration
from analysis.intervals import Difference, paired_difference
from analysis.one_factor import SCORE
from analysis.scoring import Floats, influence, stack
from analysis.study import Study
from analysis.tables import (
    StudyTables,
    halves_differ,
    interval,
    points,
    score,
    short_names,
    telling_settings,
    unadjusted,
)

SAME_EXAMPLES = "chosen and quoted on the same examples: optimistic"
_SAID = 3
"""So many of the sure differences are said."""


@dataclass(frozen=True)
class Line:
    """One fact of the headline: its topic (Searched, Won, …) and a sentence or two."""

    topic: str
    text: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.text}"


def headline(study: Study, tables: StudyTables) -> list[Line]:
    """Return the opening lines, one fact each; fit for unfinished and empty studies too."""
    lines = [Line("Searched", _searched(study))]
    if tables.leaders.empty:
        return [*lines, Line("Won", _nothing_won(study))]
    lines.append(Line("Won", _winner(study, tables)))
    lines.append(Line("By how much, how sure", _how_sure(study, tables)))
    if tables.ablation is not None:
        lines.append(Line("Against the base", _against_the_base(study, tables.ablation)))
    if len(tables.effects):
        lines.append(Line("What matters", _what_matters(tables, short_names(study.factors))))
    if len(tables.ensemble) and tables.ensemble["task"].iloc[-1] == "score":
        lines.append(Line("Ensemble", _ensemble(study, tables)))
    return lines


def _searched(study: Study) -> str:
    trials = study.trials
    states = trials["state"].value_counts()
    counted = ", ".join(f"{count} {name}" for name, count in states.items())
    target = study.meta.get("trials")
    asked = f" of {target} asked for" if isinstance(target, int) and target != len(trials) else ""
    configurations = _count(trials["config_id"].nunique(), "configuration")
    found = (
        f"{_count(len(trials), 'trial')}{asked} ({counted}), {configurations}"
        if len(trials)
        else f"no trial yet{asked}"
    )
    unfinished = " The study is not finished." if {"running", "waiting"} & set(states.index) else ""
    runs = study.meta.get("runs")
    size = f"{len(runs)} listed runs" if runs else _count(len(study.factors), "factor")
    return (
        f"the space {study.name} with {size} over the tasks "
        f"{', '.join(study.tasks)}; {found}; study seed {study.meta.get('seed', 'unknown')}.{unfinished}"
    )


def _nothing_won(study: Study) -> str:
    trials = study.trials
    if trials.empty:
        return "nothing: no trial has run yet."
    if (trials["state"] == "failed").all():
        causes = trials["cause"].where(trials["cause"].notna(), "unknown cause").value_counts()
        listed = ", ".join(f"{cause} ({count})" for cause, count in causes.items())
        return f"nothing: every trial failed. Causes: {listed}."
    return "nothing: no trial is complete yet."


def _winner(study: Study, tables: StudyTables) -> str:
    first = tables.leaders.iloc[0]
    settings = telling_settings(first, study.factors)
    which = f"trial{'s' if first['n'] > 1 else ''} {', '.join(map(str, first['numbers']))}"
    chosen = f"select score {score(first['select'])}"
    if np.isnan(first["report"]):
        quoted = f"{chosen} (no report score is stored, so this is optimistic)"
    else:
        per_task = ", ".join(f"{task} {score(first[f'report/{task}'])}" for task in study.tasks)
        how = f"chosen by its {chosen}" if halves_differ(study) else "chosen by that itself, so optimistic"
        quoted = f"report score {score(first['report'])} ({per_task}), {how}"
    return f"{which}, {quoted}{': ' + settings if settings else ''}."


def _how_sure(study: Study, tables: StudyTables) -> str:
    if len(tables.leaders) < 2:
        return "only one configuration is complete, so there is nothing to compare it with."
    own = tables.leaders["select" if tables.metric == "select/score" else "report"].iloc[0]
    complete = study.trials[study.trials["state"] == "complete"]
    middle = per_configuration(complete, study.factors, [tables.metric])[tables.metric].median()
    typical = f"{points(own - middle)} points of score against the median complete configuration"
    margin = margin_of_first(study, tables.leaders)
    if margin is None:
        return f"{typical}; without stored predictions no interval can be given."
    apart = margin.low > 0 or margin.high < 0
    if margin.with_seeds:
        grounds = "over examples and seeds"
        verdict = "a real difference" if apart else "not a sure difference"
    else:
        grounds = "over examples only, as seed noise is unknown with one run each"
        verdict = "more than the examples' noise, but not sure" if apart else "not a sure difference"
    return (
        f"{typical}; {points(margin.difference)} points against the second best (95% interval "
        f"{interval(margin.low, margin.high)}, {grounds}): {verdict}{'' if halves_differ(study) else f'; {SAME_EXAMPLES}'}."
    )


def _against_the_base(study: Study, ablation: pd.DataFrame) -> str:
    """What is sure of one_factor's levels, on the score."""
    rows = ablation[(ablation["target"] == SCORE) & (ablation["verdict"] != "base")]
    names = short_names(study.factors)
    sure = rows[rows["verdict"].isin(["better", "worse"])]
    counted = ", ".join(f"{count} {verdict}" for verdict, count in rows["verdict"].value_counts().items())
    if sure.empty:
        return f"no level's difference is sure ({counted or 'no level has run'})."
    ranked = sure.reindex(sure["difference"].abs().sort_values(ascending=False, kind="stable").index)
    said = [
        f"{names.get(factor, factor)} {level} {points(difference)} points ({interval(low, high)})"
        for factor, level, difference, low, high in zip(
            *(ranked.head(_SAID)[name] for name in ("factor", "level", "difference", "ci_low", "ci_high")),
            strict=True,
        )
    ]
    more = f" and {len(sure) - _SAID} more" if len(sure) > _SAID else ""
    return (
        f"{'; '.join(said)}{more}. Of {_count(len(rows), 'level')}: {counted} (after Holm's correction; 95% intervals "
        "over seeds and examples)."
    )


def _what_matters(tables: StudyTables, names: dict[str, str]) -> str:
    effects = tables.effects
    sure = effects[effects["p_holm"] < 0.05]
    when = f"{tables.compared.when}: " if tables.compared.when else ""
    if sure.empty:
        return f"{when}no factor's effect can be told from noise yet."
    ranked = sure.reindex(sure["effect"].abs().sort_values(ascending=False).index).head(3)
    baseline = effects[effects["baseline"]]
    baselines = dict(zip(baseline["factor"], baseline["level"], strict=True))
    said = [
        f"{names[factor]} {level}"
        + (f" instead of {baselines[factor]}" if factor in baselines else "")
        + f" {points(effect)} points ({interval(low, high)})"
        for factor, level, effect, low, high in zip(
            *(ranked[name] for name in ("factor", "level", "effect", "ci_low", "ci_high")), strict=True
        )
    ]
    tests = int(effects["p"].notna().sum())
    kind = "Not adjusted for other factors" if unadjusted(effects) else "Observational"
    return f"{when}{'; '.join(said)}. {kind}, corrected for {_count(tests, 'test')}."


def _ensemble(study: Study, tables: StudyTables) -> str:
    row = tables.ensemble.iloc[-1]
    if row["pool"] < 2:
        return "only one trial has stored predictions, so there is nothing to combine."
    honest = halves_differ(study) and all(one.halves_differ for one in tables.ensembles.values())
    return (
        f"{'report' if honest else 'dev'} score {score(row['report'])}, {points(row['gain'])} points against the best "
        f"single trial of each task (95% interval {interval(row['gain_low'], row['gain_high'])}, over examples)"
        f"{'' if honest else f'; {SAME_EXAMPLES}'}."
    )


@dataclass(frozen=True)
class Margin:
    """How far the first configuration leads the second in report score, with its 95% interval."""

    difference: float
    low: float
    high: float
    with_seeds: bool
    """Whether the interval covers seeds; without replicates it covers the examples only."""


def margin_of_first(study: Study, leaders: pd.DataFrame) -> Margin | None:
    """Compare the two leading configurations on the report half; None without stored predictions.

    From two common replicates on, these are compared (the same seeds); else the means over each one's runs.
    """
    first, second = (_by_replicate(study, numbers) for numbers in leaders["numbers"].head(2))
    common = sorted(set(first) & set(second))
    paired = len(common) > 1
    numbers = [[runs[one] for one in common] if paired else list(runs.values()) for runs in (first, second)]
    read = [_report_pulls(study, task, numbers) for task in study.tasks]
    pulls = [both for both in read if both is not None]
    if len(pulls) < len(study.tasks):
        return None
    difference = lead([one for one, _ in pulls], [other for _, other in pulls], paired)
    low, high = intervals.interval(difference)
    return Margin(float(difference.estimate), float(low), float(high), with_seeds=paired)


def lead(first: Sequence[Floats], second: Sequence[Floats], paired: bool) -> Difference:
    """The difference in score of two configurations, from what each example adds to every task's metric.

    ``first`` and ``second``: for each task (…, runs, examples), as ``scoring.influence`` gives them. ``paired``:
    runs go together by their seeds, and the error covers seeds and examples; else it covers the examples only.
    """
    if paired:
        return paired_difference([one - other for one, other in zip(first, second, strict=True)])
    means = [
        (one.mean(axis=-2) - other.mean(axis=-2))[..., None, :]
        for one, other in zip(first, second, strict=True)
    ]
    found = paired_difference(means)
    return replace(found, seed_variance=np.zeros_like(found.example_variance))


def _by_replicate(study: Study, numbers: Sequence[int]) -> dict[int, int]:
    """Trial numbers by replicate; of two runs of one replicate the later one."""
    own = study.trials[study.trials["number"].isin(numbers)]
    return dict(zip(own["replicate"].tolist(), own["number"].tolist(), strict=True))


def _report_pulls(study: Study, task: str, numbers: Sequence[Sequence[int]]) -> list[Floats] | None:
    """What each report example adds to the metric, (runs, examples) for each list of trials."""
    every = [number for one in numbers for number in one]
    outputs = stack(study.predictions(task, every))
    if outputs is None or not set(every) <= set(outputs.numbers) or outputs.report.sum() < 2:
        return None
    kind, labels = study.tasks[task].kind, outputs.labels[outputs.report]
    pulls = influence(kind, outputs.values[:, outputs.report], labels)
    return [pulls[[outputs.numbers.index(number) for number in one]] for one in numbers]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
