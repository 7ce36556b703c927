"""Under which conditions a factor applies, as study.yaml's copy of the space says it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pydantic

from analysis.coding import INACTIVE, level_text
from analysis.study import Factor, Study
from minbert.config import build_config

_NOT_CONFIGURED = ("name", "source", "description", "search")
_ABSENT = object()

Levels = Mapping[str, Any]
"""Path of a factor that applies → the level that it is set to."""


def is_active(study: Study, factor: Factor, row: Mapping[str, Any]) -> bool:
    """Whether a factor applied in a configuration: ``row`` has its level by path, nothing where it did not.

    A level may be null, which looks like nothing; then its condition decides.
    """
    if level_text(row[factor.path]) != INACTIVE:
        return True
    if factor.levels is None or None not in factor.levels:
        return False
    by_path = {each.path: each for each in study.factors}
    return all(
        path not in by_path or any(_same(row[path], value) for value in values)
        for path, values in conditions(study, factor).items()
    )


def reachable_levels(study: Study, row: Mapping[str, Any], varied: Collection[str]) -> dict[str, Any]:
    """The levels to hold while the factors ``varied`` take all of theirs and nothing else changes.

    Those of ``row``, a configuration; and the first level of a factor that is inactive there, but applies at some
    level of the varied ones. Factors that can never apply have none.
    """
    defaults = _defaults(study)
    found: dict[str, Any] = {}
    possible: dict[str, list[Any]] = {}
    for factor in study.factors:  # a factor comes after those that its condition names
        needs = conditions(study, factor)
        reach = [
            (possible.get(path, [_leaf(defaults, path)]), list(values)) for path, values in needs.items()
        ]
        known = [(held, allowed) for held, allowed in reach if _ABSENT not in held]
        active = is_active(study, factor, row)
        if not active and not (known and all(_meet(held, allowed) for held, allowed in known)):
            possible[factor.path] = [_leaf(defaults, factor.path)]
            continue
        if factor.path in varied:
            own = list(factor.levels or ())
        else:
            first = factor.levels[0] if factor.levels else factor.low
            own = [row[factor.path] if active else first]
            found[factor.path] = own[0]
        always = all(_within(held, allowed) for held, allowed in known)
        possible[factor.path] = own if always else [*own, _leaf(defaults, factor.path)]
    return found


def conditions(study: Study, factor: Factor) -> dict[str, Sequence[Any]]:
    """Dotted path → the values of which one must hold for the factor to apply."""
    node = _leaf(study.meta.get("space"), factor.path)
    when = node.get("when") if isinstance(node, Mapping) else None
    if not isinstance(when, Mapping):
        return {}
    return {
        str(path): values if isinstance(values, (list, tuple)) else [values] for path, values in when.items()
    }


def _defaults(study: Study) -> dict[str, Any]:
    """The configuration where nothing is drawn; empty where the space's fixed part alone is none."""
    space = study.meta.get("space")
    tree = {key: value for key, value in space.items() if key not in _NOT_CONFIGURED} if space else {}
    for factor in study.factors:
        tree = _without(tree, factor.path)
    try:
        return build_config(tree).model_dump(mode="json")
    except pydantic.ValidationError:
        return {}


def _without(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
    key, _, rest = path.partition(".")
    if not rest or not isinstance(tree.get(key), Mapping):
        return {name: value for name, value in tree.items() if name != key or rest}
    return {**tree, key: _without(tree[key], rest)}


def _leaf(tree: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(tree, Mapping) or key not in tree:
            return _ABSENT
        tree = tree[key]
    return tree


def _meet(held: Sequence[Any], allowed: Sequence[Any]) -> bool:
    return any(_same(one, other) for one in held for other in allowed)


def _within(held: Sequence[Any], allowed: Sequence[Any]) -> bool:
    return all(any(_same(one, other) for other in allowed) for one in held)


def _same(one: object, other: object) -> bool:
    """Equality that keeps true apart from 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
