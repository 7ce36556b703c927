"""The settings of a configuration in a line of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.coding import INACTIVE, level_text
from analysis.description import Factor, as_level

SETTINGS_SHOWN = 8


def short_names(factors: Sequence[Factor]) -> dict[str, str]:
    """Map dotted paths to names that fit a table: ``tasks.sts.head.kind`` → ``sts.head``."""
    short = {factor.path: _short(factor.path) for factor in factors}
    names = list(short.values())
    return {path: name if names.count(name) == 1 else path for path, name in short.items()}


def settings_text(row: pd.Series, names: dict[str, str]) -> str:
    """The active factors of a configuration as ``name=level, …``."""
    return ", ".join(_settings(row, names))


def telling_settings(
    row: pd.Series, factors: Sequence[Factor], base: Mapping[str, object] | None = None
) -> str:
    """At most ``SETTINGS_SHOWN`` active factors of a configuration, those first that are not at their level in ``base``,
    or their first one."""
    names = short_names(factors)
    first = {factor.path: factor.levels[0] for factor in factors if factor.levels}
    usual = {**first, **{path: as_level(level) for path, level in (base or {}).items()}}
    plain = {path for path in names if path in usual and level_text(row[path]) == level_text(usual[path])}
    differing = _settings(row, {path: name for path, name in names.items() if path not in plain})
    same = _settings(row, {path: name for path, name in names.items() if path in plain})
    if len(differing) + len(same) <= SETTINGS_SHOWN:
        return settings_text(row, names)
    shown = differing[:SETTINGS_SHOWN] or same[:SETTINGS_SHOWN]
    return f"{', '.join(shown)} and {len(differing) + len(same) - len(shown)} more"


def _short(path: str) -> str:
    for prefix in ("tasks.", "stages."):
        path = path.removeprefix(prefix)
    return path.removesuffix(".kind")


def _settings(row: pd.Series, names: dict[str, str]) -> list[str]:
    cells = ((name, level_text(row[path])) for path, name in names.items())
    return [f"{name}={level}" for name, level in cells if level != INACTIVE]
