"""Settings that hold for all trials, laid over a space: all of them first, and only then is it checked."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pydantic

from minbert.config import TrainConfig, build_config
from minbert.dotted import get, leaves, put
from minbert.errors import UserError, cut, did_you_mean
from minbert.idle import reason as why
from minbert.misplaced import belongs
from minbert.yaml_reader import parse_value, problems, shorten
from trainables.spaces.distribution_parsing import is_distribution
from trainables.spaces.distributions import Choice, label, same
from trainables.spaces.idle import is_idle
from trainables.spaces.runs import RUN, Runs
from trainables.spaces.settings import SearchSettings
from trainables.spaces.trees import Layers, Set, overlay

if TYPE_CHECKING:
    from trainables.spaces.space import Space

_ABSENT = object()
_LONGEST = 160
"""Characters of a setting that a message repeats."""


@dataclass(frozen=True)
class Setting:
    """A value for one leaf or section.

    Attributes:
        path: dotted path.
        value: what it is set to; may be a distribution.
        origin: how a message names it.
    """

    path: str
    value: Any
    origin: str

    @classmethod
    def parse(cls, path: str, value: Any) -> Setting:
        """A setting of a command line; a text is parsed as a YAML value.

        Raises:
            UserError: the text is no YAML.
        """
        text = isinstance(value, str)
        origin = cut(f"--set {path}={value if text else label(value)}", _LONGEST)
        return cls(path, parse_value(value, origin) if text else value, origin)


@dataclass(frozen=True)
class Fixed:
    """A space with settings.

    Attributes:
        space: the checked space.
        passed_over: of a listed space, runs that a setting does not go with, which stay as they are:
            the setting, the run, and why.
    """

    space: Space
    passed_over: tuple[tuple[str, str, str], ...] = ()


def fix(space: Space, settings: Sequence[Setting]) -> Fixed:
    """Set leaves for all trials: fixed leaves, factors (which are then no longer drawn), or ``search.*``.

    A factor with a condition keeps it: the value holds where it applies.

    Raises:
        UserError: no such path, a value that does not fit, or one that could never apply.
    """
    settings = _as_leaves(space, settings)
    written = Layers((*(Set(each.origin, each.path) for each in reversed(settings)), space.written))
    laid = replace(space, written=written)
    known = known_paths(laid)
    of_trials: list[Setting] = []
    for setting in settings:
        _refuse_unknown(laid, setting, known)
        known |= leaves(put({}, setting.path, setting.value)).keys()
        if setting.path.startswith("search."):
            laid = _with_search(laid, setting)
        elif laid.runs.rows:
            of_trials.append(setting)
        else:
            laid = _with_leaf(laid, setting)
            known |= known_paths(laid)
    if not space.runs.rows:
        checked = laid.checked()
        _refuse_unmet(checked, settings)
        _refuse_idle(space, checked, settings)
        return Fixed(checked)
    tree, passed_over = _with_runs(laid, of_trials)
    checked = laid.redrafted(tree).checked()
    _refuse_idle(space, checked, of_trials)
    return Fixed(checked, passed_over)


def _as_leaves(space: Space, settings: Sequence[Setting]) -> list[Setting]:
    """The settings with a section's value as one setting a leaf.

    Raises:
        UserError: two settings give one leaf different values.
    """
    known = known_paths(space)
    single: list[Setting] = []
    for each in settings:
        plain = isinstance(each.value, Mapping) and each.value and not is_distribution(each.value)
        inner = leaves({each.path: each.value}) if plain and each.path not in space.fixed else {}
        if inner and inner.keys() <= known:
            single += [Setting(path, value, each.origin) for path, value in inner.items()]
        else:
            single.append(each)
    first: dict[str, Setting] = {}
    for each in single:
        other = first.setdefault(each.path, each)
        if other is not each and not same(other.value, each.value):
            raise UserError(f"{other.origin} and {each.origin}: {each.path} is set twice")
    return list(first.values())


def open_paths(values: Mapping[str, Any]) -> set[str]:
    """Mappings, among the values by path, that are empty and may be given keys."""
    return {path for path, value in values.items() if isinstance(value, Mapping)}


def known_paths(space: Space) -> set[str]:
    """Everything that :func:`fix` can set: leaves, and sections as a whole."""
    own = {*space.fixed, *(factor.path for factor in space.factors)} - {RUN}
    for name in space.runs.configured:
        own |= leaves(_of_run(space, name)).keys()
    named = [*own, *(f"search.{name}" for name in leaves(SearchSettings().model_dump()))]
    sections = {path.rsplit(".", depth)[0] for path in named for depth in range(1, path.count(".") + 1)}
    return {*named, *sections} - {"search"}


def _refuse_unknown(space: Space, setting: Setting, known: set[str]) -> None:
    path, origin = setting.path, setting.origin
    for factor in space.factors:
        if factor.owns(path) and factor.path != path:
            raise UserError(f"{origin}: {factor.path} is searched as a whole: set that")
    if path not in known and path.rpartition(".")[0] not in open_paths(space.fixed):
        near = belongs(path, known) or did_you_mean(path, sorted(known))
        raise UserError(f"{origin}: there is no setting {shorten(path)}{near}")


def _with_search(space: Space, setting: Setting) -> Space:
    search = overlay(space.settings.model_dump(), put({}, setting.path, setting.value)["search"])
    return space.with_search(search)


def _with_leaf(space: Space, setting: Setting) -> Space:
    path, value = setting.path, setting.value
    pinned = next((factor for factor in space.factors if factor.path == path), None)
    if pinned and pinned.when and not is_distribution(value):
        value = replace(pinned, distribution=Choice((value,))).to_yaml()
    tree = overlay(space.tree(), put({}, path, value))
    if not is_distribution(setting.value):
        tree["search"]["base"].pop(path, None)
    return space.redrafted(tree)


def _refuse_idle(space: Space, fixed: Space, settings: Sequence[Setting]) -> None:
    """Refuse a value that changes nothing of what is trained."""
    if space.runs.rows:
        names = fixed.runs.configured
        before = [_of_run(space, name) for name in names]
        pairs = list(zip((fixed.config({RUN: name}) for name in names), before, strict=True))
    else:
        content: dict[str, Any] = {}
        for path, value in space.fixed.items():
            content = put(content, path, value)
        pairs = [(config, content) for config in fixed.representatives]
    searched = {factor.path for one in (space, fixed) for factor in one.factors}
    for each in settings:
        _refuse_null(each, [config for config, _ in pairs])
        drawn = any(path == each.path or path.startswith(each.path + ".") for path in searched)
        if not drawn and not is_distribution(each.value) and is_idle(each.path, each.value, pairs):
            raise UserError(
                f"{each.origin}: {each.path} has no effect here: {why(each.path, [one for one, _ in pairs])}"
            )


def _refuse_null(setting: Setting, configs: Sequence[TrainConfig]) -> None:
    """Refuse an empty value for a leaf that must have one, for which its default would stand in in silence."""
    found = [get(config.model_dump(mode="json"), setting.path, None) for config in configs]
    default = next((value for value in found if value is not None), None)
    if setting.value is None and default is not None and not isinstance(default, Mapping):
        raise UserError(
            f"{setting.origin}: {setting.path} must have a value (its default is {label(default)})"
        )


def _refuse_unmet(space: Space, settings: Sequence[Setting]) -> None:
    """Refuse a value for a factor whose condition can no longer hold, unless it is the value that holds there."""
    drawn = {factor.path for factor in space.factors}
    for setting in {each.path: each for each in settings}.values():
        path, value = setting.path, setting.value
        if path in space.fixed and path not in drawn and not isinstance(value, Mapping):
            found = space.fixed[path]
            found = list(found) if isinstance(found, tuple) else found
            if not same(found, value) and not same(get(space.base, path, _ABSENT), value):
                raise UserError(
                    f"{setting.origin} has no effect here: {path} applies only under conditions that nothing "
                    "in the space can meet any more"
                )


def _with_runs(
    space: Space, settings: Sequence[Setting]
) -> tuple[dict[str, Any], tuple[tuple[str, str, str], ...]]:
    """The content of a listed space's file with the settings laid over its fixed part and its runs.

    A run's own values are replaced too. A run that lacks a leaf, such as one of a stage that only
    others have, stays as it is; so does one that just one of the settings does not go with, unless that
    goes with no run.
    """
    chosen = {name: _split_fitting(space, name, settings) for name in space.runs.configured}
    fits = {each.path for taken, _ in chosen.values() for each in taken}
    base, runs = space.base, space.runs
    for each in settings:
        if _has(overlay(TrainConfig().model_dump(mode="json"), base), each.path):
            base = overlay(base, put({}, each.path, each.value))
    passed_over = []
    for name in space.runs.like_first():
        taken, refused = chosen[name]
        for each, reason in refused:
            if each.path not in fits:
                taken = [*taken, each]
            else:
                passed_over.append((each.origin, name, reason))
                runs = _with_value(base, runs, name, each.path, get(_of_run(space, name), each.path, None))
        for each in taken:
            runs = _with_value(base, runs, name, each.path, each.value)
    return {**space.tree(), **base, "runs": runs.to_yaml()}, tuple(passed_over)


def _with_value(base: Mapping[str, Any], runs: Runs, name: str, path: str, value: Any) -> Runs:
    """The runs, one of them with a value at a path."""
    if get(runs.partial(base, name), path, _ABSENT) == value:
        return runs
    return runs.changed(name, put({}, path, value))


def _split_fitting(
    space: Space, name: str, settings: Sequence[Setting]
) -> tuple[list[Setting], list[tuple[Setting, str]]]:
    """The settings that a run has a place for: those that it can take, and those that it cannot, with the reason."""
    partial = space.runs.partial(space.base, name)
    tree = _of_run(space, name)
    placed = []
    for each in settings:
        if _has(tree, each.path):
            placed.append(each)
            tree = overlay(tree, put({}, each.path, each.value))
    reason = _refusal(partial, placed)
    if reason is None:
        return placed, []
    causes = _causes(partial, placed)
    return [each for each in placed if each not in causes], [(each, reason) for each in causes]


def _causes(partial: Mapping[str, Any], settings: Sequence[Setting]) -> tuple[Setting, ...]:
    """The setting that does not go with a run, or the two that go together and not with it; none where the settings
    do not go with each other."""
    for size in (1, 2):
        found = [
            some
            for some in itertools.combinations(settings, size)
            if _refusal(partial, [each for each in settings if each not in some]) is None
        ]
        if found:
            return found[0] if len(found) == 1 else ()
    return ()


def _refusal(partial: Mapping[str, Any], settings: Sequence[Setting]) -> str | None:
    """Why the schema refuses a combination; None where it does not, or where a value is wrong by itself."""
    tree = dict(partial)
    for each in settings:
        tree = overlay(tree, put({}, each.path, each.value))
    try:
        build_config(tree)
    except pydantic.ValidationError as error:
        return next((problem.text for problem in problems(error) if problem.crossing), None)
    return None


def _of_run(space: Space, name: str) -> dict[str, Any]:
    return space.config({RUN: name}).model_dump(mode="json")


def _has(tree: Mapping[str, Any], path: str) -> bool:
    """Whether there is such a leaf or section, or an empty mapping that may be given it."""
    inside_open = path.rpartition(".")[0] in open_paths(leaves(tree))
    return inside_open or get(tree, path, _ABSENT) is not _ABSENT
