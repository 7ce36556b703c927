"""Sections of searched studies: main effects, importance and interactions, each with what would confirm it."""

from __future__ import annotations

import pandas as pd

from analysis import plots
from analysis.importance import Importance, importance
from analysis.interactions import VERDICTS, confirm_command, interactions
from analysis.number_text import interval, points, probability
from analysis.sections.parts import Picture, Section, drawn, filled
from analysis.settings_text import short_names
from analysis.study import Study
from analysis.tables import StudyTables, effects_note, effects_title, show_effects, strongest
from minbert.errors import UserError

FACTORS_DRAWN = 8
"""So many factors have a picture: those with the smallest p-values. The table has them all."""
FACTORS_IN_FOREST = 12
IMPORTANT_SHOWN = 15
PAIRS_SHOWN = 10
PAIRS_DRAWN = 2


def searched_sections(study: Study, tables: StudyTables) -> list[Section]:
    """What the factors of a sampled study seem to do."""
    return [_effects(study, tables), *_importance(study, tables), *_interactions(study, tables)]


def _effects(study: Study, tables: StudyTables) -> Section:
    title = effects_title(tables)
    if tables.compared.trials.empty:
        reason = tables.compared.description if tables.compared.reason else ""
        return Section(title, reason or "No trial is complete or was stopped early yet.")
    shown = show_effects(tables.effects, study.factors)
    tested = tables.effects[tables.effects["p"].notna()]
    best = [] if tested.empty else [str(tested["factor"].iloc[int(tested["p"].argmin())])]
    return Section(
        title,
        effects_note(tables),
        filled(shown),
        _effect_pictures(study, tables),
        commands=_confirming(study, best),
    )


def _effect_pictures(study: Study, tables: StudyTables) -> list[Picture]:
    names, effects = short_names(study.factors), tables.effects
    when = f" {tables.compared.when}" if tables.compared.when else ""
    metric = tables.metric.replace("/", " ")
    of_all = effects["factor"].nunique()
    few = strongest(effects, FACTORS_IN_FOREST)
    which = f" of the {FACTORS_IN_FOREST} factors with the smallest p" if of_all > FACTORS_IN_FOREST else ""
    forest = plots.forest(few, names, title=f"Effects on {metric}")
    pictures = [("effects", f"Main effects{which} with 95% intervals{when}, as in the table", forest)]
    chosen = set(strongest(effects, FACTORS_DRAWN)["factor"])
    pictures += [
        (
            f"factor_{place:02d}",
            f"{metric}{when} by {factor.path}",
            plots.score_by_level(tables.compared.trials, factor, tables.metric, names[factor.path]),
        )
        for place, factor in enumerate(study.factors)
        if factor.path in chosen
    ]
    return drawn(*pictures)


def _confirming(study: Study, factors: list[str]) -> list[tuple[str, str]]:
    """The command for a designed study of these factors; none where there is nothing to start it from."""
    if not factors:
        return []
    names = short_names(study.factors)
    listed = " and ".join(names[factor] for factor in factors)
    what = "the effect of" if len(factors) == 1 else "the interaction of"
    try:
        command = confirm_command(study, *factors)
    except UserError:
        return []
    return [(f"Put {what} {listed} to the test, by runs that differ in nothing else", command)]


def _importance(study: Study, tables: StudyTables) -> list[Section]:
    if not study.factors or tables.compared.reason:
        return []
    half = tables.metric.partition("/")[0]
    found = importance(tables.compared.trials, study.factors, study.tasks, half)
    if found.reason:
        return [Section("Importance", f"Not computed: {found.reason}.")]
    note = (
        "PED-ANOVA (Watanabe et al. 2023): how much a factor decides whether a configuration is among the best "
        f"tenth, as a share of all factors' importance (with its 5% and 95% quantile over the bootstrap), for the "
        f"{half} score and for every task. Factors whose ranges overlap cannot be ranked. Importance says neither "
        "which level is better nor why."
    )
    return [Section("Importance", note, _importance_text(found, study))]


def _importance_text(found: Importance, study: Study) -> pd.DataFrame:
    names, table = short_names(study.factors), found.table
    cells = table.assign(
        text=[
            f"{value:.0%} ({low:.0%} to {high:.0%})"
            for value, low, high in zip(table["importance"], table["low"], table["high"], strict=True)
        ]
    )
    order = table.loc[table["objective"] == table["objective"].iloc[0], "factor"].head(IMPORTANT_SHOWN)
    wide = cells.pivot(index="factor", columns="objective", values="text").loc[
        order, list(dict.fromkeys(table["objective"]))
    ]
    wide.columns = [str(name).partition("/")[2] for name in wide.columns]
    return wide.set_axis([names[path] for path in wide.index]).rename_axis("factor").reset_index()


def _interactions(study: Study, tables: StudyTables) -> list[Section]:
    if len(study.factors) < 2 or tables.compared.trials.empty:
        return []
    found = interactions(tables.compared.trials, study.factors, tables.metric)
    judged = found[found["p"].notna()]
    if judged.empty:
        return [
            Section(
                "Interactions",
                f"Not computed: no pair of factors has enough configurations ({len(found)} pairs).",
            )
        ]
    shown = judged.head(PAIRS_SHOWN)
    said = "; ".join(f"{word} = {VERDICTS[word]}" for word in dict.fromkeys(shown["verdict"]))
    note = (
        f"Pairs of factors whose effects may depend on each other: the {len(shown)} likeliest of {len(judged)} that "
        "could be tested, by an F test of all their combinations, adjusted for all main effects. Beyond the sum: "
        "points that the combination which stands out most has over the sum of its two effects. Observational; "
        f"Holm over all pairs. {said}. Pictures show plain means of configurations, ± standard error."
    )
    first = shown.iloc[0]
    return [
        Section(
            "Interactions",
            note,
            _interactions_text(shown, study),
            _interaction_pictures(study, tables, shown.head(PAIRS_DRAWN)),
            commands=_confirming(study, [str(first["first"]), str(first["second"])]),
        )
    ]


def _interactions_text(pairs: pd.DataFrame, study: Study) -> pd.DataFrame:
    names = short_names(study.factors)
    combined = [
        f"{one} and {other}" if isinstance(one, str) else "–"
        for one, other in zip(pairs["first_level"], pairs["second_level"], strict=True)
    ]
    return pd.DataFrame(
        {
            "factors": [
                f"{names[one]} × {names[other]}"
                for one, other in zip(pairs["first"], pairs["second"], strict=True)
            ],
            "n": pairs["n"].astype(str),
            "F": [f"{value:.2f}" for value in pairs["f"]],
            "df": [
                f"{df:.0f}, {rest:.0f}" for df, rest in zip(pairs["df"], pairs["df_residual"], strict=True)
            ],
            "p": [probability(value) for value in pairs["p"]],
            "p (Holm)": [probability(value) for value in pairs["p_holm"]],
            "combination": combined,
            "beyond the sum": [points(value) for value in pairs["effect"].astype("float64")],
            "95% interval": [
                interval(low, high)
                for low, high in zip(
                    pairs["ci_low"].astype("float64"), pairs["ci_high"].astype("float64"), strict=True
                )
            ],
            "verdict": pairs["verdict"],
        }
    )


def _interaction_pictures(study: Study, tables: StudyTables, pairs: pd.DataFrame) -> list[Picture]:
    names = short_names(study.factors)
    factors = {factor.path: factor for factor in study.factors}
    return drawn(
        *(
            (
                f"interaction_{place}",
                f"Mean {tables.metric.replace('/', ' ')} by {one} and {other}",
                plots.interaction(tables.compared.trials, factors[one], factors[other], tables.metric, names),
            )
            for place, (one, other) in enumerate(zip(pairs["first"], pairs["second"], strict=True), 1)
        )
    )
