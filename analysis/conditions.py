"""Under which conditions a factor applies and changes what is trained, as study.yaml's copy of the space says it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pydantic
import yaml

from analysis.coding import INACTIVE, level_text
from analysis.description import NULL, Factor, as_level
from analysis.study import Study
from minbert.canonical import config_id
from minbert.config import build_config
from minbert.dotted import put

_NOT_CONFIGURED = ("name", "source", "description", "search")
_ABSENT = object()

Levels = Mapping[str, Any]
"""Path of a factor that applies → the level that it is set to."""


def is_active(factor: Factor, row: Mapping[str, Any]) -> bool:
    """Whether a factor applied in a configuration: ``row`` has its level by path, nothing where it did not."""
    return level_text(row[factor.path]) != INACTIVE


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
            (possible.get(path, [_default(defaults, path)]), list(values)) for path, values in needs.items()
        ]
        known = [(held, allowed) for held, allowed in reach if _ABSENT not in held]
        active = is_active(factor, row)
        if not active and not (known and all(_meet(held, allowed) for held, allowed in known)):
            possible[factor.path] = [_default(defaults, factor.path)]
            continue
        if factor.path in varied:
            own = list(factor.levels or ())
        else:
            first = factor.levels[0] if factor.levels else factor.low
            own = [row[factor.path] if active else first]
            found[factor.path] = own[0]
        always = all(_within(held, allowed) for held, allowed in known)
        possible[factor.path] = own if always else [*own, _default(defaults, factor.path)]
    return found


def has_effect(study: Study, row: Mapping[str, Any], path: str, varied: Sequence[str]) -> bool:
    """Whether some levels of the factor ``path`` train differently while the others ``varied`` take theirs and the
    rest stays as in ``row``; so does a factor of a space that gives no configuration at all, of which nothing is known.

    An order of stages, say, has none where no two of them run.
    """
    by_path = {factor.path: factor for factor in study.factors}
    held, defaults = reachable_levels(study, row, varied), _defaults(study)
    others = [other for other in varied if other != path]
    known = False
    for levels in itertools.product(*(_ends(by_path[other]) for other in others)):
        rest = {**held, **dict(zip(others, levels, strict=True))}
        ids = {_identity(study, defaults, {**rest, path: level}) for level in _ends(by_path[path])} - {None}
        if len(ids) > 1:
            return True
        known = known or bool(ids)
    return not known


def conditions(study: Study, factor: Factor) -> dict[str, Sequence[Any]]:
    """Dotted path → the values of which one must hold for the factor to apply."""
    node = _leaf(study.meta.get("space"), factor.path)
    when = node.get("when") if isinstance(node, Mapping) else None
    if not isinstance(when, Mapping):
        return {}
    return {
        str(path): [as_level(value) for value in (values if isinstance(values, (list, tuple)) else [values])]
        for path, values in when.items()
    }


def _defaults(study: Study) -> dict[str, Any]:
    """The configuration where nothing is drawn; empty where the space's fixed part alone is none."""
    try:
        return build_config(_fixed(study)).model_dump(mode="json")
    except pydantic.ValidationError:
        return {}


def _fixed(study: Study) -> dict[str, Any]:
    """What the space sets for all trials."""
    space = study.meta.get("space")
    tree = {key: value for key, value in space.items() if key not in _NOT_CONFIGURED} if space else {}
    for factor in study.factors:
        tree = _without(tree, factor.path)
    return tree


def _identity(study: Study, defaults: Mapping[str, Any], levels: Levels) -> str | None:
    """Name of the configuration of levels, those that do not apply left out; None where the schema refuses it."""
    tree = _fixed(study)
    applied: dict[str, Any] = {}
    for factor in study.factors:  # a factor comes after those that its condition names
        needs = conditions(study, factor).items()
        met = all(
            any(_same(applied.get(name, _default(defaults, name)), value) for value in values)
            for name, values in needs
        )
        if factor.path in levels and met:
            applied[factor.path] = levels[factor.path]
            tree = put(tree, factor.path, _value(levels[factor.path]))
    try:
        return config_id(build_config(tree))
    except pydantic.ValidationError:
        return None


def _ends(factor: Factor) -> Sequence[Any]:
    """All levels of a factor, or the ends of its range."""
    return (factor.low, factor.high) if factor.levels is None else factor.levels


def _value(level: Any) -> Any:
    """What a level sets its leaf to: a list or mapping is stored as it is written, and null as ``NULL``."""
    if level == NULL:
        return None
    return yaml.safe_load(level) if isinstance(level, str) and level[:1] in ("[", "{") else level


def _without(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
    key, _, rest = path.partition(".")
    if not rest or not isinstance(tree.get(key), Mapping):
        return {name: value for name, value in tree.items() if name != key or rest}
    return {**tree, key: _without(tree[key], rest)}


def _default(defaults: Mapping[str, Any], path: str) -> Any:
    """What a leaf that is not drawn is set to, as a level; ``_ABSENT`` where that is not known."""
    return as_level(_leaf(defaults, path))


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
