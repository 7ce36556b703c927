"""The best configuration of a study as the base of another space, for ``--around STUDY``.

Everything that the configuration sets is carried over: it gives the base level of the space's factors (and is
added as a level where it is none) and the fixed leaves, also those that the space itself sets. What was drawn
under a condition there keeps the condition here; a level that does not go with the configuration is left out. Not carried over are sources, seed, numerics and ``checkpoint``,
and what ``--set`` names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pydantic

from minbert.canonical import canonical
from minbert.config import TrainConfig, build_config
from minbert.dotted import get, leaves, put
from minbert.errors import UserError
from minbert.schema import Frozen
from minbert.sources import Sources
from minbert.yaml_reader import problems, shorten
from trainables.spaces.distributions import Choice, Factor, label, same, stored
from trainables.spaces.one_factor import Comparison, base_config, comparisons, impossible, is_level, spread
from trainables.spaces.run_checks import DATA_SIDE
from trainables.spaces.space import Space

_OF_THE_STUDY = ("data", "encoder", "seed", "checkpoint", "device", "precision", "threads")
_ABSENT = object()


class Around(Frozen):
    """The best configuration of a study, with all that is needed of the study; study.yaml keeps it."""

    study: str
    """The study's folder, as it was given."""
    config_id: str
    trials: tuple[int, ...]
    """Its complete replicates."""
    score: float
    """Mean of their select scores."""
    seed: int
    """The study's seed."""
    data: str
    """Fingerprint of the study's data."""
    encoder: str
    """Fingerprint of its encoder."""
    config: dict[str, Any]
    """The configuration, without what is unset."""
    conditions: dict[str, dict[str, list[Any]]]
    """Leaves that the study draws under a condition which the configuration meets: path -> ``when``."""


@dataclass(frozen=True)
class Centred:
    """A space around a study's best configuration.

    Attributes:
        space: the space.
        left_out: levels that do not go with that configuration: factor, level, and why.
    """

    space: Space
    left_out: tuple[tuple[str, str, str], ...]


def centred(space: Space, around: Around, kept: Collection[str] = ()) -> Centred:
    """Move the base of a space to a study's best configuration.

    Args:
        space: a space of the design one_factor.
        around: the best configuration.
        kept: leaves at which the space stays as it is.

    Raises:
        UserError: something cannot be carried over.
    """
    origin = f"--around {around.study}"
    _refuse_other_tasks(space, around, origin)
    target_tree = _target(space, around, kept)
    target = _built(target_tree, origin)
    leaf_values = target.model_dump(mode="json")
    factors, base = [], dict(space.settings.base)
    for factor in space.factors:
        if _holds(factor.when, leaf_values) and not _is_kept(factor, kept):
            factor, base[factor.path] = _based(factor, target_tree, target)  # noqa: PLW2901 - the same, widened
        factors.append(factor)
    factors += _conditional(space, around, leaf_values, kept)
    search = {**space.settings.model_dump(), "base": base}
    head = {"description": space.description, "search": search}
    moved = space.rewritten({**head, **_with_factors(target_tree, factors)}, origin)
    _refuse_another_base(moved, target, origin)
    refused = impossible(moved)
    factors = [_without_levels(factor, [run for run, _ in refused]) for factor in factors]
    moved = space.rewritten({**head, **_with_factors(target_tree, factors)}, origin)
    configs = tuple(moved.config(run.params) for run in comparisons(moved))
    left_out = tuple((run.factor, label(run.level), reason) for run, reason in refused)
    return Centred(replace(moved, representatives=configs), left_out)


def _with_factors(tree: Mapping[str, Any], factors: Collection[Factor]) -> dict[str, Any]:
    """A partial configuration with factors in place of the leaves that they draw."""
    tree = dict(tree)
    for factor in factors:
        tree = _without(tree, factor.path)
    for factor in factors:
        tree = put(tree, factor.path, factor.to_yaml())
    return tree


def _without_levels(factor: Factor, refused: Collection[Comparison]) -> Factor:
    levels = [run.level for run in refused if run.factor == factor.path]
    if not levels or not isinstance(factor.distribution, Choice):
        return factor
    kept = [
        option
        for option in factor.distribution.options
        if not any(same(stored(option), level) for level in levels)
    ]
    return replace(factor, distribution=Choice(tuple(kept)))


def refuse_other_sources(around: Around, sources: Sources) -> None:
    """Refuse to compare with the best configuration of other data or another encoder.

    Raises:
        UserError: the fingerprints differ.
    """
    found = {"data": sources.corpus.fingerprint, "encoder": sources.encoder.fingerprint}
    for name, fingerprint in found.items():
        if getattr(around, name) != fingerprint:
            there = f"{getattr(around, name)[:12]} there, {fingerprint[:12]} here"
            raise UserError(
                f"--around {around.study}: made with another {name} ({there}): give the study's with --{name}"
            )


def _target(space: Space, around: Around, kept: Collection[str]) -> dict[str, Any]:
    """The partial configuration that the base is to be."""
    tree = {key: value for key, value in around.config.items() if key not in _OF_THE_STUDY}
    removed = {name: task for name, task in space.base.get("tasks", {}).items() if task is None}
    tree["tasks"] = {**tree["tasks"], **removed}
    tree["stages"] = {**space.base.get("stages", {}), **tree["stages"]}
    tree |= {key: space.base[key] for key in _OF_THE_STUDY if key in space.base}
    for path in kept:
        value = get(space.base, path, _ABSENT)
        if value is not _ABSENT:
            tree = put(tree, path, value)
    for factor in space.factors:
        if _is_kept(factor, kept):
            tree = _without(tree, factor.path)
            if _holds(factor.when, tree):
                tree = put(tree, factor.path, factor.distribution.levels()[0])
    return tree


def _is_kept(factor: Factor, kept: Collection[str]) -> bool:
    """Whether a factor is one value that ``--set`` gave, where its condition holds."""
    return factor.path in kept and factor.distribution.size() == 1


def _based(factor: Factor, tree: Mapping[str, Any], target: TrainConfig) -> tuple[Factor, Any]:
    """The factor, with one more level if need be, and the level that it has in the configuration."""
    value = get(target.model_dump(mode="json"), factor.path, None)
    if isinstance(factor.distribution, Choice):
        meant = canonical(target)
        for level in factor.distribution.options:
            try:
                built = build_config(put(tree, factor.path, level))
            except pydantic.ValidationError:
                continue
            if canonical(built) == meant:  # so that an unset leaf is the level that it means
                return factor, level
        return replace(factor, distribution=Choice((*factor.distribution.options, value))), value
    if is_level(factor.distribution, value):
        return factor, value
    return replace(factor, distribution=Choice((*spread(factor.distribution), value))), value


def _conditional(
    space: Space, around: Around, values: Mapping[str, Any], kept: Collection[str]
) -> list[Factor]:
    """What the study drew under a condition, as factors of one level that keep it."""
    taken = {*kept, *(factor.path for factor in space.factors)}
    found = []
    for path, when in around.conditions.items():
        overlaps = any(f"{path}.".startswith(f"{each}.") or each.startswith(f"{path}.") for each in taken)
        value = get(values, path, None)
        conditions = {name: tuple(levels) for name, levels in when.items()}
        if not overlaps and value is not None and _holds(conditions, values):
            found.append(Factor(path, Choice((value,)), conditions))
    return found


def _holds(when: Mapping[str, tuple[Any, ...]], tree: Mapping[str, Any]) -> bool:
    return all(any(same(get(tree, path, None), value) for value in values) for path, values in when.items())


def _without(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A copy of the tree without what stands at a path."""
    key, _, rest = path.partition(".")
    if not rest or not isinstance(tree.get(key), Mapping):
        return {name: value for name, value in tree.items() if name != key or rest}
    return {**tree, key: _without(tree[key], rest)}


def _built(tree: Mapping[str, Any], origin: str) -> TrainConfig:
    try:
        return build_config(tree)
    except pydantic.ValidationError as error:
        first = problems(error)[0]
        where = f"{first.path}: " if first.path else ""
        raise UserError(
            f"{origin}: its best configuration does not go with --set: {where}{first.text}"
        ) from None


def _refuse_other_tasks(space: Space, around: Around, origin: str) -> None:
    best = TrainConfig.model_validate(around.config)
    ours, theirs = (
        {name: task.model_dump(mode="json", include=DATA_SIDE) for name, task in config.tasks.items()}
        for config in (space.example(), best)
    )
    if list(ours) != list(theirs):
        named = f"{', '.join(theirs)} there, {', '.join(ours)} in the space {space.name}"
        raise UserError(f"{origin}: made with other tasks ({named})")
    for name, task in ours.items():
        if task != theirs[name]:
            leaf = next(key for key in task if task[key] != theirs[name][key])
            told = f"{shorten(theirs[name][leaf])} there, {shorten(task[leaf])} in the space {space.name}"
            raise UserError(f"{origin}: made with another task {name!r} ({leaf}: {told})")


def _refuse_another_base(space: Space, target: TrainConfig, origin: str) -> None:
    """Refuse a space in which the configuration cannot stand, because it has a leaf only under a condition."""
    base = base_config(space)
    target = target.model_copy(update={"checkpoint": base.checkpoint})
    if canonical(base) == canonical(target):
        return
    ours, theirs = (leaves(config.model_dump(mode="json")) for config in (base, target))
    path = next(path for path in {**theirs, **ours} if theirs.get(path) != ours.get(path))
    values = (
        f"{shorten(theirs.get(path))}, which the space {space.name} has {shorten(ours.get(path))} for there"
    )
    raise UserError(f"{origin}: its best configuration has {path} {values}: fix it with --set {path}=VALUE")
