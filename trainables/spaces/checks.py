"""The checks of a search space: conditions that can hold, and every pair of levels of two factors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pydantic

from minbert.config import TrainConfig
from minbert.errors import UserError, did_you_mean
from minbert.yaml_reader import config_error, problems
from trainables.spaces.distributions import Choice, Factor, Int, Uniform, label, same, stored
from trainables.spaces.idle import is_idle_factor
from trainables.spaces.trees import At, Layers, leaf

if TYPE_CHECKING:
    from trainables.spaces.space import Space


def check_conditions(space: Space) -> None:
    """Refuse a `when` that names no leaf or can never hold.

    A space that extends another, or a command line, may fix what an inherited condition asks for; such a
    factor simply no longer applies. So only conditions of the nearest document must be able to hold.
    """
    nearest = space.written.layers[0] if isinstance(space.written, Layers) else None
    for factor in space.factors:
        for path, values in factor.when.items():
            at = f"{factor.path}.when.{path}"
            place = f"{space.written.where(at)}: {factor.path}: when {path}"
            owner = next((each for each in space.factors if each.owns(path)), None)
            if owner is None and path not in space.fixed:
                known = {*space.fixed, *(each.path for each in space.factors)}
                raise UserError(f"{place}: there is no such leaf{did_you_mean(path, sorted(known))}")
            if owner and not isinstance(owner.distribution, Choice | Int):
                raise UserError(
                    f"{place}: it is drawn from a range of numbers; a condition needs choice or int"
                )
            if nearest is None or not nearest.knows(at):
                continue
            for value in values:
                if not _reachable(space, space.factors, path, value):
                    levels = owner.levels() if owner else [label(space.fixed[path])]
                    problem = f"{label(value)} is never its value: it is {' or '.join(levels)}"
                    raise UserError(f"{place}: {problem}{did_you_mean(label(value), levels)}")


def ordered(space: Space) -> tuple[Factor, ...]:
    """Put every factor after those that its condition names."""
    done: dict[str, Factor] = {}

    def visit(factor: Factor, waiting: tuple[str, ...]) -> None:
        if factor.path in waiting:
            circle = " -> ".join([*waiting[waiting.index(factor.path) :], factor.path])
            raise UserError(
                f"{space.written.where(f'{factor.path}.when')}: conditions go in a circle: {circle}"
            )
        if factor.path in done:
            return
        for other in space.factors:
            if any(other.owns(path) for path in factor.when):
                visit(other, (*waiting, factor.path))
        done[factor.path] = factor

    for factor in space.factors:
        visit(factor, ())
    return tuple(done.values())


def without_unreachable(space: Space) -> Space:
    """Leave out the factors whose condition can no longer hold."""
    kept: list[Factor] = []
    for factor in space.factors:
        if all(any(_reachable(space, kept, path, v) for v in values) for path, values in factor.when.items()):
            kept.append(factor)
    return replace(space, factors=tuple(kept))


class Combinations:
    """Builds every level and every pair of levels of two factors once, the other factors at a valid setting."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.built: dict[tuple[tuple[str, str], ...], TrainConfig | pydantic.ValidationError] = {}
        self.rest: dict[str, Any] = {}
        self.needs = {factor.path: self._needs(factor) for factor in space.factors}

    def check(self) -> None:
        """Raise the UserError of the first level or pair that the schema refuses."""
        self.rest = self._valid_setting()
        axes = [(factor, [stored(each) for each in _probes(factor)]) for factor in self.space.factors]
        for factor, levels in axes:
            values = [self._check_level(factor, level) for level in levels]
            if isinstance(factor.distribution, Choice):
                self._refuse_equal(factor, values)
        for (one, ones), (other, others) in itertools.combinations(axes, 2):
            for level, against in itertools.product(ones, others):
                self._check_pair((one, level), (other, against))
        self._refuse_idle()

    def valid(self) -> tuple[TrainConfig, ...]:
        """The configurations that were built: together they hold every level and every pair of levels."""
        return tuple(built for built in self.built.values() if isinstance(built, TrainConfig))

    def _check_level(self, factor: Factor, level: Any) -> Any:
        """Check one level alone; returns the leaf's value as the schema reads it."""
        params = self._setting({factor.path: level})
        if params is None:
            return None
        error = self._error(params)
        if error is None:
            return leaf(self._build(params), factor.path)
        if not any(problem.crossing for problem in problems(error)):
            raise self._refusal(error, (factor, level))
        for other in self.space.factors:
            for against in map(stored, other.distribution.levels()):
                changed = self._setting({factor.path: level, other.path: against})
                if other is not factor and changed and self._error(changed) is None and other.path in params:
                    raise self._refusal(error, (other, params[other.path]), (factor, level))
        raise self._refusal(error, (factor, level))

    def _check_pair(self, one: tuple[Factor, Any], other: tuple[Factor, Any]) -> None:
        params = self._setting({one[0].path: one[1], other[0].path: other[1]})
        error = None if params is None else self._error(params)
        if error is not None:
            raise self._refusal(error, one, other)

    def _refuse_equal(self, factor: Factor, values: list[Any]) -> None:
        """Refuse levels that are written differently and mean the same, such as 1 and 1.0."""
        for index, value in enumerate(values):
            if value is not None and value in values[:index]:
                pair = " and ".join((factor.levels()[values.index(value)], factor.levels()[index]))
                place = self.space.written.where(f"{factor.path}.choice.{index}")
                raise UserError(f"{place}: {factor.path}: the levels {pair} are the same")

    def _refuse_idle(self) -> None:
        built = {levels: config for levels, config in self.built.items() if isinstance(config, TrainConfig)}
        for factor in self.space.factors:
            if not is_idle_factor(self.space, factor, built):
                continue
            place = self.space.written.where(factor.path)
            raise UserError(
                f"{place}: {factor.path} has no effect here: all its levels ({', '.join(factor.levels())}) train the "
                "same; leave it out, or give the setting that it needs to have an effect"
            )

    def _refusal(self, error: pydantic.ValidationError, *settings: tuple[Factor, Any]) -> UserError:
        """The message for a level, or for two settings that exclude each other."""
        factor, level = settings[-1]
        levels = [label(stored(each)) for each in factor.distribution.levels()]
        index = levels.index(label(level)) if label(level) in levels else 0
        written = At(self.space.written, factor.path, f"{factor.path}.{factor.distribution.kind}.{index}")
        crossing = next((problem for problem in problems(error) if problem.crossing), None)
        if crossing is None:
            return config_error(written, error)
        named = " with ".join(f"{each.path} {label(value)}" for each, value in settings)
        places = (written.settings_named(crossing.path, crossing.text), written.where(factor.path))
        place = ", ".join(dict.fromkeys(filter(None, places)))
        return UserError(f"{place}: {named} is not possible: {crossing.text}")

    def _valid_setting(self) -> dict[str, Any]:
        """Find values of all factors that fit together.

        Raises:
            UserError: whatever the factors' values, the configuration is refused.
        """
        first = self._setting({}) or {}
        error = self._error(first)
        if error is None:
            return first
        if not any(problem.crossing for problem in problems(error)):
            raise self._located(error, first)
        singles = [(factor.path, stored(each)) for factor in self.space.factors for each in _probes(factor)]
        for changes in itertools.chain(zip(singles), itertools.combinations(singles, 2)):
            params = self._setting(dict(changes))
            if params is not None and self._error(params) is None:
                return params
        raise self._located(error, first)

    def _located(self, error: pydantic.ValidationError, params: Mapping[str, Any]) -> UserError:
        """The message for a setting that is wrong whatever else is drawn."""
        path = problems(error)[0].path
        owner = next(
            (factor for factor in self.space.factors if factor.owns(path) and factor.path in params), None
        )
        return (
            self._refusal(error, (owner, params[owner.path]))
            if owner
            else config_error(self.space.written, error)
        )

    def _setting(self, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """Values of all factors that apply, with those wanted; None when these cannot apply together."""
        allowed: dict[str, list[Any]] = {}
        for path in wanted:
            for needed, values in self.needs[path].items():
                earlier = allowed.get(needed)
                allowed[needed] = (
                    values if earlier is None else [value for value in values if value in earlier]
                )
        params: dict[str, Any] = {}
        for factor in self.space.factors:
            if not self.space.applies(factor, params):
                continue
            options = allowed.get(factor.path)
            if factor.path in wanted:
                params[factor.path] = wanted[factor.path]
            elif options is None or self.rest.get(factor.path, options) in options:
                first = options[0] if options else stored(factor.distribution.levels()[0])
                params[factor.path] = self.rest.get(factor.path, first)
            elif options:
                params[factor.path] = options[0]
            else:
                return None
        return params if all(path in params for path in wanted) else None

    def _needs(self, factor: Factor) -> dict[str, list[Any]]:
        """Which values of which other factors let this one apply."""
        needs: dict[str, list[Any]] = {}
        for path, values in factor.when.items():
            for other in self.space.factors:
                if other.owns(path):
                    levels = [
                        *map(stored, other.distribution.levels()),
                        *(v for v in values if other.path == path),
                    ]
                    fits = [
                        level
                        for level in levels
                        if any(same(self.space.value(path, {other.path: level}), value) for value in values)
                        and (isinstance(other.distribution, Choice) or other.distribution.contains(level))
                    ]
                    needs |= {**self._needs(other), other.path: fits}
        return needs

    def _error(self, params: Mapping[str, Any]) -> pydantic.ValidationError | None:
        built = self._build(params)
        return built if isinstance(built, pydantic.ValidationError) else None

    def _build(self, params: Mapping[str, Any]) -> TrainConfig | pydantic.ValidationError:
        key = tuple((path, label(value)) for path, value in params.items())
        if key not in self.built:
            try:
                self.built[key] = self.space.build(params)
            except pydantic.ValidationError as error:
                self.built[key] = error
        return self.built[key]


def _reachable(space: Space, factors: Sequence[Factor], path: str, value: Any) -> bool:
    """Whether the leaf can have the value, when these factors are drawn."""
    owner = next((factor for factor in factors if factor.owns(path)), None)
    if owner is None:
        return same(space.fixed.get(path), value)
    if owner.path == path and owner.distribution.contains(value):
        return True
    drawn = any(
        same(space.value(path, {owner.path: stored(level)}), value) for level in owner.distribution.levels()
    )
    return drawn or (bool(owner.when) and same(space.fixed.get(path), value))


def _probes(factor: Factor) -> tuple[Any, ...]:
    """Levels to check: those of the factor, and of a range of numbers one from its inside."""
    distribution = factor.distribution
    if isinstance(distribution, Choice | Int):
        return distribution.levels()
    low, high = distribution.levels()
    step = distribution.step if isinstance(distribution, Uniform) else None
    return (low, high, low + (step or (high - low) * 0.381966))
