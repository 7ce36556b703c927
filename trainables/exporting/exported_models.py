"""The models that are taken out of a study: where each lies, and that it is what the trial trained."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert.config import TrainConfig
from minbert.errors import UserError
from minbert.files.durable import read_json_lines
from minbert.files.sealed import damage, owner
from minbert.files.strangers import refuse_irregular_below
from minbert.yaml_reader import load_config
from trainables.studies.kept_models import made_again, repeating
from trainables.studies.trial_config import misnamed

_NAME_IT = "and name it with --made-again DIR"


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
    study: Path, runs: Mapping[int, str], tasks: Sequence[str], again: Iterable[Path] = ()
) -> dict[int, TrialModel]:
    """The models of trials, by number.

    Args:
        study: its folder.
        runs: configuration and seed of each trial, as its files name them.
        tasks: the study's tasks.
        again: folders of runs that trained dropped models again.

    Raises:
        UserError: a model was not kept, is damaged, or belongs to another run.
    """
    places = _made_again(again, runs)
    trials = study / "trials"
    best = {number: places.get(number, trials / f"{number:05d}") / "best" for number in runs}
    if gone := [number for number, folder in best.items() if not folder.is_dir()]:
        if not (config_file := trials / f"{gone[0]:05d}" / "config.yaml").exists():
            raise UserError(
                f"{config_file}: is gone, and the trial's model is: bring its folder back from a copy, or name another trial"
            )
        if stopped := [number for number in gone if _stopped_early(trials / f"{number:05d}")]:
            raise UserError(
                f"{study}: model was not kept: trial {stopped[0]}, which was stopped early: name another trial; "
                "--keep keeps more models, or all"
            )
        several = "s were" if len(gone) > 1 else " was"
        raise UserError(f"{study}: model{several} not kept: trial {made_again(study, gone)} {_NAME_IT}")
    found = {}
    for number, run in runs.items():
        config = load_config(trials / f"{number:05d}" / "config.yaml")
        if missing := [task for task in tasks if task not in config.tasks]:
            raise UserError(
                f"{trials / f'{number:05d}' / 'config.yaml'}: damaged: lacks the task {missing[0]}"
            )
        model = TrialModel(number, config, best[number], misnamed(config, run))
        for folder in dict.fromkeys(model.folder(task) for task in tasks):
            refuse_irregular_below(folder)
            if damaged := damage(folder, of=run):
                command = f"{repeating(study, number)} {_NAME_IT}"
                raise UserError(f"{folder}: damaged: {damaged}; make it again: {command}")
        if number in places:
            _refuse_other_epochs(places[number], model, trials / f"{number:05d}", tasks)
        found[number] = model
    return found


def _made_again(folders: Iterable[Path], runs: Mapping[int, str]) -> dict[int, Path]:
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
            listed = ", ".join(map(str, sorted(runs)))
            raise UserError(
                f"--made-again {folder}: its model is of another configuration or seed than trial {listed}"
            )
        found[numbers[run]] = folder
    return found


def _refuse_other_epochs(again: Path, model: TrialModel, trial: Path, tasks: Sequence[str]) -> None:
    """Refuse a model of another epoch than the trial's scores and stored predictions are of.

    Raises:
        UserError: the run that made it again did not come to its end, or went on where the search stopped the trial.
    """
    chosen = _last_record(trial).get("chosen", {})
    for task in tasks:
        scored = chosen.get("epochs", {}).get(task, chosen.get("epoch"))
        trained = json.loads((model.folder(task) / "epoch.json").read_text(encoding="utf-8"))["epoch"]
        if scored not in (None, trained):
            why = (
                "the search stopped it early, and this run went on: name another trial"
                if _stopped_early(trial)
                else "if this run was interrupted, give its command again"
            )
            raise UserError(
                f"--made-again {again}: its model for {task} is of epoch {trained}, the scores of trial {model.number} "
                f"are of epoch {scored}; {why}"
            )


def _stopped_early(trial: Path) -> bool:
    """Whether a trial ended before the last epoch of its last stage."""
    last = _last_record(trial)
    return bool(last) and last["epoch"] < load_config(trial / "config.yaml").stages[last["stage"]].last_epoch


def _last_record(trial: Path) -> dict[str, Any]:
    """The last epoch that a trial's history tells; nothing of one that is damaged or not there."""
    try:
        records = read_json_lines(trial / "history.jsonl")
    except ValueError:
        return {}
    return records[-1] if records else {}
