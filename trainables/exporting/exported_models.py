"""The models that are taken out of a study: where each lies, and that it is what the trial trained."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from minbert.canonical import run_name
from minbert.config import TrainConfig
from minbert.errors import UserError
from minbert.files.durable import read_json_lines
from minbert.files.sealed import damage, owner
from minbert.files.strangers import refuse_irregular_below
from minbert.yaml_reader import load_config
from trainables.studies.kept_models import made_again, repeating
from trainables.studies.trial_config import misnamed

_NAME_IT = "and name it with --made-again DIR"
_ANOTHER = "name another trial; --keep keeps more models, or all"
_AS_IT_WAS = "so that its model cannot be made again as it was"
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Told:
    """What a study's journal tells of a trial.

    Attributes:
        run: its configuration and seed, as its files name them.
        scores: ``select/sst`` … ``dev/score`` of what counts.
        epochs: the epoch of the last stage that counts, and how many there were; None where that is not told.
    """

    run: str
    scores: Mapping[str, float]
    epochs: tuple[int, int] | None = None


@dataclass(frozen=True)
class TrialModel:
    """The kept model of a trial, or where each task chose its own epoch, one a task.

    Attributes:
        number: of the trial.
        config: what it was trained with.
        best: its folder of kept models.
        remark: what is odd about it; or empty.
    """

    number: int
    config: TrainConfig
    best: Path
    remark: str = ""

    def folder(self, task: str) -> Path:
        """Where the model that answers a task lies."""
        return self.best / task if self.config.checkpoint == "task" else self.best

    def name(self, task: str) -> str:
        """What that model is called among several."""
        return f"{self.number:05d}-{task}" if self.config.checkpoint == "task" else f"{self.number:05d}"


def find_models(
    study: Path, wanted: Mapping[int, Told], tasks: Sequence[str], again: Iterable[Path] = ()
) -> dict[int, TrialModel]:
    """The models of trials, by number.

    Args:
        study: its folder.
        wanted: the trials, with what the journal tells of each.
        tasks: the study's tasks.
        again: folders of runs that trained dropped models again.

    Raises:
        UserError: a model was not kept, is damaged, or belongs to another run.
    """
    trials = study / "trials"
    places = _made_again(again, {number: told.run for number, told in wanted.items()}, trials)
    best = {number: places.get(number, trials / f"{number:05d}") / "best" for number in wanted}
    if gone := [number for number, folder in best.items() if not folder.is_dir()]:
        _refuse_dropped(study, {number: wanted[number] for number in gone})
    found = {}
    for number, told in wanted.items():
        config = load_config(trials / f"{number:05d}" / "config.yaml")
        if missing := [task for task in tasks if task not in config.tasks]:
            raise UserError(
                f"{trials / f'{number:05d}' / 'config.yaml'}: damaged: lacks the task {missing[0]}"
            )
        model = TrialModel(number, config, best[number], misnamed(config, told.run))
        for folder in dict.fromkeys(model.folder(task) for task in tasks):
            refuse_irregular_below(folder)
            if damaged := damage(folder, of=told.run):
                remedy = f"make it again: {repeating(study, number)} {_NAME_IT}"
                if model.remark:
                    remedy = f"{model.remark}, {_AS_IT_WAS}: bring it back from a copy, or name another trial"
                raise UserError(f"{folder}: damaged: {damaged}; {remedy}")
        if number in places:
            _refuse_other_epochs(places[number], model, trials / f"{number:05d}", tasks, told)
            _refuse_other_scores(places[number], number, told)
        found[number] = model
    return found


def _refuse_dropped(study: Path, gone: Mapping[int, Told]) -> NoReturn:
    """Say of trials without a model how one is made again, or why none can be.

    Raises:
        UserError: always.
    """
    folders = {number: study / "trials" / f"{number:05d}" for number in gone}
    if not (config_file := next(iter(folders.values())) / "config.yaml").exists():
        raise UserError(
            f"{config_file}: is gone, and the trial's model is: bring its folder back from a copy, or name another trial"
        )
    for number, folder in folders.items():
        if _stopped_early(folder, gone[number]):
            raise UserError(
                f"{study}: model was not kept: trial {number}, which was stopped early: {_ANOTHER}"
            )
    for number, folder in folders.items():
        if odd := misnamed(load_config(folder / "config.yaml"), gone[number].run):
            raise UserError(f"{study}: model was not kept: trial {number}: {odd}, {_AS_IT_WAS}: {_ANOTHER}")
    several = "s were" if len(gone) > 1 else " was"
    raise UserError(f"{study}: model{several} not kept: trial {made_again(study, gone)} {_NAME_IT}")


def _made_again(folders: Iterable[Path], runs: Mapping[int, str], trials: Path) -> dict[int, Path]:
    """Folders of ``minbert.train`` by the trial that they repeat; the seal of a model says which run it is of."""
    numbers = {run: number for number, run in runs.items()}
    found = {}
    for folder in folders:
        best = folder / "best"
        if not best.is_dir():
            raise UserError(f"--made-again {folder}: no run with a model (it has no best/)")
        owners = [owner(place) for place in (best, *sorted(best.iterdir())) if place.is_dir()]
        run = next((each for each in owners if each in numbers), None)
        if run is None:
            for number, told in runs.items():
                file = trials / f"{number:05d}" / "config.yaml"
                if file.exists() and run_name(config := load_config(file)) in owners:
                    raise UserError(
                        f"--made-again {folder}: is no model of trial {number}: {misnamed(config, told)}, {_AS_IT_WAS}"
                    )
            listed = ", ".join(map(str, sorted(runs)))
            raise UserError(
                f"--made-again {folder}: its model is of another configuration or seed than trial {listed}"
            )
        found[numbers[run]] = folder
    return found


def _refuse_other_epochs(
    again: Path, model: TrialModel, trial: Path, tasks: Sequence[str], told: Told
) -> None:
    """Refuse a model of another epoch than the scores are of, the trial's or those of the run that made it again.

    Raises:
        UserError: that run did not come to its end, or went on where the search stopped the trial.
    """
    chosen, own = _last_record(trial).get("chosen"), _last_record(again).get("chosen", {})
    if chosen is None:
        # Where each task chose its own epoch the journal has that of one: then the scores alone tell.
        known = told.epochs if model.config.checkpoint != "task" else None
        chosen = {"epoch": known[0]} if known else {}
    for task in tasks:
        scored = _epoch(chosen, task)
        trained = json.loads((model.folder(task) / "epoch.json").read_text(encoding="utf-8"))["epoch"]
        begun = f"--made-again {again}: its model for {task} is of epoch {trained}"
        if scored not in (None, trained):
            why = (
                "the search stopped it early, and this run went on: name another trial"
                if _stopped_early(trial, told)
                else "if this run was interrupted, give its command again"
            )
            raise UserError(f"{begun}, the scores of trial {model.number} are of epoch {scored}; {why}")
        if _epoch(own, task) != trained:
            raise UserError(
                f"{begun}, of which its history.jsonl has no scores; give the command of this run again"
            )


def _refuse_other_scores(again: Path, number: int, told: Told) -> None:
    """Refuse a model that does not score what the trial scored, as the same run elsewhere ends with other weights.

    Raises:
        UserError: it does not, or the journal has no scores.
    """
    if not told.scores:
        raise UserError(
            f"--made-again {again}: the journal has no scores of trial {number} to compare with: name another trial"
        )
    chosen = _last_record(again)["chosen"]
    whole_first = sorted(told.scores, key=lambda name: not name.endswith("/score"))
    for name in whole_first:
        half, task = name.split("/", 1)
        scored, found = told.scores[name], chosen.get(half, {}).get(task, math.nan)
        if not abs(found - scored) <= _ROUNDING:
            raise UserError(
                f"--made-again {again}: its model has {name} {found:.6f}, trial {number} has {scored:.6f}: it was trained on "
                "another kind of machine, or with other versions; train it where the study ran, or name another trial"
            )


def _epoch(chosen: Mapping[str, Any], task: str) -> int | None:
    """The epoch that counts for a task."""
    epoch: int | None = chosen.get("epochs", {}).get(task, chosen.get("epoch"))
    return epoch


def _stopped_early(trial: Path, told: Told) -> bool:
    """Whether a trial ended before the last epoch of its last stage."""
    config = load_config(trial / "config.yaml")
    if last := _last_record(trial):
        return bool(last["epoch"] < config.stages[last["stage"]].last_epoch)
    return told.epochs is not None and told.epochs[1] < config.running_stages()[-1][1].last_epoch


def _last_record(trial: Path) -> dict[str, Any]:
    """The last epoch that a trial's history tells; nothing of one that is damaged or not there."""
    try:
        records = read_json_lines(trial / "history.jsonl")
    except ValueError:
        return {}
    return records[-1] if records else {}
