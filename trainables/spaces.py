"""Search spaces: a partial configuration in which some leaves are distributions, read from YAML.

A space is checked completely when it is read: keys, types, conditions, and every pair of levels of two
factors, so that no trial of a study can meet a configuration that the schema refuses.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import pydantic
from pydantic import Field

from minbert.config import Frozen, TrainConfig, build_config
from minbert.errors import UserError, did_you_mean
from minbert.yaml_reader import (
    Document,
    Located,
    check_nulls,
    config_error,
    parse_value,
    problems,
    read_yaml,
    shorten,
)
from trainables.distributions import (
    KINDS,
    Choice,
    DistributionError,
    Factor,
    Int,
    Trial,
    Uniform,
    is_distribution,
    label,
    parse_factor,
    same,
    stored,
)

FOLDER = Path(__file__).resolve().parent.parent / "search_spaces"
"""Where the packaged spaces lie: beside the installed package, wherever the command runs."""


class EarlyStopping(Frozen):
    """Successive halving (ASHA) on the score, in epochs of the last all-task stage."""

    grace_epochs: int = Field(default=1, ge=1)
    """Epochs that every trial runs before it can be stopped."""
    reduction: int = Field(default=3, ge=2)
    """At each rung one in so many trials goes on."""


class SearchSettings(Frozen):
    """How a space is searched: the ``search:`` section of its file."""

    design: Literal["optuna"] = "optuna"
    """Where configurations come from."""
    sampler: Literal["tpe", "random"] = "tpe"
    startup_trials: int = Field(default=10, ge=0)
    """Random trials before TPE begins to learn."""
    trials: int = Field(default=24, ge=1)
    """Runs in all, replicates counted."""
    replicates: int = Field(default=1, ge=1)
    """Runs of each configuration, with other seeds."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """Unset: every trial runs to its end."""


@dataclass(frozen=True)
class Space:
    """A search space: what is fixed, what is drawn, and where each was written."""

    name: str
    source: Path
    description: str
    settings: SearchSettings
    base: Mapping[str, Any]
    """The fixed part of the configuration, partial."""
    factors: tuple[Factor, ...]
    """In an order in which every factor comes after those that its condition names."""
    written: Located = field(repr=False, compare=False)

    def ask(self, trial: Trial) -> dict[str, Any]:
        """Draw the factors that apply. Returns their values by dotted path, as Optuna stores them."""
        params: dict[str, Any] = {}
        for factor in self.factors:
            if self.applies(factor, params):
                params[factor.path] = factor.distribution.suggest(trial, factor.path)
        return params

    def config(self, params: Mapping[str, Any]) -> TrainConfig:
        """Build the configuration of drawn values (``trial.params``); factors that do not apply are left out.

        Raises:
            UserError: a path is no factor of this space, or the configuration is not of the schema.
        """
        paths = [factor.path for factor in self.factors]
        for path in params:
            if path not in paths:
                raise UserError(
                    f"{self.source}: {path} is not a factor of this space{did_you_mean(path, paths)}"
                )
        applied: dict[str, Any] = {}
        for factor in self.factors:
            if factor.path in params and self.applies(factor, applied):
                applied[factor.path] = params[factor.path]
        try:
            return self.build(applied)
        except pydantic.ValidationError as error:
            raise config_error(self.written, error) from None

    def build(self, params: Mapping[str, Any]) -> TrainConfig:
        """Lay the values over the fixed part and the defaults.

        Raises:
            pydantic.ValidationError: the result is not of the schema.
        """
        partial = dict(self.base)
        for factor in self.factors:
            if factor.path in params:
                partial = _put(partial, factor.path, factor.level(params[factor.path]))
        return build_config(partial)

    def applies(self, factor: Factor, params: Mapping[str, Any]) -> bool:
        """Whether the factor's condition holds, given the values of the factors before it."""
        return all(
            any(same(self._value(path, params), value) for value in values)
            for path, values in factor.when.items()
        )

    def fix(self, path: str, value: Any) -> Space:
        """Set one leaf for all trials: a fixed leaf, a factor (which is then no longer drawn), or ``search.*``.

        A text is parsed as a YAML value. A factor with a condition keeps it: the value holds where it applies.

        Raises:
            UserError: no such path, or the value does not fit.
        """
        origin = f"--set {path}={value if isinstance(value, str) else label(value)}"
        if isinstance(value, str):
            value = parse_value(value, origin)
        for factor in self.factors:
            if factor.owns(path) and factor.path != path:
                raise UserError(f"{origin}: {factor.path} is searched as a whole: set that")
        if path not in (known := self._known_paths()) and path.rpartition(".")[0] not in _open_paths(
            self._fixed
        ):
            raise UserError(f"{origin}: there is no setting {path!r}{did_you_mean(path, sorted(known))}")
        pinned = next((factor for factor in self.factors if factor.path == path), None)
        if pinned and pinned.when and not is_distribution(value):
            value = replace(pinned, distribution=Choice((value,))).to_yaml()
        tree = _overlay(self._tree(), _put({}, path, value))
        return _make(self.name, self.source, tree, _Layers((_Set(origin, path), self.written)))

    def resolved(self) -> dict[str, Any]:
        """The space as plain data in the form of a space file, with nothing left to look up."""
        return {"name": self.name, "source": str(self.source), **self._tree()}

    @classmethod
    def from_resolved(cls, resolved: Mapping[str, Any]) -> Space:
        """Make the space that :meth:`resolved` described.

        Raises:
            UserError: the data is not (or no longer) a valid space.
        """
        tree = dict(resolved)
        name, source = str(tree.pop("name", "")), str(tree.pop("source", ""))
        return _make(name, Path(source), tree, _Set(f"resolved space {name!r}", ""))

    def fingerprint(self) -> str:
        """Hash of what the trials mean: factors, fixed part and design; not of how many there are."""
        meaning = {
            "design": self.settings.design,
            "base": self.base,
            "factors": {factor.path: factor.to_yaml() for factor in self.factors},
        }
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]

    def combinations(self) -> int | None:
        """Number of different settings of the factors that apply; None when a factor is continuous."""
        sizes = {factor.path: factor.distribution.size() for factor in self.factors}
        if None in sizes.values():
            return None
        asked = {path for factor in self.factors for path in factor.when}
        deciding = {factor.path for factor in self.factors if any(factor.owns(path) for path in asked)}

        def count(at: int, params: dict[str, Any]) -> int:
            if at == len(self.factors):
                return 1
            factor = self.factors[at]
            if not self.applies(factor, params):
                return count(at + 1, params)
            if factor.path not in deciding:
                return cast(int, sizes[factor.path]) * count(at + 1, params)
            return sum(
                weight * count(at + 1, params | {factor.path: value})
                for value, weight in _weighted_values(factor, self.factors)
            )

        return count(0, {})

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        """Value of every leaf where it is not drawn."""
        first = {each.path: stored(each.distribution.levels()[0]) for each in self.factors if not each.when}
        for params in ({}, first):
            try:
                return _leaves(self.build(params).model_dump(mode="json"))
            except pydantic.ValidationError:
                continue
        return _leaves(_overlay(TrainConfig().model_dump(mode="json"), self.base))

    def _value(self, path: str, params: Mapping[str, Any]) -> Any:
        """Value of a leaf, given the values of the factors drawn so far."""
        owner = next((factor for factor in self.factors if factor.owns(path)), None)
        if owner is None or owner.path not in params:
            return self._fixed.get(path)
        return _get(owner.level(params[owner.path]), path[len(owner.path) + 1 :], self._fixed.get(path))

    def _known_paths(self) -> set[str]:
        settings = _leaves(SearchSettings().model_dump())
        leaves = [
            *self._fixed,
            *(factor.path for factor in self.factors),
            *(f"search.{name}" for name in settings),
        ]
        sections = {leaf.rsplit(".", depth)[0] for leaf in leaves for depth in range(1, leaf.count(".") + 1)}
        return {*leaves, *sections} - {"search"}

    def _tree(self) -> dict[str, Any]:
        """The content of a space file that says all of this space."""
        tree = {"description": self.description, "search": self.settings.model_dump(), **self.base}
        for factor in self.factors:
            tree = _put(tree, factor.path, factor.to_yaml())
        return tree


def load_space(name_or_path: str) -> Space:
    """Read a packaged space by its name (``papers/foo`` may be nested) or a file by its path (``.yaml``).

    Raises:
        UserError: there is no such space, or anything in it is wrong.
    """
    path, name = _locate(name_or_path, "")
    tree, documents = _read(path, ())
    return _make(name, path, tree, _Layers(tuple(documents)))


def available_spaces() -> list[str]:
    """Names of the packaged spaces."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))


def _locate(name_or_path: str, origin: str, beside: Path | None = None) -> tuple[Path, str]:
    """Find the file of a space. `beside`: the folder that a relative path starts from."""
    if name_or_path.endswith((".yaml", ".yml")):
        path = (beside or Path()) / name_or_path
        return path, path.stem
    names = available_spaces()
    if name_or_path not in names:
        spaces = f"the spaces are {', '.join(names)}; a file is given by its path with .yaml"
        raise UserError(
            f"{origin}there is no search space {name_or_path!r}: {spaces}{did_you_mean(name_or_path, names)}"
        )
    return FOLDER / f"{name_or_path}.yaml", name_or_path


def _read(path: Path, readers: tuple[Path, ...]) -> tuple[dict[str, Any], list[Document]]:
    """Read a file and what it extends: the content laid over each other, and the documents, nearest first."""
    document = read_yaml(path)
    tree = dict(document.data)
    allowed = ("description", "extends", "search", *TrainConfig.model_fields)
    for key in tree:
        if key not in allowed:
            message = (
                f"unknown key {key!r}: the keys here are {', '.join(allowed)}{did_you_mean(key, allowed)}"
            )
            raise UserError(f"{document.where(key)}: {message}")
    below = tree.pop("extends", None)
    if below is None:
        return tree, [document]
    origin = f"{document.where('extends')}: extends: "
    if not isinstance(below, str):
        raise UserError(f"{origin}{shorten(below)} is not the name or path of a space")
    readers = (*readers, path.resolve())
    extended, _ = _locate(below, origin, path.parent)
    if extended.resolve() in readers:
        raise UserError(f"{origin}{below} extends this file itself")
    if not extended.is_file():
        raise UserError(f"{origin}there is no file {extended}")
    under, documents = _read(extended, readers)
    under.pop("description", None)
    return _overlay(under, tree), [document, *documents]


def _make(name: str, source: Path, tree: Mapping[str, Any], written: Located) -> Space:
    """Make a checked space from the content of its file."""
    tree = dict(tree)
    description = tree.pop("description", None) or ""
    if not isinstance(description, str):
        raise UserError(f"{written.where('description')}: description: {shorten(description)} is not a text")
    try:
        settings = SearchSettings.model_validate(tree.pop("search", None) or {})
    except pydantic.ValidationError as error:
        raise config_error(written, error, "search", SearchSettings) from None
    base, nodes = _split(tree, "", written)
    check_nulls(written, base)
    factors = []
    for path, node in sorted(
        nodes, key=lambda found: found[0]
    ):  # sampling must not depend on the order of keys
        try:
            factors.append(parse_factor(path, node))
        except DistributionError as error:
            place = written.where(f"{path}.{error.at}" if error.at else path)
            raise UserError(f"{place}: {path}: {error}") from None
    space = Space(name, source, description, settings, base, tuple(factors), written)
    _check_conditions(space)
    space = _without_unreachable(replace(space, factors=_ordered(space)))
    _Combinations(space).check()
    return space


def _split(
    tree: Mapping[str, Any], within: str, written: Located
) -> tuple[dict[str, Any], list[tuple[str, Mapping[str, Any]]]]:
    """Part a partial configuration into what is fixed and its distributions by path."""
    base: dict[str, Any] = {}
    nodes: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in tree.items():
        path = f"{within}.{key}" if within else key
        if is_distribution(value):
            nodes.append((path, value))
        elif isinstance(value, Mapping):
            _refuse_misspelt(path, value, written)
            inner, found = _split(value, path, written)
            nodes.extend(found)
            if inner or not found:
                base[key] = inner
        else:
            base[key] = value
    return base, nodes


def _refuse_misspelt(path: str, value: Mapping[str, Any], written: Located) -> None:
    """Refuse a mapping that stands where the schema has a plain value: a misspelt distribution."""
    names = [key for key in value if key not in ("when", "step")]
    if names and not isinstance(_DEFAULTS.get(path, {}), Mapping):
        message = (
            f"{names[0]!r} is no distribution: they are {', '.join(KINDS)}{did_you_mean(names[0], KINDS)}"
        )
        raise UserError(f"{written.where(f'{path}.{names[0]}')}: {path}: {message}")


def _check_conditions(space: Space) -> None:
    """Refuse a `when` that names no leaf or can never hold.

    A space that extends another, or a command line, may fix what an inherited condition asks for; such a
    factor simply no longer applies. So only conditions of the nearest document must be able to hold.
    """
    nearest = space.written.layers[0] if isinstance(space.written, _Layers) else None
    for factor in space.factors:
        for path, values in factor.when.items():
            at = f"{factor.path}.when.{path}"
            place = f"{space.written.where(at)}: {factor.path}: when {path}"
            owner = next((each for each in space.factors if each.owns(path)), None)
            if owner is None and path not in space._fixed:
                known = {*space._fixed, *(each.path for each in space.factors)}
                raise UserError(f"{place}: there is no such leaf{did_you_mean(path, sorted(known))}")
            if owner and not isinstance(owner.distribution, Choice | Int):
                raise UserError(
                    f"{place}: it is drawn from a range of numbers; a condition needs choice or int"
                )
            if nearest is None or not nearest.knows(at):
                continue
            for value in values:
                if not _reachable(space, space.factors, path, value):
                    levels = owner.levels() if owner else [label(space._fixed[path])]
                    problem = f"{label(value)} is never its value: it is {' or '.join(levels)}"
                    raise UserError(f"{place}: {problem}{did_you_mean(label(value), levels)}")


def _reachable(space: Space, factors: Sequence[Factor], path: str, value: Any) -> bool:
    """Whether the leaf can have the value, when these factors are drawn."""
    owner = next((factor for factor in factors if factor.owns(path)), None)
    if owner is None:
        return same(space._fixed.get(path), value)
    if owner.path == path and owner.distribution.contains(value):
        return True
    drawn = any(
        same(space._value(path, {owner.path: stored(level)}), value) for level in owner.distribution.levels()
    )
    return drawn or (bool(owner.when) and same(space._fixed.get(path), value))


def _ordered(space: Space) -> tuple[Factor, ...]:
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


def _without_unreachable(space: Space) -> Space:
    """Leave out the factors whose condition can no longer hold."""
    kept: list[Factor] = []
    for factor in space.factors:
        if all(any(_reachable(space, kept, path, v) for v in values) for path, values in factor.when.items()):
            kept.append(factor)
    return replace(space, factors=tuple(kept))


class _Combinations:
    """Builds every level and every pair of levels of two factors once, the other factors at a valid setting."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.built: dict[tuple[tuple[str, str], ...], pydantic.ValidationError | None] = {}
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

    def _check_level(self, factor: Factor, level: Any) -> Any:
        """Check one level alone; returns the leaf's value as the schema reads it."""
        params = self._setting({factor.path: level})
        if params is None:
            return None
        error = self._error(params)
        if error is None:
            return _leaf(self.space.build(params), factor.path)
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

    def _refusal(self, error: pydantic.ValidationError, *settings: tuple[Factor, Any]) -> UserError:
        """The message for a level, or for two settings that exclude each other."""
        factor, level = settings[-1]
        levels = [label(stored(each)) for each in factor.distribution.levels()]
        index = levels.index(label(level)) if label(level) in levels else 0
        written = _At(self.space.written, factor.path, f"{factor.path}.{factor.distribution.kind}.{index}")
        crossing = next((problem for problem in problems(error) if problem.crossing), None)
        if crossing is None:
            return config_error(written, error)
        named = " with ".join(f"{each.path} {label(value)}" for each, value in settings)
        return UserError(f"{written.where(factor.path)}: {named} is not possible: {crossing.text}")

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
                        if any(same(self.space._value(path, {other.path: level}), value) for value in values)
                        and (isinstance(other.distribution, Choice) or other.distribution.contains(level))
                    ]
                    needs |= {**self._needs(other), other.path: fits}
        return needs

    def _error(self, params: Mapping[str, Any]) -> pydantic.ValidationError | None:
        key = tuple((path, label(value)) for path, value in params.items())
        if key not in self.built:
            try:
                self.space.build(params)
                self.built[key] = None
            except pydantic.ValidationError as error:
                self.built[key] = error
        return self.built[key]


@dataclass(frozen=True)
class _Layers:
    """Documents laid over each other, the nearest first."""

    layers: tuple[Located, ...]

    def knows(self, dotted: str) -> bool:
        return any(layer.knows(dotted) for layer in self.layers)

    def where(self, dotted: str) -> str:
        for path in _upwards(dotted):
            for layer in self.layers:
                if layer.knows(path):
                    return layer.where(dotted)
        return self.layers[0].where(dotted)


@dataclass(frozen=True)
class _Set:
    """A setting that no file holds."""

    origin: str
    path: str

    def knows(self, dotted: str) -> bool:
        return bool(self.path) and (dotted == self.path or dotted.startswith(self.path + "."))

    def where(self, dotted: str) -> str:
        return self.origin


@dataclass(frozen=True)
class _At:
    """A document in which a leaf is said to stand where the level at hand does."""

    written: Located
    path: str
    level: str

    def knows(self, dotted: str) -> bool:
        return self.written.knows(dotted)

    def where(self, dotted: str) -> str:
        inside = dotted == self.path or dotted.startswith(self.path + ".")
        return self.written.where(self.level if inside else dotted)


def _probes(factor: Factor) -> tuple[Any, ...]:
    """Levels to check: those of the factor, and of a range of numbers one from its inside."""
    distribution = factor.distribution
    if isinstance(distribution, Choice | Int):
        return distribution.levels()
    low, high = distribution.levels()
    step = distribution.step if isinstance(distribution, Uniform) else None
    return (low, high, low + (step or (high - low) * 0.381966))


def _weighted_values(factor: Factor, factors: Sequence[Factor]) -> Iterator[tuple[Any, int]]:
    """Values of a factor that conditions ask for, with 1 each; those that none names as one, with their number."""
    if not isinstance(factor.distribution, Int):
        yield from ((stored(level), 1) for level in factor.distribution.levels())
        return
    named = {v for each in factors for v in each.when.get(factor.path, ()) if factor.distribution.contains(v)}
    yield from ((value, 1) for value in sorted(named))
    grid = range(factor.distribution.low, factor.distribution.high + 1, factor.distribution.step)
    if len(named) < len(grid):
        yield next(value for value in grid if value not in named), len(grid) - len(named)


def _overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a tree over another as :func:`minbert.config.merge` does, distributions whole and nulls kept."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        mappings = isinstance(value, Mapping) and isinstance(below, Mapping)
        whole = is_distribution(value) or is_distribution(below)
        merged[key] = _overlay(cast(Mapping[str, Any], below), value) if mappings and not whole else value
    return merged


def _put(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the tree with one value at a path."""
    key, _, rest = path.partition(".")
    below = tree.get(key)
    inner = below if isinstance(below, Mapping) else {}
    return {**tree, key: _put(inner, rest, value) if rest else value}


def _get(tree: Any, path: str, default: Any) -> Any:
    for key in path.split(".") if path else ():
        if not isinstance(tree, Mapping) or key not in tree:
            return default
        tree = tree[key]
    return tree


def _leaf(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config[key] if isinstance(config, Mapping) else getattr(config, key)
    return config


def _leaves(tree: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Values by dotted path; an empty mapping counts as a value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{within}.{key}" if within else key
        found |= _leaves(value, path) if isinstance(value, Mapping) and value else {path: value}
    return found


def _open_paths(leaves: Mapping[str, Any]) -> set[str]:
    """Mappings that are empty by default and may be given keys."""
    return {path for path, value in leaves.items() if isinstance(value, Mapping)}


def _upwards(dotted: str) -> Iterator[str]:
    while dotted:
        yield dotted
        dotted = dotted.rpartition(".")[0]


_DEFAULTS = _leaves(TrainConfig().model_dump(mode="json"))
