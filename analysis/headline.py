"""The first lines of a report: what was searched, what won, by how much, how sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from analysis import intervals
from analysis.ablation import per_configuration
from analysis.intervals import Difference, paired_difference
from analysis.listed_forms import runs_of
from analysis.number_text import interval, points, score
from analysis.one_factor import SCORE
from analysis.provenance import lost_journal, setting, unfinished
from analysis.quoted import left_out, told_trials
from analysis.scoring import Floats, Outputs, influence, stack
from analysis.settings_text import short_names, telling_settings
from analysis.study import WORDS, Study
from analysis.tables import StudyTables, halves_differ, unadjusted

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
    lines = [Line("Searched", _searched(study)), Line("Trained on", f"{setting(study)}.")]
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
    states = trials["state"].replace(WORDS).value_counts()
    counted = ", ".join(f"{count} {name}" for name, count in states.items())
    target = study.meta.get("trials")
    asked = f" of {target} asked for" if isinstance(target, int) and target != len(trials) else ""
    none = "no trial that can be read" if lost_journal(study) else "no trial yet"
    configurations = _count(trials["config_id"].nunique(), "configuration")
    found = (
        f"{_count(len(trials), 'trial')}{asked} ({counted}), {configurations}"
        if len(trials)
        else f"{none}{asked}"
    )
    to_come = " The study is not finished." if unfinished(study) else ""
    runs = runs_of(study)
    size = f"{len(runs)} listed runs" if runs else _count(len(study.factors), "factor")
    return (
        f"the space {study.name} with {size} over the tasks "
        f"{', '.join(study.tasks)}; {found}; study seed {study.meta.get('seed', 'unknown')}.{to_come}"
    )


def _nothing_won(study: Study) -> str:
    trials = study.trials
    if trials.empty:
        lost = lost_journal(study)
        return f"unknown: {lost}." if lost else "nothing: no trial has run yet."
    if (trials["state"] == "failed").all():
        causes = trials["cause"].where(trials["cause"].notna(), "unknown cause").value_counts()
        listed = ", ".join(f"{cause} ({count})" for cause, count in causes.items())
        return f"nothing: every trial failed. Causes: {listed}."
    return f"nothing: {nothing_complete(study)}."


def nothing_complete(study: Study) -> str:
    """``no trial is complete``, and ``yet`` where some still run or are to come."""
    states, target = study.trials["state"], study.meta.get("trials")
    to_come = isinstance(target, int) and len(states) < target
    return f"no trial is complete{' yet' if to_come or states.isin(('running', 'waiting')).any() else ''}"


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
        part = "report" if halves_differ(study) else "dev"
        quoted = f"{part} score {score(first['report'])} ({per_task}), {how}"
    return f"{which}, {quoted}{': ' + settings if settings else ''}."


def _how_sure(study: Study, tables: StudyTables) -> str:
    if len(tables.leaders) < 2:
        return "only one configuration is complete, so there is nothing to compare it with."
    typical = _above_the_median(study, tables)
    try:
        margin = margin_of_first(study, tables.leaders)
    except NoMargin as why:
        return f"{typical}against the second best no interval can be given: {why}."
    apart = margin.low > 0 or margin.high < 0
    if margin.with_seeds:
        grounds = "over examples and seeds"
        verdict = "a real difference" if apart else "not a sure difference"
    else:
        grounds = "over examples only, as seed noise is unknown with one run each"
        verdict = "more than the examples' noise, but not sure" if apart else "not a sure difference"
    without = f"; left out: {told_trials(margin.left_out)}" if margin.left_out else ""
    return (
        f"{typical}{points(margin.difference)} points against the second best (95% interval "
        f"{interval(margin.low, margin.high)}, {grounds}): {verdict}{without}"
        f"{'' if halves_differ(study) else f'; {SAME_EXAMPLES}'}."
    )


def _above_the_median(study: Study, tables: StudyTables) -> str:
    """How far the winner is above the middle of all; nothing where no such score is stored."""
    own = tables.leaders["select" if tables.metric == "select/score" else "report"].iloc[0]
    complete = study.trials[study.trials["state"] == "complete"]
    scores = per_configuration(complete, study.factors, [tables.metric])[tables.metric].dropna()
    if np.isnan(own) or scores.empty:
        return ""
    return (
        f"{points(own - scores.median())} points of score above the median of {len(scores)} configurations (the best of "
        f"many, so luck is in it and there is no interval); "
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
    if tables.compared.reason:
        return f"{tables.compared.reason}."
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
    left_out: Mapping[int, str] = field(default_factory=dict)
    """By number: why a trial of the two does not count."""


class NoMargin(Exception):
    """Two configurations cannot be compared by their predictions; the message is why."""


def margin_of_first(study: Study, leaders: pd.DataFrame) -> Margin:
    """Compare the two leading configurations on the report half.

    From two common replicates on, these are compared (the same seeds); else the means over each one's runs. Trials
    whose predictions cannot be used are left out.

    Raises:
        NoMargin: one of them has no trial with predictions that can be used, or there are no two examples.
    """
    both = [_by_replicate(study, numbers) for numbers in leaders["numbers"].head(2)]
    stacked, reasons = _stacked(study, [number for runs in both for number in runs.values()])
    first, second = (
        {replicate: number for replicate, number in runs.items() if number not in reasons} for runs in both
    )
    if not first or not second:
        raise NoMargin(told_trials(reasons))
    common = sorted(set(first) & set(second))
    paired = len(common) > 1
    numbers = [[runs[one] for one in common] if paired else list(runs.values()) for runs in (first, second)]
    pulls = [_report_pulls(study.tasks[task].kind, stacked[task], numbers) for task in study.tasks]
    difference = lead([one for one, _ in pulls], [other for _, other in pulls], paired)
    low, high = intervals.interval(difference)
    return Margin(float(difference.estimate), float(low), float(high), with_seeds=paired, left_out=reasons)


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


def _stacked(study: Study, numbers: list[int]) -> tuple[dict[str, Outputs], dict[int, str]]:
    """Every task's predictions of these trials, and by trial why some task's cannot be used."""
    stacked: dict[str, Outputs] = {}
    reasons: dict[int, str] = {}
    for task in study.tasks:
        outputs = stack(study.predictions(task, numbers))
        reasons |= left_out(study, task, numbers, outputs)
        if outputs is not None:
            stacked[task] = outputs
            if outputs.report.sum() < 2:
                raise NoMargin(f"{task} has fewer than two examples to quote")
    return stacked, reasons


def _report_pulls(kind: str, outputs: Outputs, numbers: Sequence[Sequence[int]]) -> list[Floats]:
    """What each report example adds to the metric, (runs, examples) for each list of trials."""
    pulls = influence(kind, outputs.values[:, outputs.report], outputs.labels[outputs.report])
    return [pulls[[outputs.numbers.index(number) for number in one]] for one in numbers]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
