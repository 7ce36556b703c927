"""Which trials of one study another one would have run just so.

A trial holds where the new study would pin the same configuration and the same seed: equal ones train bit for bit the
same, so its numbers are the new study's own. It must have ended as it would there, and its files must be what was
written. Of every other trial the first thing that speaks against it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from minbert.canonical import config_id, run_name
from minbert.config import TrainConfig
from minbert.dotted import get, leaves, put
from minbert.errors import UserError
from minbert.files.durable import read_json_lines
from minbert.files.sealed import damage
from minbert.files.storage import is_of_storage
from minbert.history import is_evaluated, missing_line
from minbert.yaml_reader import shorten
from trainables.designs.design import Planned, build_design
from trainables.spaces.distributions import Choice, Factor, same, stored
from trainables.spaces.one_factor import is_level
from trainables.spaces.settings import EarlyStopping
from trainables.spaces.space import Space
from trainables.studies.ledger import configured, is_counted
from trainables.studies.trial_config import stored_config

_ABSENT = object()
_DAMAGED, _OLDER = "damaged", "of another version of the program"
_OF_THE_STUDY = ("data.path", "encoder.path", "seed")


@dataclass(frozen=True)
class Holding:
    """A trial that holds.

    Attributes:
        trial: as the study it comes from has it.
        config: what the new study pins for it.
        params: values of the new space's factors.
        distributions: what Optuna would have drawn them from.
    """

    trial: FrozenTrial
    config: TrainConfig
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]

    @property
    def name(self) -> tuple[str, int]:
        """Its configuration and replicate: no study has two trials of one name."""
        return self.trial.user_attrs["config_id"], self.trial.user_attrs["replicate"]


@dataclass(frozen=True)
class Objection:
    """Why a trial does not hold.

    Attributes:
        reason: what many trials may have in common.
        detail: what is so with this one; may be empty.
    """

    reason: str
    detail: str = ""


@dataclass
class Holdings:
    """What holds of a study.

    Attributes:
        trials: what does, by number.
        objections: what speaks against the others that came to an end.
    """

    trials: list[Holding] = field(default_factory=list)
    objections: list[Objection] = field(default_factory=list)

    @property
    def ended(self) -> int:
        """Trials that came to an end other than a failure."""
        return len(self.trials) + len(self.objections)

    @property
    def another_version(self) -> bool:
        """Whether nothing tells that the study was made by this version of the program."""
        return bool(self.objections) and all(each.reason == _OLDER for each in self.objections)


class Study:
    """What decides which configuration a study trains.

    Args:
        space: the space.
        pinned: leaves that hold for all trials (sources, numerics).
        seed: the study's seed.
    """

    def __init__(self, space: Space, pinned: Mapping[str, Any], seed: int) -> None:
        self._space, self._pinned, self._seed = space, dict(pinned), seed
        design = build_design(space, lambda params: config_id(self.configured(params, 0)))
        self._plan = design.plan if isinstance(design, Planned) else None

    def configured(self, params: Mapping[str, Any], replicate: int) -> TrainConfig:
        """The configuration of values of the factors."""
        return configured(self._space, self._pinned, self._seed, params, replicate)

    def holdings(self, trials: Sequence[FrozenTrial], folder: Path) -> Holdings:
        """Judge the trials of another study.

        Args:
            trials: as its journal has them.
            folder: where their folders are.
        """
        found, known = Holdings(), dict[tuple[str, int], Holding]()
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        for trial in sorted(
            filter(is_counted, trials), key=lambda each: (each.user_attrs["replicate"], each.number)
        ):
            if trial.state not in ended:
                continue
            judged = self._judge(trial, folder / f"{trial.number:05d}", known)
            if isinstance(judged, Objection):
                found.objections.append(judged)
            else:
                known[judged.name] = judged
        found.trials = sorted(known.values(), key=lambda each: each.trial.number)
        return found

    def _judge(
        self, trial: FrozenTrial, folder: Path, known: Mapping[tuple[str, int], Holding]
    ) -> Holding | Objection:
        try:
            config = stored_config(folder / "config.yaml")
        except UserError:
            return Objection(_DAMAGED, f"{folder.name}/config.yaml is not what was written")
        if config_id(config) != trial.user_attrs["config_id"]:
            return Objection(_OLDER, f"{folder.name}/config.yaml is counted as another configuration now")
        found = self._placed(trial, config)
        if isinstance(found, Objection):
            return found
        return (
            self._ends_otherwise(found, known)
            or _objection_to_files(trial, folder, run_name(config))
            or found
        )

    def _placed(self, trial: FrozenTrial, config: TrainConfig) -> Holding | Objection:
        """The trial's place in the new space."""
        name, replicate = trial.user_attrs["config_id"], trial.user_attrs["replicate"]
        planned = None if self._plan is None else self._plan.get(name)
        walk = _Walk(planned or _values(self._space, trial.params, config))
        try:
            params = self._space.ask(walk)
        except _NoLevel as missing:
            return _no_level(self._space, str(missing), trial.params, config)
        ours = self.configured(params, replicate)
        if config_id(ours) != name:
            return _difference(config, ours)
        if self._plan is not None and planned is None:
            return Objection("configurations that this design does not run")
        if ours.seed != config.seed:
            return Objection("seed", f"{config.seed} there, {ours.seed} now")
        return Holding(trial, ours, params, walk.distributions)

    def _ends_otherwise(self, found: Holding, known: Mapping[tuple[str, int], Holding]) -> Objection | None:
        """What the new study would not have come to: another end, or the run at all."""
        settings, (name, replicate) = self._space.settings, found.name
        if found.trial.state is TrialState.PRUNED and not _may_stop(settings.early_stopping, found.trial):
            return Objection("early stopping", "stopped where nothing stops now")
        if replicate >= settings.replicates:
            return Objection("replicates", f"replicate {replicate} there, {settings.replicates} in all now")
        if found.name in known:
            return Objection("configurations that ran twice")
        first = known.get((name, 0))
        if replicate and self._plan is None and (first is None or first.trial.state is TrialState.PRUNED):
            return Objection("replicates", f"replicate {replicate}, whose first run does not hold")
        return None


class _NoLevel(Exception):
    """A factor that applies has no level for what a trial has there; its path."""


class _Walk:
    """Answers what a space asks a trial by known values, and keeps what Optuna would have drawn them from."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._answer(name, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> Any:
        return self._answer(name, IntDistribution(low, high, step=step))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> Any:
        return self._answer(name, FloatDistribution(low, high, step=step, log=log))

    def _answer(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self._values:
            raise _NoLevel(name)
        self.distributions[name] = distribution
        return self._values[name]


def _values(space: Space, params: Mapping[str, Any], config: TrainConfig) -> dict[str, Any]:
    """Values of a space's factors in a configuration, as Optuna stores them; without those that are no level."""
    tree, values = config.model_dump(mode="json"), dict[str, Any]()
    for factor in space.factors:
        for value in _levels_in(factor, params.get(factor.path, _ABSENT), get(tree, factor.path, _ABSENT)):
            values.setdefault(factor.path, value)
    return values


def _levels_in(factor: Factor, drawn: Any, leaf: Any) -> Iterator[Any]:
    """What of a factor may stand for a value that was drawn, or for the leaf of the configuration; best first."""
    distribution = factor.distribution
    if not isinstance(distribution, Choice):
        yield from (
            value for value in (drawn, leaf) if value is not _ABSENT and is_level(distribution, value)
        )
        return
    options = distribution.options
    yield from (stored(option) for option in options if same(stored(option), drawn))
    yield from (stored(option) for option in options if same(option, leaf))
    parts = [option for option in options if isinstance(option, Mapping) and _is_part(option, leaf)]
    yield from (stored(option) for option in sorted(parts, key=lambda option: -len(leaves(option))))


def _is_part(option: Mapping[str, Any], leaf: Any) -> bool:
    return all(same(get(leaf, path, _ABSENT), value) for path, value in leaves(option).items())


def _no_level(space: Space, path: str, drawn: Mapping[str, Any], config: TrainConfig) -> Objection:
    levels = next(factor for factor in space.factors if factor.path == path).levels()
    value = drawn.get(path, get(config.model_dump(mode="json"), path, "absent"))
    return Objection(path, f"{shorten(value)} there, {shorten(levels)} now")


def _difference(theirs: TrainConfig, ours: TrainConfig) -> Objection:
    """The first leaf that makes two configurations train differently."""
    tree = theirs.model_dump(mode="json")
    old, new = leaves(tree), leaves(ours.model_dump(mode="json"))
    differing = [
        path
        for path in {**old, **new}
        if old.get(path, _ABSENT) != new.get(path, _ABSENT) and not path.startswith(_OF_THE_STUDY)
    ]
    for path in differing:
        try:
            changed = TrainConfig.model_validate(put(tree, path, new.get(path)))
        except pydantic.ValidationError:
            continue  # goes only together with another leaf
        if config_id(changed) != config_id(theirs):
            break
    else:
        path = differing[0]
    return Objection(path, f"{shorten(old.get(path))} there, {shorten(new.get(path))} now")


def _may_stop(early_stopping: EarlyStopping | None, trial: FrozenTrial) -> bool:
    """Whether a trial could have been stopped where it was: at a rung."""
    if early_stopping is None:
        return False
    rung, last = early_stopping.grace_epochs, max(trial.intermediate_values, default=0)
    while rung < last:
        rung *= early_stopping.reduction
    return rung == last


def _objection_to_files(trial: FrozenTrial, folder: Path, run: str) -> Objection | None:
    """Whether the history tells what the journal does, and the predictions are what was written."""
    if found := damage(folder / "predictions", of=run):
        return Objection(_DAMAGED, f"{folder.name}/predictions: {found}")
    try:
        records = read_json_lines(folder / "history.jsonl")
        scores = {each["epoch"]: each["select"]["score"] for each in records if is_evaluated(each)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        if is_of_storage(error):
            raise
        return Objection(_DAMAGED, f"{folder.name}/history.jsonl is not what was written")
    if any(each.get("of") != run for each in records):
        return Objection(_DAMAGED, f"{folder.name}/history.jsonl belongs to another run")
    if scores != trial.intermediate_values or missing_line(records):
        return Objection(_DAMAGED, f"{folder.name}/history.jsonl has other epochs than the journal")
    return None
