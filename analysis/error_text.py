"""The tables of a trial's errors as text, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.description import TaskInfo

TEXT_SHOWN = 120


def show_confusion(counts: pd.DataFrame) -> pd.DataFrame:
    """Counts (labels, answers) as text, with the share of each label that was answered right."""
    right = np.diag(counts) / counts.sum(axis=1).clip(lower=1)
    return counts.astype(str).assign(right=[f"{share:.0%}" for share in right]).reset_index()


def show_most_wrong(examples: pd.DataFrame, info: TaskInfo) -> pd.DataFrame:
    """One row an example: label, answer, of classes the probability of the label, and the text, cut to ``TEXT_SHOWN``
    characters a sentence."""
    texts = [name for name in examples if str(name).startswith("text_")]
    lines = [" ⟷ ".join(_cut(text) for text in row) for row in examples[texts].itertuples(index=False)]
    labels, given = examples["label"], examples["predicted"]
    if info.kind == "regression":
        answers = {
            "label": [f"{value:g}" for value in labels],
            "answer": [f"{value:.2f}" for value in given],
        }
    else:
        names = info.class_names
        answers = {
            "label": [names[int(value)] for value in labels],
            "answer": [names[int(value)] for value in given],
        }
        answers["p of the label"] = [f"{1 - value:.3f}" for value in examples["doubt"]]
    return pd.DataFrame({**answers, "text": lines})


def show_groups(groups: pd.DataFrame) -> pd.DataFrame:
    """One row a group of examples on a scale: mean label and signed error with its interval, in the label's unit, the
    share that is too high, and mistakes."""
    return pd.DataFrame(
        {
            "feature": groups["feature"],
            "group": groups["group"],
            "n": groups["n"].astype(str),
            "label": [f"{value:.2f}" for value in groups["label"]],
            "error": [f"{value:+.3f}" for value in groups["error"]],
            "95% interval": [
                "–" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}"
                for low, high in zip(groups["low"], groups["high"], strict=True)
            ],
            "too high": [f"{value:.0%}" for value in groups["over"]],
            "mistakes": [f"{value:.3f}" for value in groups["mistakes"]],
        }
    )


def show_mistakes(groups: pd.DataFrame) -> pd.DataFrame:
    """One row a group of examples of unordered classes: the share of mistakes with its interval, 0 to 1."""
    return pd.DataFrame(
        {
            "feature": groups["feature"],
            "group": groups["group"],
            "n": groups["n"].astype(str),
            "mistakes": [f"{value:.3f}" for value in groups["mistakes"]],
            "95% interval": [
                f"{low:.3f} to {high:.3f}" for low, high in zip(groups["low"], groups["high"], strict=True)
            ],
        }
    )


def show_trends(trends: pd.DataFrame) -> pd.DataFrame:
    """One row a feature: its rank correlation with the error, among all examples and at equal labels."""
    return pd.DataFrame(
        {
            "feature": trends["feature"],
            "n": trends["n"].astype(str),
            "rho": [_signed(value) for value in trends["rho"]],
            "at equal labels": [_signed(value) for value in trends["rho_at_label"]],
            "p (Holm)": [
                "–" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"
                for value in trends["p_holm"]
            ],
        }
    )


def show_forgetting(stages: pd.DataFrame) -> pd.DataFrame:
    """One row a stage, one column a task: its metric at the stage's end, the change in points, * where it was trained."""

    def cell(row: Mapping[Hashable, Any]) -> str:
        change = "" if math.isnan(row["change"]) else f" ({100 * row['change']:+.1f})"
        return f"{row['value']:.3f}{change}{'*' if row['trained'] else ''}"

    shown: dict[str, dict[str, str]] = {}
    for row in stages.to_dict("records"):
        shown.setdefault(row["stage"], {"stage": row["stage"]})[row["task"]] = cell(row)
    return pd.DataFrame(list(shown.values()))


def show_agreement(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row a task and pair of trials: the share of equal answers, and how far their mistakes go together."""
    if pairs.empty:
        return pairs
    return pd.DataFrame(
        {
            "task": pairs["task"],
            "trials": [f"{a}, {b}" for a, b in zip(pairs["first"], pairs["second"], strict=True)],
            "agreement": [f"{value:.3f}" for value in pairs["agreement"]],
            "correlation of mistakes": [f"{value:+.2f}" for value in pairs["errors"]],
        }
    )


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1] + "…"
