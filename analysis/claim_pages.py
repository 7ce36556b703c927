"""The table of claims as Markdown that reads well on a terminal too."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from analysis.paper_setting import OTHER, UNCHECKED

RULES = (
    "A claim is supported when all its m contrasts are. It is refuted when one is refuted even by its (100 − 5/m)% "
    "interval, since of many one easily seems refuted by chance; so a claim may stay undecided beside a contrast that its "
    '95% interval refutes. "Equal" needs the whole 95% interval within the margin (an ablation\'s "equivalent": the 90% '
    "interval)."
)
SAME_DEV = (
    "Runs keep the epoch that does best on these same dev sets, as the papers did: "
    "scores are optimistic, on both sides of a contrast."
)
UNITS = {"seconds": "s", "memory": "MiB"}


def claims_page(table: pd.DataFrame) -> str:
    """Write the rows of :func:`analysis.claims.claim_table`, a chapter a study, a paragraph a claim."""
    return "\n".join("\n".join(_chapter(rows)) for _, rows in table.groupby("folder", sort=False))


def marked_verdict(rows: pd.DataFrame) -> str:
    """A claim's verdict, from its rows; marked where some contrast was not measured in the paper's setting."""
    found = str(rows["claim_verdict"].iloc[0])
    if found == "not measured":
        return found
    marks = [mark for name, mark in (("other_setting", OTHER), ("unchecked", UNCHECKED)) if rows[name].any()]
    return ", ".join([found, *marks[:1]])


def _chapter(rows: pd.DataFrame) -> Iterator[str]:
    paper, study, folder = rows.iloc[0][["paper", "study", "folder"]]
    yield f"# Claims of {f'paper {paper} ({study})' if paper else study}, in {folder}"
    yield ""
    counts = rows.drop_duplicates("claim")["claim_verdict"].value_counts()
    yield f"{counts.sum()} claim{'' if counts.sum() == 1 else 's'}: {', '.join(f'{count} {name}' for name, count in counts.items())}."
    yield from _told(OTHER, rows["other_setting"])
    yield from _told(UNCHECKED, rows["unchecked"])
    yield ""
    yield (
        "Scores on all of dev, as papers report them; 95% intervals over examples and, from two runs each on, "
        f"seeds. {RULES}"
    )
    if rows["chosen_on_dev"].any():
        yield ""
        yield SAME_DEV
    for name, claim in rows.groupby("claim", sort=False):
        yield ""
        yield from _claim(str(name), claim)
    yield ""


def _told(mark: str, texts: pd.Series) -> Iterator[str]:
    for text in dict.fromkeys(text for text in texts if text):
        yield ""
        yield f"*{mark.capitalize()}*: {text}."


def _claim(name: str, rows: pd.DataFrame) -> Iterator[str]:
    first = rows.iloc[0]
    yield f"## {name}: {marked_verdict(rows)}"
    yield ""
    section = f"section {first['section']}" if first["section"][:1].isdigit() else first["section"]
    yield f"> {first['says']} ({section})"
    yield ""
    for row in rows.to_dict("records"):
        yield f"- {_contrast(row)}"
    if first["note"]:
        yield ""
        yield f"Note: {'; '.join(first['note'].splitlines())}."


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
    where = f" in {row['measured_in']}" if row["measured_in"] != row["folder"] else ""
    return f"{row['compared']}{where}: {'; '.join(parts)}: **{row['verdict']}**{because}"


def _number(value: float, unit: str) -> str:
    """A signed difference; empty when there is none."""
    if math.isnan(value):
        return ""
    return f"{value:+,.1f} {unit}" if unit else f"{value:+.3f}"
