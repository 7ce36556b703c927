"""The table of claims as Markdown that reads well on a terminal too."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

OTHER = "not the paper's setting"
SAME_DEV = (
    "Runs keep the epoch that does best on these same dev sets, as the papers did: "
    "scores are optimistic, on both sides of a contrast."
)
UNITS = {"seconds": "s", "memory": "MiB"}


def claims_page(table: pd.DataFrame) -> str:
    """Write the rows of :func:`analysis.claims.claim_table`, a chapter a study, a paragraph a claim."""
    chapters = [
        "\n".join(_chapter(str(name), rows))
        for name, rows in table.groupby("study", sort=False, dropna=False)
    ]
    return "\n".join(chapters)


def _chapter(study: str, rows: pd.DataFrame) -> Iterator[str]:
    paper = rows["paper"].iloc[0]
    yield f"# Claims of {f'paper {paper} ({study})' if paper else study}"
    yield ""
    counts = rows.drop_duplicates("claim")["claim_verdict"].value_counts()
    yield f"{counts.sum()} claims: {', '.join(f'{count} {name}' for name, count in counts.items())}."
    yield from _settings(rows["other_setting"])
    yield (
        "Scores on all of dev, as papers report them; 95% intervals over examples and, from two runs each on, "
        "seeds. A claim is supported when all its contrasts are."
    )
    if rows["chosen_on_dev"].any():
        yield ""
        yield SAME_DEV
    for name, claim in rows.groupby("claim", sort=False):
        yield ""
        yield from _claim(str(name), claim)
    yield ""


def _settings(settings: pd.Series) -> Iterator[str]:
    for setting in dict.fromkeys(text for text in settings if text):
        yield ""
        yield f"*{OTHER.capitalize()}*: {setting}."
    yield ""


def _claim(name: str, rows: pd.DataFrame) -> Iterator[str]:
    first = rows.iloc[0]
    mark = f", {OTHER}" if _marked(rows) else ""
    yield f"## {name}: {first['claim_verdict']}{mark}"
    yield ""
    section = f"section {first['section']}" if first["section"][:1].isdigit() else first["section"]
    yield f"> {first['says']} ({section})"
    yield ""
    for row in rows.to_dict("records"):
        yield f"- {_contrast(row)}"
    if first["note"]:
        yield ""
        yield f"Note: {'; '.join(first['note'].splitlines())}."


def _marked(rows: pd.DataFrame) -> bool:
    return bool((rows["other_setting"] != "").any()) and rows["claim_verdict"].iloc[0] != "not measured"


def _contrast(row: Mapping[Hashable, Any]) -> str:
    because = f" ({row['reason']})" if row["reason"] else ""
    if not isinstance(row["compared"], str):
        return f"**{row['verdict']}**{because}"
    unit = UNITS.get(row["metric"], "")
    reported, measured, low, high = (
        _number(row[name], unit) for name in ("reported", "measured", "low", "high")
    )
    source = " in the text" if row["size_from"] == "text" else ""
    parts = [
        f"expected {row['expected']}",
        f"reported {reported}{source}" if reported else "no size reported",
    ]
    if measured:
        between = f" [{low}, {high}]" if low else ""
        parts.append(f"measured {measured}{between}, n = {row['replicates']:.0f}")
    return f"{row['compared']}: {'; '.join(parts)}: **{row['verdict']}**{because}"


def _number(value: float, unit: str) -> str:
    """A signed difference; empty when there is none."""
    if math.isnan(value):
        return ""
    return f"{value:+,.1f} {unit}" if unit else f"{value:+.3f}"
