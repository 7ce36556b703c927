"""The checks of a listed space: every run's configuration, and that no two runs are the same by accident."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from minbert.canonical import config_id
from minbert.config import TrainConfig
from minbert.dotted import leaves
from minbert.errors import UserError, nearest_first
from minbert.yaml_reader import check_nulls, shorten
from trainables.spaces.runs import RUN
from trainables.spaces.trees import InRun, split

if TYPE_CHECKING:
    from trainables.spaces.space import Space

_OF_THE_STUDY = ("data", "encoder", "seed", "device", "precision", "threads")
DATA_SIDE = {"kind", "text", "label", "classes", "label_range", "files"}


def check_runs(space: Space) -> tuple[TrainConfig, ...]:
    """Build every run's configuration and check what it says of tasks and other runs; returns the configurations.

    Raises:
        UserError: the first mistake; it names file, line, run and path.
    """
    if not space.runs.trained:
        raise UserError(
            f"{space.written.where('runs')}: runs: all rows are composite, there is nothing to train"
        )
    configs = {name: _checked(space, name) for name in space.runs.configured}
    first, *others = configs
    for name in others:
        _refuse_other_data(space, (first, configs[first]), (name, configs[name]))
    for name, run in space.runs.rows.items():
        _check_names(space, name, list(configs[first].tasks))
        if run.same_as is not None and config_id(configs[name]) != config_id(configs[run.same_as]):
            place = space.written.where(f"runs.{name}.same_as")
            differs = _difference(configs[run.same_as], configs[name])
            raise UserError(f"{place}: run {name!r}: same_as {run.same_as!r}, but they differ in {differs}")
    return tuple(configs.values())


def refuse_coinciding(space: Space) -> None:
    """Refuse runs that train the same configuration, unless one of them says so.

    Raises:
        UserError: two such runs.
    """
    for name, other in coinciding(space).items():
        if space.runs.rows[name].same_as is None:
            message = f"run {name!r} trains the same configuration as {other!r}"
            place = space.written.where(f"runs.{name}")
            raise UserError(f"{place}: {message}; write same_as: {other} if the source's rows are the same")


def coinciding(space: Space, pinned: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Runs that are not trained because another run has the same configuration: that other one by their name.

    Args:
        space: a listed space.
        pinned: leaves that hold for all trials, which may make more runs the same.
    """
    known = {name: identify(space, {RUN: name}, pinned or {}) for name in space.runs.configured}
    first: dict[str, str] = {}
    for name in space.runs.trained:
        first.setdefault(known[name], name)
    return {name: first[identity] for name, identity in known.items() if first[identity] != name}


def described_runs(space: Space, pinned: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What study.yaml says of every run: all of the space file but ``like`` and ``set``, and which run trains it."""
    others = coinciding(space, pinned)
    described = {}
    for name, run in space.runs.rows.items():
        trained = {} if run.members else {"trained_as": others.get(name, name)}
        told = run.model_dump(mode="json", exclude_defaults=True, exclude={"like", "set"})
        described[name] = {**trained, **told}
    return described


def identify(space: Space, params: Mapping[str, Any], pinned: Mapping[str, Any]) -> str:
    """Name of the configuration that values stand for."""
    return config_id(space.config(params).model_copy(update=dict(pinned)))


def _checked(space: Space, name: str) -> TrainConfig:
    place = InRun(space.written, space.runs.chain(name))
    changes = space.runs.rows[name].set
    for key in changes:
        if key in _OF_THE_STUDY:
            raise UserError(
                f"{place.where(key)}: {key} is the same for all runs of a study: it is not for a run"
            )
    split_changes, nodes = split(changes, "", place)
    refuse_distributions(nodes, place)
    check_nulls(place, split_changes)
    return space.config({RUN: name})


def refuse_distributions(nodes: Iterable[tuple[str, Any]], place: Any) -> None:
    """Refuse what is drawn: the runs of a listed space are written out.

    Raises:
        UserError: there is a distribution.
    """
    for path, node in nodes:
        message = f"{path}: {shorten(node)} is not allowed: a listed space draws nothing, its runs say all"
        raise UserError(f"{place.where(path)}: {message}")


def _refuse_other_data(space: Space, one: tuple[str, TrainConfig], other: tuple[str, TrainConfig]) -> None:
    """A study reads its data once, so all runs read the same files in the same way."""
    read = {
        name: {task: each.model_dump(mode="json", include=DATA_SIDE) for task, each in config.tasks.items()}
        for name, config in (one, other)
    }
    if read[one[0]] == read[other[0]]:
        return
    place = InRun(space.written, space.runs.chain(other[0])).where("tasks")
    raise UserError(
        f"{place}: tasks: the tasks, their kinds, columns and files must be those of run {one[0]!r}, as a study "
        "reads its data once; stages.NAME.tasks says which tasks a run trains"
    )


def _check_names(space: Space, name: str, tasks: list[str]) -> None:
    """Refuse names of tasks and averages that there are not."""
    run = space.runs.rows[name]
    scores = [*tasks, "plain", "overall"]
    for task in run.members:
        _refuse_unknown(space, name, f"members.{task}", task, tasks)
    for task in tasks if run.members else ():
        if task not in run.members and run.reported.get(task) is not None:
            place = space.written.where(f"runs.{name}.reported.{task}")
            raise UserError(
                f"{place}: run {name!r}: reported.{task}: the row has no member for {task}; they are for "
                f"{', '.join(run.members)}"
            )
    for key, value in run.reported.items():
        part = key in ("train", "test")
        _refuse_unknown(space, name, f"reported.{key}", key, [*scores, "train", "test"])
        if part != isinstance(value, Mapping) and value is not None:
            wanted = "a mapping of tasks to scores" if part else "a score"
            place = space.written.where(f"runs.{name}.reported.{key}")
            raise UserError(f"{place}: run {name!r}: reported.{key}: {shorten(value)} is not {wanted}")
        for inner in value if isinstance(value, Mapping) else ():
            _refuse_unknown(space, name, f"reported.{key}.{inner}", inner, scores)


def _refuse_unknown(space: Space, name: str, path: str, key: str, allowed: list[str]) -> None:
    if key not in allowed:
        place = space.written.where(f"runs.{name}.{path}")
        message = f"unknown key {key!r}{nearest_first(key, allowed, 'the keys here are')}"
        raise UserError(f"{place}: run {name!r}: {path}: {message}")


def _difference(one: TrainConfig, other: TrainConfig) -> str:
    """The first leaf in which two configurations differ, with both values."""
    ones, others = (leaves(config.model_dump(mode="json")) for config in (one, other))
    path = next(path for path in {**ones, **others} if ones.get(path) != others.get(path))
    return f"{path}: {shorten(ones.get(path))} and {shorten(others.get(path))}"
