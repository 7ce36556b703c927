"""Setting one leaf for all runs of a listed space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minbert.config import TrainConfig
from trainables.runs import RUN
from trainables.space_trees import get, leaves, overlay, put

if TYPE_CHECKING:
    from trainables.spaces import Space

_ABSENT = object()


def fix_in_runs(space: Space, path: str, value: Any) -> dict[str, Any]:
    """The content of a listed space's file with a value laid over its fixed part and its runs.

    A run's own value of the leaf is replaced too; a run that has no such leaf, such as one of a
    stage that only others have, stays as it is.
    """
    more = put({}, path, value)
    tree = space.tree()
    base, runs = space.base, space.runs
    if _has(overlay(TrainConfig().model_dump(mode="json"), base), path):
        tree, base = overlay(tree, more), overlay(base, more)
    for name in space.runs.like_first():
        inherits = get(runs.partial(base, name), path, _ABSENT) == value
        if not inherits and _has(space.config({RUN: name}).model_dump(mode="json"), path):
            runs = runs.changed(name, more)
    return {**tree, "runs": runs.to_yaml()}


def open_paths(values: Mapping[str, Any]) -> set[str]:
    """Mappings, among the values by path, that are empty and may be given keys."""
    return {path for path, value in values.items() if isinstance(value, Mapping)}


def _has(tree: Mapping[str, Any], path: str) -> bool:
    """Whether there is such a leaf or section, or an empty mapping that may be given it."""
    inside_open = path.rpartition(".")[0] in open_paths(leaves(tree))
    return inside_open or get(tree, path, _ABSENT) is not _ABSENT
