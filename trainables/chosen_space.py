"""The space that a command line asks for: a file, another design, the best of a study as its base, settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pydantic

from minbert.errors import UserError, cut
from trainables.spaces.around import Around, centred
from trainables.spaces.files import locate
from trainables.spaces.fixing import Fixed, Setting, fix
from trainables.spaces.settings import DesignName
from trainables.spaces.space import Space, load_space
from trainables.studies.study import read_spec
from trainables.studies.trial_config import misnamed, stored_config

if TYPE_CHECKING:
    from analysis.study import Study

DESIGNS: tuple[str, ...] = get_args(DesignName)
_ASKED = 20


@dataclass(frozen=True)
class Wish:
    """What a command line says of the space.

    Attributes:
        space: name of a packaged space or path of a file.
        design: another design than the space's own; None: that.
        around: the study whose best configuration is the base; None: the space's own base.
        settings: ``PATH=VALUE``, one after the other.
        counts: ``search.trials`` and ``search.replicates`` by name; None: the space's.
        seed: the study's seed; None: the usual one.
    """

    space: str
    design: str | None
    around: str | None
    settings: tuple[str, ...]
    counts: Mapping[str, int | None]
    seed: int | None

    @property
    def name(self) -> str:
        """Name of the study's folder, where none is given: of its own for what the file alone does not say."""
        name = locate(self.space)[1]
        if self.around is not None:
            return f"{name}-around-{os.path.basename(os.path.realpath(self.around))}"
        return name if self.design is None else f"{name}-{self.design}"


@dataclass(frozen=True)
class Chosen:
    """The space to search, the study's seed, and the configuration that the base came from, if from a study."""

    space: Space
    seed: int
    around: Around | None = None
    left_out: tuple[tuple[str, str, str], ...] = ()
    """Levels that do not go with that configuration: factor, level, and why."""
    passed_over: tuple[tuple[str, str, str], ...] = ()
    """Settings that runs of a listed space do not go with: setting, run, and why."""


def choose(wish: Wish, folder: Path) -> Chosen:
    """Read the space and lay the command line over it.

    Args:
        wish: what the command line says.
        folder: the study's folder. Where it already holds a study around the same one, the best
            configuration is the one of its first start, whatever has happened to that study since.

    Raises:
        UserError: something does not fit.
    """
    space = load_space(wish.space)
    if wish.around is not None and wish.design not in (None, "one_factor"):
        raise UserError(f"--around goes with --design one_factor, not {wish.design}")
    design = wish.design or (wish.around and "one_factor")
    if design:
        space = space.redesigned(design, f"--design {design}" if wish.design else f"--around {wish.around}")
    settings = _settings(wish)
    fixed = fix(space, settings) if settings else Fixed(space)
    space = fixed.space
    _refuse_what_options_choose(space)
    if wish.around is None:
        return Chosen(space, wish.seed or 0, passed_over=fixed.passed_over)
    around = _stored_around(folder, wish.around) or best_of(wish.around)
    moved = centred(space, around, [setting.path for setting in settings])
    return Chosen(moved.space, _another_seed(wish, around), around, moved.left_out)


def best_of(study: str) -> Around:
    """The best configuration of a study, by the mean select score of its complete replicates.

    Raises:
        UserError: there is no such study, nothing in it is complete, a file is damaged, or the
            configuration is not the one that the journal names.
    """
    from analysis.ablation import leaderboard  # noqa: PLC0415 - slow to import
    from analysis.study import load  # noqa: PLC0415

    try:
        loaded = load(study)
    except UserError as error:
        raise UserError(f"--around {error}") from None
    leaders = leaderboard(loaded.trials, loaded.tasks, top=1)
    if leaders.empty:
        raise UserError(f"--around {study}: no trial is complete yet, so there is no best configuration")
    best = leaders.iloc[0]
    numbers = [int(number) for number in best["numbers"]]
    try:
        return Around(
            study=study,
            config_id=best["config_id"],
            trials=tuple(numbers),
            score=float(best["select"]),
            seed=loaded.meta["seed"],
            data=loaded.meta["data"]["fingerprint"],
            encoder=loaded.meta["encoder"]["fingerprint"],
            config=_config(loaded, numbers[0]),
            conditions=_conditions(loaded.meta["space"]),
        )
    except (KeyError, TypeError, pydantic.ValidationError) as error:
        raise UserError(f"--around {study}: study.yaml is damaged ({type(error).__name__})") from None


def _settings(wish: Wish) -> list[Setting]:
    parsed = []
    for given in wish.settings:
        path, equals, value = given.partition("=")
        if not equals:
            raise UserError(f"--set {cut(given)}: write path=value, such as --set stages.finetune.epochs=2")
        parsed.append(Setting.parse(path, value))
    counts = ((f"search.{name}", count) for name, count in wish.counts.items() if count is not None)
    return [*parsed, *(Setting.parse(path, str(count)) for path, count in counts)]


def _config(study: Study, number: int) -> dict[str, Any]:
    config = stored_config(study.config_file(number))
    if misnamed(config, study.run_names[number]) and any(
        _is_named(study, other) for other in _others(study, number)
    ):
        raise UserError(
            f"--around {study.path}: trial {number}: its config.yaml does not give the name that its study has for it, as "
            "those of other trials do: the file was changed"
        )
    return config.model_dump(mode="json", exclude_none=True)


def _others(study: Study, number: int) -> list[int]:
    """Trials that tell whether a study is of this version of the program, which gives its files their names."""
    return [other for other in study.run_names if other != number][:_ASKED]


def _is_named(study: Study, number: int) -> bool:
    try:
        return not misnamed(stored_config(study.config_file(number)), study.run_names[number])
    except UserError:
        return False


def _conditions(resolved: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    factors = Space.from_resolved(resolved).factors
    return {
        factor.path: {path: list(values) for path, values in factor.when.items()}
        for factor in factors
        if factor.when
    }


def _stored_around(folder: Path, study: str) -> Around | None:
    spec = read_spec(folder)
    stored = None if spec is None else spec.get("around")
    if not isinstance(stored, Mapping) or stored.get("study") != study:
        return None
    try:
        return Around.model_validate(stored)
    except pydantic.ValidationError:
        raise UserError(f"{folder / 'study.yaml'}: damaged at around") from None


def _another_seed(wish: Wish, around: Around) -> int:
    """Seeds of the study would repeat the very runs whose luck made the base the best."""
    if wish.seed == around.seed:
        raise UserError(
            f"--seed {wish.seed}: {around.study} has this seed, so its chosen runs would be run again: take another"
        )
    return around.seed + 1 if wish.seed is None else wish.seed


def _refuse_what_options_choose(space: Space) -> None:
    """Data, encoder and seed are the study's, so a space's would be passed over in silence."""
    used = {*space.base, *(factor.path.partition(".")[0] for factor in space.factors)}
    for name in ("data", "encoder", "seed"):
        if name in used:
            raise UserError(
                f"{space.written.where(name)}: {name} is not for a space: choose it with --{name}"
            )
