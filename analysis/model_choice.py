"""Which model of a study is taken out of it, and what is honest to say of it: what its model card is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis.ensemble import best_trials, choose, ensemble_table
from analysis.number_text import interval, points, score
from analysis.provenance import (
    bundled_warning,
    data_name,
    encoder_name,
    facts,
    refuse_lost_journal,
    unfinished,
)
from analysis.settings_text import settings_text, short_names
from analysis.study import WORDS, Study
from analysis.submission import Members
from analysis.tables import halves_differ, quoted_metric
from analysis.task_ensemble import TaskEnsemble
from minbert.errors import UserError

Which = Literal["best", "ensemble"] | int
"""What a user asks for: the best trial, the report's ensemble, or a trial by its number."""
ENDED = ("complete", "pruned")
HALVES = {
    "dev_half": "Each task's dev set was cut once into a select half, on which epochs, configurations and members were "
    "chosen, and a report half, which chose nothing: its scores are the ones to quote.",
    "train_holdout": "Epochs, configurations and members were chosen on a tenth of the training set (select); report is "
    "all of dev, which chose nothing: its scores are the ones to quote.",
    "dev": "Epochs, configurations and members were chosen on the same dev set that is quoted here, so these scores are "
    "optimistic.",
}
INTERVAL = "95% interval of report"
_QUOTED = ("select", "report", "report_low", "report_high")
_TOLD = ("Notes on the data", "Overlap of train, dev and test", "Examples")
_TOLD_AFTER = ("Fidelity", "Set for all runs", "Computed with", "Taken over", "Versions")


@dataclass(frozen=True)
class ModelChoice:
    """A trial, or for each task an ensemble of trials, and what its card says.

    Attributes:
        title: the study and the trial, or that it is an ensemble.
        members: task → trial number → weight.
        scores: a row a task, and the score; every cell a string.
        told: how it was chosen, a sentence or two each.
        warning: what must be known before any number; may be empty.
        facts: data, encoder and what else the numbers rest on, by name.
        settings: by trial number, the settings that were searched.
        epochs: by trial number, the epoch of the last stage that counts, and how many there were.
        unfinished: how much of the study there was; empty where all of it.
    """

    title: str
    members: Members
    scores: pd.DataFrame
    told: list[str]
    warning: str
    facts: list[tuple[str, str]]
    settings: dict[int, str]
    epochs: dict[int, tuple[int, int]]
    unfinished: str


def choose_model(study: Study, which: Which) -> ModelChoice:
    """Find the model that is asked for.

    Raises:
        UserError: there is no such trial, it has not ended, or there is nothing to choose from.
    """
    refuse_lost_journal(study)
    if which == "ensemble":
        return _ensemble(study)
    number = _best(study) if which == "best" else which
    trial = _trial(study, number)
    own = choose({task: study.predictions(task, [number]) for task in study.tasks}, study.tasks, "best")
    return ModelChoice(
        title=f"{study.name}, trial {number}",
        members={task: {number: 1.0} for task in study.tasks},
        scores=_scores(study, own, trial),
        told=[
            _how_chosen(study, trial, which),
            *_replicates(study, trial),
            HALVES.get(str(study.meta.get("selection")), ""),
            *_optimism(study, own),
        ],
        warning=bundled_warning(study),
        facts=_facts(study),
        settings=_settings(study, [number]),
        epochs=_epochs(study, [number]),
        unfinished=unfinished(study),
    )


def _ensemble(study: Study) -> ModelChoice:
    """The one of the report."""
    pool = best_trials(study)
    if not pool:
        raise UserError(f"{study.path}: no trial is complete, so there is nothing to choose from")
    own = choose({task: study.predictions(task, pool) for task in study.tasks}, study.tasks, "greedy")
    if missing := [task for task in study.tasks if task not in own]:
        raise UserError(f"{study.path}: no complete trial has stored predictions for {', '.join(missing)}")
    numbers = sorted({number for one in own.values() for number in one.members})
    return ModelChoice(
        title=f"{study.name}, an ensemble of {len(numbers)} trial{'s' * (len(numbers) > 1)}",
        members={task: one.members for task, one in own.items()},
        scores=_scores(study, own),
        told=[
            f"For each task, greedy forward selection with replacement (Caruana et al. 2004) among the {len(pool)} best "
            "complete trials, by their stored predictions on the select examples; the members' probabilities or scores "
            "are averaged.",
            *_gain(study, own),
            HALVES.get(str(study.meta.get("selection")), ""),
            *_optimism(study, own),
        ],
        warning=bundled_warning(study),
        facts=_facts(study),
        settings=_settings(study, numbers),
        epochs=_epochs(study, numbers),
        unfinished=unfinished(study),
    )


def _best(study: Study) -> int:
    found = best_trials(study)
    if not found:
        raise UserError(f"{study.path}: no trial is complete, so there is nothing to choose from")
    return found[0]


def _trial(study: Study, number: int) -> pd.Series:
    trials = study.trials
    rows = trials[trials["number"] == number]
    if rows.empty:
        last = int(trials["number"].max()) if len(trials) else -1
        known = f"its trials are 0 to {last}" if last >= 0 else "it has none yet"
        raise UserError(f"{study.path}: no trial {number}; {known}")
    trial = rows.iloc[0]
    if trial["state"] not in ENDED:
        why = f" ({trial['cause']})" if isinstance(trial["cause"], str) else ""
        raise UserError(
            f"{study.path}: trial {number} is {WORDS.get(trial['state'], trial['state'])}{why}: only trials that came to an end have a model"
        )
    return trial


def _how_chosen(study: Study, trial: pd.Series, which: Which) -> str:
    number, ranked = int(trial["number"]), _ranked(study)
    how = f"select score {score(float(trial['score']))}"
    if trial["state"] == "pruned":
        return f"Trial {number} was named by whoever exported it; the search stopped it early ({how})."
    place, among = ranked.index(number) + 1, f"{len(ranked)} complete trials ({len(study.trials)} in all)"
    if which == "best":
        return f"Trial {number} has the best {how} of {among}."
    return f"Trial {number} was named by whoever exported it; by its {how} it is number {place} of {among}."


def _ranked(study: Study) -> list[int]:
    """Numbers of all complete trials by score, best first."""
    trials = study.trials
    complete = trials[(trials["state"] == "complete") & trials["score"].notna()]
    ordered = complete.sort_values("score", ascending=False, kind="stable")["number"]
    return [int(number) for number in ordered]


def _replicates(study: Study, trial: pd.Series) -> list[str]:
    """What other seeds gave, which tells how lucky this one is."""
    trials = study.trials
    same = trials[(trials["config_id"] == trial["config_id"]) & (trials["state"] == "complete")]
    if len(same) < 2:
        return ["Its configuration ran once, so nothing here says what another seed would give."]
    metric = quoted_metric(same)
    return [
        f"Its configuration ran {len(same)} times with different seeds: {metric} {score(float(same[metric].mean()))} "
        f"± {float(same[metric].std()):.3f} (mean, standard deviation)."
    ]


def _gain(study: Study, own: Mapping[str, TaskEnsemble]) -> list[str]:
    row = ensemble_table(own, study.tasks).iloc[-1]
    return [
        f"Against the best single trial of each task it gains {points(float(row['gain']))} points of score (95% interval "
        f"{interval(float(row['gain_low']), float(row['gain_high']))}, over examples)."
    ]


def _optimism(study: Study, own: Mapping[str, TaskEnsemble]) -> list[str]:
    if not halves_differ(study) or len(own) < len(study.tasks):
        return []
    row = ensemble_table(own, study.tasks).iloc[-1]
    return [
        f"What is the best of many looks better than it is where it was chosen: select − report is "
        f"{points(float(row['optimism']))} points of score (95% interval "
        f"{interval(float(row['optimism_low']), float(row['optimism_high']))}), which also holds how much easier one half "
        "is."
    ]


def _scores(study: Study, own: Mapping[str, TaskEnsemble], trial: pd.Series | None = None) -> pd.DataFrame:
    """Select and report metrics with the report's interval; where predictions are not stored, of a trial what the
    journal has."""
    known = ensemble_table(own, study.tasks).set_index("task").to_dict("index")
    rows = []
    for task in (*study.tasks, "score"):
        if task in known:
            select, report, low, high = (float(known[task][name]) for name in _QUOTED)
        elif trial is not None:
            select, report = (float(trial[f"{half}/{task}"]) for half in ("select", "report"))
            low = high = math.nan
        else:
            continue
        between = "–" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
        rows.append((task, _metric(study, task), score(select), score(report), between))
    frame = pd.DataFrame(rows, columns=["task", "metric", "select", "report", INTERVAL])
    return frame if halves_differ(study) else frame.drop(columns="select")


def _metric(study: Study, task: str) -> str:
    if task == "score":
        return "mean over tasks, r mapped to 0…1"
    return "Pearson's r" if study.tasks[task].kind == "regression" else "accuracy"


def _facts(study: Study) -> list[tuple[str, str]]:
    """By names and fingerprints: paths of whoever trained it are nobody else's."""
    known = dict(facts(study, quoted_metric(study.trials)))
    told = [
        ("Data", f"{data_name(study)}{_fingerprint(study, 'data')}"),
        *((name, known[name]) for name in _TOLD if name in known),
        ("Encoder it started from", f"{encoder_name(study)}{_fingerprint(study, 'encoder')}"),
        *((name, known[name]) for name in _TOLD_AFTER if name in known),
    ]
    return [(name, text) for name, text in told if text]


def _fingerprint(study: Study, name: str) -> str:
    found = study.meta.get(name)
    fingerprint = found.get("fingerprint") if isinstance(found, dict) else None
    return f" (fingerprint {fingerprint})" if fingerprint else ""


def _settings(study: Study, numbers: list[int]) -> dict[int, str]:
    names, trials = short_names(study.factors), study.trials
    rows = trials[trials["number"].isin(numbers)]
    return {int(row["number"]): settings_text(row, names) for _, row in rows.iterrows()}


def _epochs(study: Study, numbers: list[int]) -> dict[int, tuple[int, int]]:
    rows = study.trials[study.trials["number"].isin(numbers)].dropna(subset=["best_epoch", "epochs"])
    return {int(row["number"]): (int(row["best_epoch"]), int(row["epochs"])) for _, row in rows.iterrows()}
