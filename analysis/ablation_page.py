"""The ablation table of a one_factor study as text, for terminal and report."""

from __future__ import annotations

import math

import pandas as pd

from analysis.one_factor import DELTA, SCORE, VERDICTS, ablation_table
from analysis.study import Study
from analysis.tables import interval, points, probability, score, short_names


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


def _text(rows: pd.DataFrame, study: Study) -> pd.DataFrame:
    names = short_names(study.factors)
    return pd.DataFrame(
        {
            "factor": [names.get(path, path) for path in rows["factor"]],
            "level": rows["level"],
            "runs": rows["n"].astype(str),
            "mean": [score(value) for value in rows["mean"]],
            "sd": [score(value) for value in rows["sd"]],
            "difference": [points(value) for value in rows["difference"]],
            "95% interval": [
                interval(low, high) for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)
            ],
            "p": [probability(value) for value in rows["p"]],
            "p (Holm)": [probability(value) for value in rows["p_holm"]],
            "could see": [points(value) for value in rows["visible"]],
            "cost": ["–" if math.isnan(ratio) else f"{ratio:.2f}×" for ratio in rows["relative_cost"]],
            "verdict": rows["verdict"],
        }
    )


def _note(study: Study, rows: pd.DataFrame, target: str) -> str:
    quoted = "all of dev: nothing was chosen on it" if study.meta.get("quote") == "dev" else "the report half"
    family = "all levels of this table" if target == SCORE else f"the levels of {target}, a secondary family"
    used = [f"{verdict} = {VERDICTS[verdict]}" for verdict in VERDICTS if verdict in set(rows["verdict"])]
    return (
        f"Every level against the base, one factor changed at a time, over pairs of runs with the same seed, on {quoted}. "
        "Difference, interval (other seeds and other examples) and could see (the smallest true difference found in "
        f"four of five such studies) in points; Holm over {family}; δ is {100 * DELTA:g} point. {'; '.join(used)}."
    )
