"""What may not change between two starts of a study, and how a difference is told."""

from __future__ import annotations

import re
from typing import Any

Spec = dict[str, Any]
"""Content of study.yaml."""
PINNED = {
    "space_fingerprint": "search space",
    "data.fingerprint": "data",
    "data.texts": "content of the text files",
    "encoder.fingerprint": "encoder",
    "seed": "seed",
}
"""What must not change between two starts of a study, and how to name it."""
_SHOWN = 100
_NAMED = 4
"""Of so many leaves of a space it is told how they differ."""
_UNTRAINED = ("name", "source", "description", "search.", "paper.", "claims.")
_OF_SEARCH = ("search.design", "search.base.")
"""What a study's runs depend on of its search section."""


def difference(stored: Spec, wanted: Spec, dotted: str) -> str:
    """What is different at a key that pins the study, with both values; empty where nothing is."""
    old, new = leaf(stored, dotted), leaf(wanted, dotted)
    if old == new:
        return ""
    detail = f"{shown(old)} there, {shown(new)} now"
    if dotted == "space_fingerprint":
        detail = _space_difference(stored, wanted)
    return f"another {PINNED.get(dotted, dotted)} ({detail})"


def leaf(spec: Spec, dotted: str) -> Any:
    """The value at a dotted key; None where there is none."""
    value: Any = spec
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _space_difference(stored: Spec, wanted: Spec) -> str:
    old, new = _leaves(stored.get("space", {})), _leaves(wanted.get("space", {}))
    paths = [
        path for path in dict.fromkeys([*old, *new]) if old.get(path) != new.get(path) and _is_trained(path)
    ]
    told = [
        f"{path.removeprefix('config.')}: {shown(old.get(path, 'absent'))} there, {shown(new.get(path, 'absent'))} now"
        for path in paths[:_NAMED]
    ]
    more = [f"and {len(paths) - _NAMED} more"] if len(paths) > _NAMED else []
    return "; ".join([*told, *more]) or f"{shown(stored.get('name'))} there, {wanted.get('name')} now"


def _is_trained(path: str) -> bool:
    if re.fullmatch(r"runs\..*?\.(reported|interpretation|note)\b.*", path):
        return False
    return path.startswith(_OF_SEARCH) or not path.startswith(_UNTRAINED)


def shown(value: object) -> str:
    """A value, cut to fit a message."""
    return str(value)[:_SHOWN]


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _leaves(value, f"{prefix}{key}.")
    return flat
