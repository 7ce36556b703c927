"""Search spaces: a partial configuration in which some leaves are distributions, read from YAML.

A space is checked completely when it is read: keys, types, conditions, and every pair of levels of two
factors, so that no trial of a study can meet a configuration that the schema refuses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pydantic

from minbert.config import TrainConfig, build_config
from minbert.dotted import get, leaves, put
from minbert.errors import UserError, did_you_mean
from minbert.yaml_reader import Located, check_nulls, config_error, shorten
from trainables.spaces.checks import Combinations, check_conditions, ordered, without_unreachable
from trainables.spaces.claims import Claim, check_claims, claims_to_yaml, parse_claims
from trainables.spaces.counting import count
from trainables.spaces.distribution_parsing import read_factor
from trainables.spaces.distributions import Choice, Factor, Trial, same, stored
from trainables.spaces.files import available_spaces, locate, read_layers
from trainables.spaces.fixing import Setting, fix
from trainables.spaces.idle import refuse_idle_leaves
from trainables.spaces.one_factor import base_config, base_setting, check_base
from trainables.spaces.run_checks import check_runs, refuse_coinciding, refuse_distributions
from trainables.spaces.runs import RUN, Paper, Runs, parse_paper, parse_runs
from trainables.spaces.settings import SearchSettings, read_settings
from trainables.spaces.trees import InRun, Layers, Set, overlay, split

__all__ = ["Space", "available_spaces", "load_space"]


NO_FACTOR = "no factor: they differ by seed alone"
"""What is said of the runs of a space in which nothing is searched."""


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
    """In an order in which every factor comes after those that its condition names; of a listed space, the run."""
    written: Located = field(repr=False, compare=False)
    runs: Runs = field(default_factory=Runs)
    """Of a listed space, all rows of its tables."""
    paper: Paper | None = None
    """Of a listed space, the source of its runs."""
    claims: Mapping[str, Claim] = field(default_factory=dict)
    """Of a listed space, what its source says of the runs; nothing that is trained depends on it."""
    representatives: tuple[TrainConfig, ...] = field(default=(), repr=False, compare=False)
    """Configurations that together need what any of the space does: every run, or every pair of levels."""

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
            place = InRun(self.written, self.runs.chain(params[RUN])) if RUN in params else self.written
            raise config_error(place, error) from None

    def build(self, params: Mapping[str, Any]) -> TrainConfig:
        """Lay the values over the fixed part and the defaults.

        Raises:
            pydantic.ValidationError: the result is not of the schema.
        """
        partial = self.runs.partial(self.base, params[RUN]) if RUN in params else dict(self.base)
        for factor in self.factors:
            if factor.path in params and factor.path != RUN:
                partial = put(partial, factor.path, factor.level(params[factor.path]))
        if self.settings.design == "one_factor":  # nothing is chosen, so all of dev may be reported
            partial = {"checkpoint": "last", **partial}
        return build_config(partial)

    def applies(self, factor: Factor, params: Mapping[str, Any]) -> bool:
        """Whether the factor's condition holds, given the values of the factors before it."""
        return all(
            any(same(found, value) for value in values)
            for path, values in factor.when.items()
            for found in (self.value(path, params),)
        )

    def example(self) -> TrainConfig:
        """Some configuration of the space, for what all of them have in common: tasks, epochs, numerics."""
        if self.settings.design == "one_factor":
            return base_config(self)
        return self.config(
            {
                factor.path: stored(factor.distribution.levels()[0])
                for factor in self.factors
                if not factor.when
            }
        )

    def fix(self, path: str, value: Any) -> Space:
        """Set one leaf for all trials; a text is parsed as a YAML value. See :func:`trainables.spaces.fixing.fix`.

        Raises:
            UserError: no such path, or the value does not fit.
        """
        return fix(self, [Setting.parse(path, value)]).space

    def with_search(self, search: Mapping[str, Any]) -> Space:
        """The same space with another ``search`` section, not yet checked against its factors.

        Raises:
            UserError: the section is not of its schema.
        """
        return _checked_design(replace(self, settings=read_settings(search, self.written)))

    def redrafted(self, tree: Mapping[str, Any]) -> Space:
        """A space with other content, in the form of a space file, of which nothing across leaves is checked yet.

        Raises:
            UserError: a part of the content cannot be read.
        """
        return _draft(self.name, self.source, tree, self.written)

    def checked(self) -> Space:
        """This space once everything in it has been checked.

        Raises:
            UserError: the first mistake.
        """
        return _checked(self)

    def redesigned(self, design: str, origin: str) -> Space:
        """The same space searched by another design, of which `origin` says; its own ``search:`` is left out.

        Raises:
            UserError: the space does not fit the design.
        """
        if design == self.settings.design:
            return self
        written = Layers((Set(origin, "search"), self.written))
        settings = read_settings({"design": design}, written)
        return _checked_design(replace(self, settings=settings, written=written))

    def rewritten(self, tree: Mapping[str, Any], origin: str) -> Space:
        """A space of this name with other content, in the form of a space file, of which `origin` says.

        Whether the levels go together is not checked.

        Raises:
            UserError: the content is not a valid space.
        """
        written = Layers((Set(origin, ""), self.written))
        return _make(self.name, self.source, tree, written, combine=False)

    def resolved(self) -> dict[str, Any]:
        """The space as plain data in the form of a space file, with nothing left to look up."""
        return {"name": self.name, "source": str(self.source), **self.tree()}

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
        """Hash of what the trials mean: factors or runs, fixed part and design; not of how many there are."""
        meaning: dict[str, Any] = {
            "design": self.settings.design,
            "base": self.base,
            "factors": {factor.path: factor.to_yaml() for factor in self.factors},
        }
        if self.runs.rows:
            meaning["runs"] = {name: self.runs.partial(self.base, name) for name in self.runs.trained}
        if self.settings.design == "one_factor":
            meaning["setting"] = base_setting(self)
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]

    def combinations(self) -> int | None:
        """Number of different settings of the factors that apply; None when a factor is continuous.

        Where very many conditions overlap, it is an upper bound.
        """
        counted = count(self)
        return None if counted.continuous else counted.discrete

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

    @cached_property
    def _owners(self) -> dict[str, Factor | None]:
        """The factor that draws a leaf, by path, as far as it was asked for: reading a space asks for it very often."""
        return {}

    def value(self, path: str, params: Mapping[str, Any]) -> Any:
        """Value of a leaf, given the values of the factors drawn so far."""
        if path not in self._owners:
            self._owners[path] = next((factor for factor in self.factors if factor.owns(path)), None)
        owner = self._owners[path]
        if owner is None or owner.path not in params:
            return self.fixed.get(path)
        return get(owner.level(params[owner.path]), path[len(owner.path) + 1 :], self.fixed.get(path))

    def tree(self) -> dict[str, Any]:
        """The content of a space file that says all of this space."""
        tree = {"description": self.description, "search": self.settings.model_dump()}
        if self.runs.rows:
            paper = {"paper": self.paper.model_dump(mode="json")} if self.paper else {}
            claims = {"claims": claims_to_yaml(self.claims)} if self.claims else {}
            return {**tree, **paper, **self.base, "runs": self.runs.to_yaml(), **claims}
        tree |= self.base
        for factor in self.factors:
            tree = put(tree, factor.path, factor.to_yaml())
        return tree


def load_space(name_or_path: str) -> Space:
    """Read a packaged space by its name (``papers/foo`` may be nested) or a file by its path (``.yaml``).

    Raises:
        UserError: there is no such space, or anything in it is wrong.
    """
    path, name = locate(name_or_path)
    tree, documents = read_layers(path)
    space = _make(name, path, tree, Layers(tuple(documents)))
    refuse_idle_leaves(documents[0], space.base, space.representatives)
    if space.runs.rows:
        refuse_coinciding(space)
        if space.settings.trials is not None:
            place = space.written.where("search.trials")
            raise UserError(
                f"{place}: search.trials: the design listed trains all its runs; --trials trains fewer"
            )
    return space


def _make(name: str, source: Path, tree: Mapping[str, Any], written: Located, combine: bool = True) -> Space:
    """Make a checked space from the content of its file; without `combine`, its levels are not put together."""
    return _checked(_draft(name, source, tree, written), combine)


def _draft(name: str, source: Path, tree: Mapping[str, Any], written: Located) -> Space:
    """Read the parts of a space, each for itself."""
    tree = dict(tree)
    description = tree.pop("description", None) or ""
    if not isinstance(description, str):
        raise UserError(f"{written.where('description')}: description: {shorten(description)} is not a text")
    settings = read_settings(tree.pop("search", None) or {}, written)
    paper = parse_paper(tree.pop("paper", None), written)
    runs = parse_runs(tree.pop("runs"), written) if "runs" in tree else Runs()
    claims = parse_claims(tree.pop("claims", None), written)
    base, nodes = split(tree, "", written)
    check_nulls(written, base)
    if runs.rows:
        refuse_distributions(nodes, written)
        factors = [Factor(RUN, Choice(tuple(runs.trained or runs.rows)))]
    else:
        factors = [
            read_factor(path, node, written) for path, node in sorted(nodes, key=lambda found: found[0])
        ]
    return Space(name, source, description, settings, base, tuple(factors), written, runs, paper, claims)


def _checked(space: Space, combine: bool = True) -> Space:
    """Check what goes across the parts of a space."""
    _checked_design(space)
    if space.runs.rows:
        configs = check_runs(space)
        check_claims(space.claims, space.written, space.runs.rows, configs[0].tasks)
        return replace(space, representatives=configs)
    check_conditions(space)
    check_base(space)
    space = without_unreachable(replace(space, factors=ordered(space)))
    if not combine:
        return space
    combinations = Combinations(space)
    combinations.check()
    return replace(space, representatives=combinations.valid())


def _checked_design(space: Space) -> Space:
    """Refuse runs in a space that draws its configurations, and a listed space without any."""
    design, runs = space.settings.design, space.runs.rows
    if design == "listed" and not runs:
        raise UserError(
            f"{space.written.where('search.design')}: search.design listed needs runs: there are none"
        )
    for key, given in (("runs", runs), ("paper", space.paper), ("claims", space.claims)):
        if design != "listed" and given:
            place = space.written.where("search.design" if space.written.knows("search.design") else key)
            raise UserError(f"{place}: {key}: only the design listed has this, not {design}")
    return space
