"""What a study's journal can say of a trial: whole records of it may still hold what no search has written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = 60
_TEXTS = ("config_id", "cause", "message")
_WHOLE = ("replicate", "seed", "best_epoch", "epochs", "attempts", "forked_from", "copied_from")
_NUMBERS = ("cost_paid", "cost_alone")
_MAYBE_NONE = ("cause", "message", "best_epoch")


def impossible(
    complete: bool, values: list[Any] | None, scores: Mapping[Any, Any], attributes: Mapping[str, Any]
) -> str:
    """What cannot be in the record of a trial, with its value; empty where everything can.

    Args:
        complete: whether the trial is said to have completed.
        values: its score, as Optuna keeps it: a list of one number, or None.
        scores: its scores by epoch.
        attributes: what a search notes of it.
    """
    if (complete or values is not None) and not (
        isinstance(values, list) and len(values) == 1 and _is_number(values[0])
    ):
        return f"its score is {_cut(values)}, not a number"
    for epoch, score in scores.items():
        if not _is_whole(epoch) or not _is_number(score):
            return f"its score in epoch {_cut(epoch)} is {_cut(score)}, not a number"
    for name, value in attributes.items():
        if not _is_possible(name, value):
            return f"its {name} is {_cut(value)}"
    return ""


def _is_possible(name: str, value: Any) -> bool:
    if value is None and name in _MAYBE_NONE:
        return True
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _WHOLE:
        return _is_whole(value)
    if name in _NUMBERS:
        return _is_number(value)
    if name == "metrics":
        return isinstance(value, dict) and all(map(_is_number, value.values()))
    return True


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cut(value: Any) -> str:
    return repr(value)[:_SHOWN]
