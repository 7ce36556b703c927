"""Whether study.yaml may be another study's: a copy of it in the wrong folder describes trials that are not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from analysis.description import Factor
from minbert.errors import UserError
from minbert.files.journal_owner import mismatch, named_owner
from minbert.files.yaml_dialect import read_record, shorten

_ADVICE = "bring the one back that was made with it"


def foreign_description(
    folder: Path, meta: Mapping[str, Any], factors: Sequence[Factor], trials: Sequence[FrozenTrial]
) -> str:
    """What speaks against study.yaml being of the study that it lies in, in a sentence that names both; else empty.

    A journal that says which study it is of is believed. Of what else a search writes, nothing does: a trial has values of
    the study's factors alone, also where it was taken over, and no study changes its factors, data or encoder; and of the
    configurations that a one_factor study plans, some are there.

    Args:
        folder: the study's.
        meta, factors: what study.yaml says.
        trials: what the journal says.
    """
    levels = {factor.path: factor.levels for factor in factors}
    if of := named_owner(folder / "journal.log"):
        found = _other_study(meta, of)
    else:
        found = (_other_factors(levels, trials) if levels else "") or _other_plan(meta, trials)
    if found:
        return f"{folder / 'study.yaml'}: is another study's than journal.log: {found}; {_ADVICE}"
    if of:
        return ""
    file = next((file for trial in trials if (file := _config_file(folder, trial)).is_file()), None)
    found = _other_sources(meta, file) if file else ""
    return (
        f"{folder / 'study.yaml'}: is another study's than {file.relative_to(folder)}: {found}; {_ADVICE}"
        if file and found
        else ""
    )


def _other_study(meta: Mapping[str, Any], of: Mapping[str, Any]) -> str:
    found = mismatch(meta, of)
    return (
        f"{found[0]} is {shorten(found[1])} in the one and {shorten(found[2])} in the other" if found else ""
    )


def _other_factors(levels: Mapping[str, tuple[Any, ...] | None], trials: Sequence[FrozenTrial]) -> str:
    for trial in trials:
        for path, value in trial.params.items():
            if path not in levels:
                return f"trial {trial.number} has a value of {path}, which is none of its factors"
            known = levels[path]
            if isinstance(value, str) and known is not None and value not in known:
                return f"trial {trial.number} has {path} {shorten(value)}, which is none of its levels"
    return ""


def _other_plan(meta: Mapping[str, Any], trials: Sequence[FrozenTrial]) -> str:
    compared = meta.get("comparisons")
    planned = {meta.get("baseline")}
    planned |= {each.get("config_id") for each in compared or () if isinstance(each, dict)}
    planned -= {None}
    there = {trial.user_attrs.get("config_id") for trial in trials} - {None}
    return (
        "no trial is of its base or of a level beside it" if planned and there and not planned & there else ""
    )


def _config_file(folder: Path, trial: FrozenTrial) -> Path:
    return folder / "trials" / f"{trial.number:05d}" / "config.yaml"


def _other_sources(meta: Mapping[str, Any], file: Path) -> str:
    """How data or encoder of study.yaml differ from those of a trial."""
    try:
        config = read_record(file)
    except (UserError, OSError):  # whoever trains it again is told
        return ""
    for name in ("data", "encoder"):
        here, there = (_fingerprint(each, name) for each in (meta, config))
        if here and there and here != there:
            return f"{name}.fingerprint is {here[:16]} in the one and {there[:16]} in the other"
    return ""


def _fingerprint(meta: Mapping[str, Any], name: str) -> str:
    source = meta.get(name)
    return str(source.get("fingerprint") or "") if isinstance(source, dict) else ""
