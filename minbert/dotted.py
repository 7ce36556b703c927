"""Nested mappings by dotted paths, as configurations and messages name their leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def put(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the tree with one value at a path."""
    key, _, rest = path.partition(".")
    below = tree.get(key)
    inner = below if isinstance(below, Mapping) else {}
    return {**tree, key: put(inner, rest, value) if rest else value}


def get(tree: Any, path: str, default: Any) -> Any:
    """The value at a path, or ``default`` where there is none."""
    for key in path.split(".") if path else ():
        if not isinstance(tree, Mapping) or key not in tree:
            return default
        tree = tree[key]
    return tree


def leaves(tree: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Values by dotted path; an empty mapping counts as a value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{within}.{key}" if within else key
        found |= leaves(value, path) if isinstance(value, Mapping) and value else {path: value}
    return found
