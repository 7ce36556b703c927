"""Search spaces: a partial configuration in which some leaves are distributions, read from YAML.

A space is checked completely when it is read: keys, types, conditions, and every pair of levels of two
factors, so that no trial of a study can meet a configuration that the schema refuses.
"""

from __future__ import annotations

import hashlib
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
from minbert.yaml_reader import Document, Located, check_nulls, config_error, parse_value, read_yaml, shorten
from trainables.distributions import (
    Choice,
    DistributionError,
    Factor,
    Int,
    Trial,
    is_distribution,
    label,
    parse_factor,
    same,
    stored,
)
from trainables.space_checks import Combinations, check_conditions, ordered, without_unreachable
from trainables.space_trees import Layers, Set, get, leaves, overlay, put, split

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
                partial = put(partial, factor.path, factor.level(params[factor.path]))
        return build_config(partial)

    def applies(self, factor: Factor, params: Mapping[str, Any]) -> bool:
        """Whether the factor's condition holds, given the values of the factors before it."""
        return all(
            any(same(self.value(path, params), value) for value in values)
            for path, values in factor.when.items()
        )

    def example(self) -> TrainConfig:
        """Some configuration of the space, for what all of them have in common: tasks, epochs, numerics."""
        return self.config(
            {
                factor.path: stored(factor.distribution.levels()[0])
                for factor in self.factors
                if not factor.when
            }
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
            self.fixed
        ):
            raise UserError(f"{origin}: there is no setting {path!r}{did_you_mean(path, sorted(known))}")
        pinned = next((factor for factor in self.factors if factor.path == path), None)
        if pinned and pinned.when and not is_distribution(value):
            value = replace(pinned, distribution=Choice((value,))).to_yaml()
        tree = overlay(self._tree(), put({}, path, value))
        return _make(self.name, self.source, tree, Layers((Set(origin, path), self.written)))

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
        return _make(name, Path(source), tree, Set(f"resolved space {name!r}", ""))

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
    def fixed(self) -> dict[str, Any]:
        """Value of every leaf where it is not drawn."""
        first = {each.path: stored(each.distribution.levels()[0]) for each in self.factors if not each.when}
        for params in ({}, first):
            try:
                return leaves(self.build(params).model_dump(mode="json"))
            except pydantic.ValidationError:
                continue
        return leaves(overlay(TrainConfig().model_dump(mode="json"), self.base))

    def value(self, path: str, params: Mapping[str, Any]) -> Any:
        """Value of a leaf, given the values of the factors drawn so far."""
        owner = next((factor for factor in self.factors if factor.owns(path)), None)
        if owner is None or owner.path not in params:
            return self.fixed.get(path)
        return get(owner.level(params[owner.path]), path[len(owner.path) + 1 :], self.fixed.get(path))

    def _known_paths(self) -> set[str]:
        """Everything that :meth:`fix` can set: leaves, and sections as a whole."""
        own = [*self.fixed, *(factor.path for factor in self.factors)]
        named = [*own, *(f"search.{name}" for name in leaves(SearchSettings().model_dump()))]
        sections = {path.rsplit(".", depth)[0] for path in named for depth in range(1, path.count(".") + 1)}
        return {*named, *sections} - {"search"}

    def _tree(self) -> dict[str, Any]:
        """The content of a space file that says all of this space."""
        tree = {"description": self.description, "search": self.settings.model_dump(), **self.base}
        for factor in self.factors:
            tree = put(tree, factor.path, factor.to_yaml())
        return tree


def load_space(name_or_path: str) -> Space:
    """Read a packaged space by its name (``papers/foo`` may be nested) or a file by its path (``.yaml``).

    Raises:
        UserError: there is no such space, or anything in it is wrong.
    """
    path, name = _locate(name_or_path, "")
    tree, documents = _read(path, ())
    return _make(name, path, tree, Layers(tuple(documents)))


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
    return overlay(under, tree), [document, *documents]


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
    base, nodes = split(tree, "", written)
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
    check_conditions(space)
    space = without_unreachable(replace(space, factors=ordered(space)))
    Combinations(space).check()
    return space


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


def _open_paths(leaves: Mapping[str, Any]) -> set[str]:
    """Mappings that are empty by default and may be given keys."""
    return {path for path, value in leaves.items() if isinstance(value, Mapping)}
