"""The tables of a study: computed in full precision, and shown as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.ablation import LEVEL_MEANS, VERDICTS, leaderboard, main_effects
from analysis.common_epoch import FINISHED, Compared, at_common_epoch
from analysis.constant_answers import counted_constants
from analysis.description import Factor
from analysis.ensemble import best_trials, ensemble_table, greedy, members_table
from analysis.listed import is_listed, show_runs
from analysis.number_text import duration, interval, points, probability, score
from analysis.one_factor import ablation_table, is_one_factor
from analysis.settings_text import settings_text, short_names, telling_settings
from analysis.study import Study
from analysis.task_ensemble import TaskEnsemble

TOP = 10
SCALE = 1.0
"""From the worst score to the best."""
MEMBERS_SHOWN = 6
FACTORS_SHOWN = 10
"""So many factors fit on a screen; the report has them all."""
LED = 3
"""Of so many leading configurations the settings fit on a screen."""
FEW = 4
"""Settings of so many factors fit on a line, and then those of all configurations on a screen."""


@dataclass(frozen=True)
class StudyTables:
    """The computed tables of one study, in full precision; listed runs and one_factor designs have no main effects."""

    metric: str
    """The column that tables quote: report/score, or the best there is instead."""
    leaders: pd.DataFrame
    compared: Compared
    """The trials and scores behind ``effects``."""
    effects: pd.DataFrame
    ensembles: dict[str, TaskEnsemble]
    ensemble: pd.DataFrame
    members: pd.DataFrame
    ablation: pd.DataFrame | None = None
    """Every level against the base, of a one_factor design."""


def compute_tables(study: Study, top: int = TOP) -> StudyTables:
    """Compute the leaderboard, the main effects and the ensembles of a study."""
    trials = study.trials
    metric = quoted_metric(trials)
    compared = at_common_epoch(study)
    pool = best_trials(study)
    effects = main_effects(compared.trials, study.factors, study.tasks, metric)
    ensembles = greedy({task: study.predictions(task, pool) for task in study.tasks}, study.tasks)
    return StudyTables(
        metric=metric,
        leaders=leaderboard(trials, study.tasks, top, study.factors),
        compared=compared,
        effects=effects.head(0) if is_listed(study) or is_one_factor(study) else effects,
        ensembles=ensembles,
        ensemble=ensemble_table(ensembles, study.tasks),
        members=members_table(ensembles),
        ablation=ablation_table(study) if is_one_factor(study) else None,
    )


def summary_tables(
    study: Study, tables: StudyTables | None = None, top: int = TOP
) -> dict[str, pd.DataFrame]:
    """The tables to print, by title, every cell a string: runs of a listed study, top configurations with what the
    first ones set otherwise than the base, main effects, ensemble.

    Tables without rows are left out, and effects of which :func:`effects_unsaid` says that they are none yet.
    """
    tables = tables or compute_tables(study, top)
    effects = strongest(tables.effects, 0 if effects_unsaid(tables) else FACTORS_SHOWN)
    hidden = tables.effects["factor"].nunique() - effects["factor"].nunique()
    left = f" ({hidden} more factors are in the report)" if hidden else ""
    shown = {
        **(dict([show_runs(study)]) if is_listed(study) else {}),
        leaders_title(study): show_leaders(tables.leaders, study).assign(
            settings=_told(study, tables.leaders)
        ),
        f"{effects_title(tables)}{left}": show_effects(effects, study.factors),
        "Ensemble": show_ensemble(tables.ensemble, tables.members),
    }
    return {title: frame for title, frame in shown.items() if len(frame)}


def strongest(effects: pd.DataFrame, count: int) -> pd.DataFrame:
    """The rows of the ``count`` factors that have the smallest p-values, in the order of the table."""
    smallest = effects.groupby("factor", sort=False)["p"].min().sort_values(kind="stable", na_position="last")
    return effects[effects["factor"].isin(smallest.index[:count])]


def leaders_title(study: Study) -> str:
    """Title of the leaderboard, which says so where nothing but optimistic scores can be quoted."""
    same = "" if halves_differ(study) else ", chosen and quoted on the same dev set: optimistic"
    return f"Top configurations{same}"


def quoted_metric(trials: pd.DataFrame) -> str:
    """``report/score``, or what is there when the study has no report half."""
    finished = trials[trials["state"].isin(FINISHED)]
    found = [name for name in ("report/score", "dev/score") if finished[name].notna().any()]
    return found[0] if found else "report/score" if finished["score"].isna().all() else "select/score"


def show_leaders(leaders: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The leaderboard as text: scores to three places, optimism in points, settings in one cell.

    Where nothing but one set of examples was scored, there is one score. Tasks that a run of a configuration answered
    alike whatever was asked are named, where there are any.
    """
    names, scored = short_names(study.factors), {"score": _with_sd(leaders, "select")}
    full_dev: dict[str, list[str]] = {}
    constants = counted_constants(study)
    alike = [_constant(numbers, constants) for numbers in leaders["numbers"]]
    if halves_differ(study):
        scored = {
            "select": _with_sd(leaders, "select"),
            "report": _with_sd(leaders, "report"),
            "optimism": [points(value) for value in leaders["optimism"]],
        }
        full_dev = {"full dev": [score(value) for value in leaders["dev/score"]]}
    return pd.DataFrame(
        {
            "#": leaders["rank"].astype(str),
            "trial": [_numbers(numbers) for numbers in leaders["numbers"]],
            "runs": leaders["n"].astype(str),
            **scored,
            **{task: [score(value) for value in leaders[f"report/{task}"]] for task in study.tasks},
            **full_dev,
            **({"constant?": alike} if any(alike) else {}),
            "cost": [duration(value) for value in leaders["cost_alone"]],
            "settings": [settings_text(row, names) for _, row in leaders.iterrows()],
        }
    )


def halves_differ(study: Study) -> bool:
    """Whether scores are quoted on other examples than those that chose."""
    return study.meta.get("selection") != "dev"


def show_effects(effects: pd.DataFrame, factors: Sequence[Factor]) -> pd.DataFrame:
    """The main effects as text: means to three places, effects and intervals in points."""
    names = short_names(factors)
    return pd.DataFrame(
        {
            "factor": [names[path] for path in effects["factor"]],
            "level": effects["level"],
            "n": effects["n"].astype(str),
            "mean": [score(value) for value in effects["mean"]],
            "sd": [score(value) for value in effects["sd"]],
            "effect": [points(value) for value in effects["effect"]],
            "95% interval": [
                interval(low, high) for low, high in zip(effects["ci_low"], effects["ci_high"], strict=True)
            ],
            "p (Holm)": [probability(value) for value in effects["p_holm"]],
            "verdict": effects["verdict"],
        }
    )


def show_ensemble(ensemble: pd.DataFrame, members: pd.DataFrame) -> pd.DataFrame:
    """The ensembles as text: metrics to three places, optimism and gains in points."""
    return pd.DataFrame(
        {
            "task": ensemble["task"],
            "members": [_members(task, members) for task in ensemble["task"]],
            "select": [score(value) for value in ensemble["select"]],
            "report": [score(value) for value in ensemble["report"]],
            # Without halves there is no interval of it, and no optimism to be seen.
            "optimism": [
                "–" if math.isnan(low) else points(value)
                for value, low in zip(ensemble["optimism"], ensemble["optimism_low"], strict=True)
            ],
            "best single": ensemble["single"],
            "its report": [score(value) for value in ensemble["single_report"]],
            "gain": [points(value) for value in ensemble["gain"]],
            "95% interval": [
                interval(low, high)
                for low, high in zip(ensemble["gain_low"], ensemble["gain_high"], strict=True)
            ],
        }
    )


def unadjusted(effects: pd.DataFrame) -> bool:
    """Whether the effects are plain differences of level means."""
    return bool((effects["evidence"] == LEVEL_MEANS).any())


def effects_title(tables: StudyTables) -> str:
    """``Main effects``, and what a reader must know of them before the first number."""
    when = f" {tables.compared.when}" if tables.compared.when else ""
    return f"Main effects{when}{', not adjusted for other factors' if unadjusted(tables.effects) else ''}"


def settings_left_out(leaders: pd.DataFrame) -> bool:
    """Whether the leaderboard of :func:`summary_tables` had no room for some settings."""
    return any(not told or told.endswith(" more") for told in leaders["settings"])


def effects_unsaid(tables: StudyTables) -> str:
    """That the table of effects would say nothing yet, in a line; empty where a level is sure or most can be judged."""
    verdicts = tables.effects["verdict"][tables.effects["verdict"] != "baseline"]
    empty = int(verdicts.isin(["too few", "never ran"]).sum())
    if verdicts.empty or verdicts.isin(["better", "worse"]).any() or 2 * empty < len(verdicts):
        return ""
    return f"too few trials to say anything about effects: {empty} of {len(verdicts)} levels ran too seldom or never"


def effects_note(tables: StudyTables) -> str:
    """What the effects table says and what it cannot, in one paragraph."""
    effects = tables.effects
    if effects.empty:
        return "The space has no factors to compare."
    against = "Effect: points of score against the factor's baseline level"
    method = (
        f"{against}, the plain difference of level means with Welch's interval, not adjusted for other "
        "factors, as there are too few configurations for a model of all of them at once: factors that "
        "went along with each other share their effects."
        if unadjusted(effects)
        else f"{against}, adjusted for all other factors (least squares; the effect of a factor that switches "
        "another one off is measured at the other's baseline or mean)."
    )
    return (
        f"{tables.compared.description} {method} n = configurations, replicates averaged. Observational: the "
        "search chose what to try, so confirm an effect by runs that differ in that factor only. "
        f"{_verdicts_note(effects)}{_visible_note(effects)} Dots in the pictures are the same scores, never adjusted."
    )


def _told(study: Study, leaders: pd.DataFrame) -> list[str]:
    """What tells the first configurations from the base of the space."""
    base = study.meta.get("base")
    base = base if isinstance(base, dict) else None
    shown = leaders if len(study.factors) <= FEW else leaders.head(LED)
    told = [telling_settings(row, study.factors, base) for _, row in shown.iterrows()]
    return told + [""] * (len(leaders) - len(told))


def _verdicts_note(effects: pd.DataFrame) -> str:
    """What the verdicts that occur mean."""
    said = [f"{word} = {meaning}" for word, meaning in VERDICTS.items() if (effects["verdict"] == word).any()]
    return f"Verdicts: {'; '.join(said)}."


def _visible_note(effects: pd.DataFrame) -> str:
    visible = effects.loc[~effects["slope"], "visible"].dropna()
    if visible.empty:
        return ""
    return (
        " Smallest true effect that this table would have shown (80% power after the correction): "
        f"{_smallest_visible(visible.min(), visible.median())}; read 'unsure' with that in mind."
    )


def _smallest_visible(best: float, middle: float) -> str:
    """Of the best-covered level and the middle one; an effect beyond the whole scale is none that can be."""
    if best > SCALE:
        return f"none, it would take more than the {100 * SCALE:.0f} points of the scale for every level"
    told = f"{100 * best:.1f} points for the best-covered level"
    if middle > SCALE:
        return f"{told}, none for the middle one, where it would take more than the {100 * SCALE:.0f} points of the scale"
    return f"{told}, {100 * middle:.1f} for the middle one"


def _constant(numbers: Sequence[int], constants: Mapping[int, Sequence[str]]) -> str:
    """The tasks that some of these trials answered alike."""
    return ", ".join(dict.fromkeys(task for number in numbers for task in constants.get(number, ())))


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _with_sd(frame: pd.DataFrame, name: str) -> list[str]:
    return [
        score(mean) + ("" if math.isnan(sd) else f" ± {sd:.3f}")
        for mean, sd in zip(frame[name], frame[f"{name}_sd"], strict=True)
    ]


def _members(task: str, members: pd.DataFrame) -> str:
    own = members[members["task"] == task]
    if own.empty:
        return f"{members['number'].nunique()} trials"
    shares = zip(own["number"].head(MEMBERS_SHOWN), own["weight"].head(MEMBERS_SHOWN), strict=True)
    more = f" and {len(own) - MEMBERS_SHOWN} more" if len(own) > MEMBERS_SHOWN else ""
    return ", ".join(f"{number} ({weight:.0%})" for number, weight in shares) + more
