"""One factor at a time: a base configuration, and every level of every factor with nothing else changed.

The base has the first level of every factor, unless ``search: {base: {PATH: LEVEL}}`` names another. A range
of numbers stands for its two ends and its middle (of ``log_uniform`` the geometric one, each rounded to three
digits), or for all its values when it has steps and at most ten of them; the base of a continuous range is
its middle. A change that makes conditional factors inapplicable drops them; one that makes others apply sets
these to their base level. A factor that does not apply at the base is not varied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pydantic

from minbert.canonical import config_id
from minbert.config import TrainConfig
from minbert.errors import UserError, did_you_mean
from minbert.yaml_reader import problems
from trainables.spaces.distributions import (
    MOST_LEVELS,
    Choice,
    Distribution,
    Factor,
    LogUniform,
    label,
    same,
    stored,
)

if TYPE_CHECKING:
    from trainables.spaces.space import Space


@dataclass(frozen=True)
class Comparison:
    """A configuration of the design.

    Attributes:
        factor: path of the factor that is changed; empty: the base.
        level: its level, as trials hold it.
        params: values of all factors that apply.
    """

    factor: str
    level: Any
    params: dict[str, Any]


def comparisons(space: Space) -> list[Comparison]:
    """The base, then every other level of every factor that applies there.

    Raises:
        UserError: the base, or a level together with it, is not a valid configuration.
    """
    found = _all(space)
    for comparison in found:
        _build(space, comparison)
    return found


def impossible(space: Space) -> list[tuple[Comparison, str]]:
    """The levels that do not go with the base, and why."""
    refused = []
    for comparison in _all(space)[1:]:
        try:
            space.build(comparison.params)
        except pydantic.ValidationError as error:
            refused.append((comparison, problems(error)[0].text))
    return refused


def base_config(space: Space) -> TrainConfig:
    """The configuration that the others are compared with.

    Raises:
        UserError: it is not valid.
    """
    return _build(space, Comparison("", None, base_setting(space)))


def base_setting(space: Space) -> dict[str, Any]:
    """Values of the factors that apply at the base, as trials hold them."""
    return _setting(space)


def level_values(space: Space, factor: Factor) -> tuple[Any, ...]:
    """The levels at which a factor is run, as trials hold them, that of the base among them."""
    levels, base = spread(factor.distribution), _base_level(space, factor)
    if any(same(level, base) for level in levels):
        return levels
    return tuple(sorted((*levels, base)))


def spread(distribution: Distribution) -> tuple[Any, ...]:
    """The values that stand for a distribution, as trials hold them: all when they are few, else ends and middle."""
    size = distribution.size()
    if size is None:
        low, high = distribution.levels()
        return (low, _middle(distribution), high)
    values = distribution.values() or ()
    if isinstance(distribution, Choice) or size <= MOST_LEVELS:
        return tuple(values)
    return (values[0], values[size // 2], values[-1])


def is_level(distribution: Distribution, value: Any) -> bool:
    """Whether the value, as it stands in a configuration, can be drawn."""
    grid = None if isinstance(distribution, Choice) else distribution.values()
    return distribution.contains(value) and (grid is None or value in grid)


def not_varied(space: Space) -> dict[str, str]:
    """Why factors are not varied, by path."""
    base, reasons = base_setting(space), {}
    for factor in space.factors:
        if factor.path not in base:
            when = ", ".join(f"{path} {label(space.value(path, base))}" for path in factor.when)
            reasons[factor.path] = f"inactive at the base ({when})"
        elif len(level_values(space, factor)) == 1:
            reasons[factor.path] = f"its only level is {label(base[factor.path])}"
    return reasons


def check_base(space: Space) -> None:
    """Refuse ``search.base`` where it names what is no factor, or no level of it.

    Raises:
        UserError: the first mistake.
    """
    factors = {factor.path: factor for factor in space.factors}
    for path, level in space.settings.base.items():
        place = f"{space.written.where(f'search.base.{path}')}: search.base: {path}"
        if path not in factors:
            raise UserError(f"{place} is no factor of this space{did_you_mean(path, factors)}")
        factor = factors[path]
        if not is_level(factor.distribution, level):
            levels = ", ".join(factor.levels())
            kind = "its levels are" if isinstance(factor.distribution, Choice) else "it lies between"
            raise UserError(
                f"{place}: {label(level)} is no level of it: {kind} {levels}{did_you_mean(label(level), factor.levels())}"
            )


def described_design(space: Space, pinned: Mapping[str, Any], chosen: bool) -> dict[str, Any]:
    """What study.yaml says of the design.

    ``base`` has the level of every factor (null where it does not apply), ``baseline`` the base's
    configuration, ``comparisons`` factor, level and configuration of every other level. ``quote`` is the part
    of dev that results may be quoted on: all of it (``dev``) where nothing was chosen on any of it.

    Args:
        space: the space.
        pinned: leaves that hold for all trials.
        chosen: whether the base was chosen by its select scores.
    """
    runs = comparisons(space)
    configs = [space.config(run.params).model_copy(update=dict(pinned)) for run in runs]
    names = [config_id(config) for config in configs]
    last = all(config.checkpoint == "last" for config in configs)
    return {
        "quote": "dev" if last and not chosen else "report",
        "base": {factor.path: runs[0].params.get(factor.path) for factor in space.factors},
        "baseline": names[0],
        "comparisons": [
            {"factor": run.factor, "level": run.level, "config_id": name}
            for run, name in zip(runs[1:], names[1:], strict=True)
        ],
    }


def _all(space: Space) -> list[Comparison]:
    base = base_setting(space)
    found = [Comparison("", None, base)]
    for factor in space.factors:
        if factor.path in base:
            others = [level for level in level_values(space, factor) if not same(level, base[factor.path])]
            found += [Comparison(factor.path, level, _setting(space, factor, level)) for level in others]
    return found


def _setting(space: Space, changed: Factor | None = None, level: Any = None) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for factor in space.factors:
        if space.applies(factor, params):
            params[factor.path] = level if factor is changed else _base_level(space, factor)
    return params


def _base_level(space: Space, factor: Factor) -> Any:
    distribution, given = factor.distribution, space.settings.base
    if factor.path not in given:
        return _middle(distribution) if distribution.size() is None else spread(distribution)[0]
    level = given[factor.path]
    if isinstance(distribution, Choice):
        return next(stored(option) for option in distribution.options if same(option, level))
    return type(distribution.levels()[0])(level)


def _middle(distribution: Distribution) -> float:
    low, high = distribution.levels()
    middle = math.sqrt(low * high) if isinstance(distribution, LogUniform) else (low + high) / 2
    rounded = float(f"{middle:.3g}")
    return rounded if low < rounded < high else middle


def _build(space: Space, comparison: Comparison) -> TrainConfig:
    try:
        return space.build(comparison.params)
    except pydantic.ValidationError as error:
        reason = problems(error)[0].text
        if not comparison.factor:
            place = space.written.where("search.base")
            raise UserError(
                f"{place}: the base is not possible: {reason}; search.base can name others"
            ) from None
        place, named = (
            space.written.where(comparison.factor),
            f"{comparison.factor} {label(comparison.level)}",
        )
        remedy = "leave the level out, give what it excludes a when, or choose another base"
        raise UserError(f"{place}: {named} does not go with the base: {reason}; {remedy}") from None
