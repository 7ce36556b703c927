"""What a study's factors do, as text: the ablation table of a one_factor study, for terminal and report, or main effects.

``python -m analysis.ablation STUDY`` prints it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from analysis.listed import is_listed
from analysis.number_text import interval, points, probability, score
from analysis.one_factor import DELTA, SCORE, VERDICTS, ablation_table, is_one_factor
from analysis.provenance import refuse_lost_journal
from analysis.relative_cost import AGREE, cost_text
from analysis.relative_cost import COLUMNS as COST_COLUMNS
from analysis.settings_text import short_names
from analysis.study import Study, load
from analysis.tables import compute_tables, effects_note, effects_title, show_effects
from analysis.terminal import print_table
from minbert.command_line import Parser
from minbert.errors import UserError
from minbert.terminal import PlainConsole

_LEFT_OUT_SHOWN = 10

_PLAIN_VERDICTS = ("base", "better", "worse", "undecided")
"""What the first table's note tells, and the others' need not tell again."""


def show_ablation(study: Study, table: pd.DataFrame | None = None) -> list[tuple[str, str, pd.DataFrame]]:
    """Title, explanation and table of the score, then of every task.

    Means to three places; differences, intervals and what could have been seen in points (0.01).
    ``table``: the study's ``ablation_table``, where it has been computed.
    """
    table = ablation_table(study) if table is None else table
    sections = []
    for target in (SCORE, *study.tasks):
        rows = table[table["target"] == target]
        title = "Ablation" if target == SCORE else f"Ablation: {target}"
        sections.append((title, _note(study, rows, target), _text(rows, study)))
    return sections


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Raises:
        UserError: the study cannot be used, or has no factors that could be compared.
    """
    parser = Parser(
        prog="python -m analysis.ablation",
        description="Print what each level of a study's factors does to the score.",
        allow_abbrev=False,
    )
    parser.add_argument("study", metavar="STUDY", help="the study folder, such as results/essentials")
    study = load(parser.parse_args(arguments).study)
    refuse_lost_journal(study)
    console = PlainConsole(soft_wrap=True)
    for title, note, table in show_ablation(study) if is_one_factor(study) else [_main_effects(study)]:
        print_table(console, title, table)
        console.print(f"\n{note}", highlight=False, markup=False)
    for line in study.damage:
        console.print(f"warning: {line}", highlight=False, markup=False)
    return 0


def _main_effects(study: Study) -> tuple[str, str, pd.DataFrame]:
    """Title, explanation and table of a sampled study."""
    if is_listed(study):
        raise UserError(
            f"{study.path}: listed runs have no factors to compare; see python -m analysis.claims"
        )
    tables = compute_tables(study)
    if tables.compared.trials.empty or tables.effects.empty:
        reason = tables.compared.reason or (
            "no trial is complete" if len(tables.effects) else "the space has no factors to compare"
        )
        raise UserError(f"{study.path}: {reason}")
    return effects_title(tables), effects_note(tables), show_effects(tables.effects, study.factors)


def _text(rows: pd.DataFrame, study: Study) -> pd.DataFrame:
    names = short_names(study.factors)
    return pd.DataFrame(
        {
            "factor": [names.get(path, path) for path in rows["factor"]],
            "level": rows["level"],
            "difference": [points(value) for value in rows["difference"]],
            "95% interval": [
                interval(low, high) for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)
            ],
            "verdict": rows["verdict"],
            "mean": [score(value) for value in rows["mean"]],
            "sd": [score(value) for value in rows["sd"]],
            "runs": [
                f"{runs}"
                if base or pairs == runs
                else f"{runs} ({pairs} {'pair' if pairs == 1 else 'pairs'})"
                for runs, pairs, base in zip(rows["n"], rows["pairs"], rows["base"], strict=True)
            ],
            "p": [probability(value) for value in rows["p"]],
            "p (Holm)": [probability(value) for value in rows["p_holm"]],
            "could see": [points(value) for value in rows["visible"]],
            "steps": ["–" if math.isnan(ratio) else f"{ratio:.2f}×" for ratio in rows["relative_steps"]],
            "cost": [cost_text(*ratios) for ratios in rows[list(COST_COLUMNS[:3])].itertuples(index=False)],
        }
    )


def _note(study: Study, rows: pd.DataFrame, target: str) -> str:
    told = [f"{verdict} = {VERDICTS[verdict]}" for verdict in VERDICTS if verdict in set(rows["verdict"])]
    if target != SCORE:
        further = [one for one in told if one.partition(" = ")[0] not in _PLAIN_VERDICTS]
        return (
            f"As the table of the score, for {target} alone; Holm over the levels of {target}, a secondary family."
            f"{' ' + '; '.join(further) + '.' if further else ''}{_left_out(rows)}"
        )
    quoted = "all of dev: nothing was chosen on it" if study.meta.get("quote") == "dev" else "the report half"
    return (
        f"Every level against the base, one factor changed at a time, over pairs of runs with the same seed, on {quoted}. "
        "Difference and 95% interval (over other seeds and other examples) in points; could see: about the smallest true "
        "difference that four of five such studies would find, were the noise as estimated here; Holm over all levels of "
        f"this table; δ is {100 * DELTA:g} point. {'; '.join(told)}. {_costs(rows)}{_left_out(rows)}"
    )


def _costs(rows: pd.DataFrame) -> str:
    """What the columns of costs say."""
    other = (rows["relative_steps"] - 1).abs().max() > 0.005
    confounded = (
        ": where they differ, that is part of the level's effect (a sampler can spread as many examples over more steps)"
        if other
        else ""
    )
    return (
        f"Steps: the optimiser's, against the base's{confounded}. Cost: the geometric mean of the pairs' ratios of seconds "
        f"(noisy: one is more than {AGREE:g} times another)."
    )


def _left_out(rows: pd.DataFrame) -> str:
    """How many finished runs no number here counts, which ones, and why."""
    runs = list(dict.fromkeys(one for own in rows["left_out"] for one in own))
    if not runs:
        return ""
    more = f" and {len(runs) - _LEFT_OUT_SHOWN} more" if len(runs) > _LEFT_OUT_SHOWN else ""
    many = "finished run is" if len(runs) == 1 else "finished runs are"
    return f" {len(runs)} {many} left out (trial: reason): {', '.join(runs[:_LEFT_OUT_SHOWN])}{more}."
