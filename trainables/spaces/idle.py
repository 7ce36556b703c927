"""What a space or a command line asks for and nothing would come of."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pydantic

from minbert.canonical import config_id
from minbert.config import TrainConfig, build_config, content_of
from minbert.dotted import get, leaves, put
from minbert.errors import UserError
from minbert.idle import idle_leaves, is_trained, reason
from minbert.yaml_reader import Located
from trainables.spaces.distributions import Factor, same, stored

if TYPE_CHECKING:
    from trainables.spaces.space import Space

Levels = tuple[tuple[str, str], ...]
"""A level of each factor that applies, as (path, level)."""
_DRAWS = 300


def is_idle(path: str, value: Any, pairs: Iterable[tuple[TrainConfig, Mapping[str, Any]]]) -> bool:
    """Whether a setting leaves every configuration to train as it did without it, though its leaf has changed.

    Args:
        path: of a leaf or section.
        value: what it was set to.
        pairs: configurations with the setting, each with the content of one without it.
    """
    if not is_trained(path):
        return False
    changed = value is None or value == {}
    for config, before in pairs:
        content = content_of(config)
        old = get(before, path, None)
        changed = changed or not same(get(content, path, None), old)
        try:
            without = build_config(put(content, path, old))
        except pydantic.ValidationError:
            return False
        if config_id(config) != config_id(without):
            return False
    return changed


def refuse_idle_leaves(written: Located, base: Mapping[str, Any], configs: Sequence[TrainConfig]) -> None:
    """Refuse fixed leaves of a space that were written in a file and change nothing of what is trained.

    Raises:
        UserError: the first of them.
    """
    for path in idle_leaves(filter(written.knows, leaves(base)), configs):
        raise UserError(f"{written.where(path)}: {path} has no effect here: {reason(path, configs)}")


def is_idle_factor(space: Space, factor: Factor, built: Mapping[Levels, TrainConfig]) -> bool:
    """Whether all levels of a factor train the same, whatever the levels of the others.

    Args:
        space: a space whose levels go together.
        factor: one of its factors.
        built: configurations by the levels of the factors that apply.
    """
    return _same_in_pairs(factor.path, built) and _same_at_random(space, factor)


def _same_in_pairs(path: str, built: Mapping[Levels, TrainConfig]) -> bool:
    """Whether configurations that differ in this factor alone are the same; not where there are none such."""
    known: dict[Levels, tuple[tuple[str, str], TrainConfig]] = {}
    compared = False
    for levels, config in built.items():
        own = next((level for level in levels if level[0] == path), None)
        if own is None:
            continue
        other = known.setdefault(tuple(level for level in levels if level[0] != path), (own, config))
        if other[0] != own:
            compared = True
            if config_id(other[1]) != config_id(config):
                return False
    return compared


def _same_at_random(space: Space, factor: Factor) -> bool:
    """The same at random settings of the others: a factor may need several of them to have its effect."""
    rng = random.Random(0)
    for _ in range(_DRAWS):
        drawn = {each.path: rng.choice(each.distribution.levels()) for each in space.factors}
        first, second = rng.sample(factor.distribution.levels(), 2)
        ids = {_identity(space, {**drawn, factor.path: level}) for level in (first, second)}
        if None not in ids and len(ids) == 2:
            return False
    return True


def _identity(space: Space, levels: Mapping[str, Any]) -> str | None:
    """Name of the configuration of levels, those that do not apply left out; None where the schema refuses it."""
    params: dict[str, Any] = {}
    for factor in space.factors:
        if space.applies(factor, params):
            params[factor.path] = stored(levels[factor.path])
    try:
        return config_id(space.build(params))
    except pydantic.ValidationError:
        return None
