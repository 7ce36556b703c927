"""Take a model out of a study: ``python -m trainables.export STUDY --trial best --to DIR``.

DIR loads with ``transformers.BertModel``, ``sentence_transformers.SentenceTransformer`` and
:mod:`minbert.exported`, and carries a card with its honest scores.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minbert.command_line import Parser, folder, local_path, run
from minbert.config import TrainConfig
from minbert.errors import UserError, did_you_mean
from minbert.exported_files import (
    CARD,
    MEMBERS,
    Answering,
    Manifest,
    Member,
    single,
    threshold,
    write_manifest,
    write_model,
)
from minbert.files.durable import publish_folder, write_text
from minbert.files.inside_study import refuse_search_folders
from minbert.files.sealed import seal_folder
from minbert.files.storage import failure
from minbert.loaded_model import LoadedModel
from trainables.exporting.constant_answers import constant_tasks
from trainables.exporting.exported_models import Told, TrialModel, find_models
from trainables.exporting.model_card import Card, card_text

if TYPE_CHECKING:
    from analysis.model_choice import ModelChoice, Which
    from analysis.study import Study

_DIGITS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Raises:
        UserError: the study, the trial or ``--to`` cannot be used.
    """
    from analysis.model_choice import choose_model  # noqa: PLC0415 - slow, and not needed for --help
    from analysis.provenance import data_name, encoder_name  # noqa: PLC0415
    from analysis.study import load  # noqa: PLC0415

    options = _parser().parse_args(arguments)
    _refuse_used(options.to)
    study = load(options.study)
    choice = choose_model(study, options.trial)
    models = find_models(study.path, _told(study, choice), tuple(study.tasks), options.made_again)
    names = {"data": data_name(study), "encoder": encoder_name(study)}
    models = {number: _without_paths(model, names) for number, model in models.items()}
    constant = constant_tasks(study, choice.members)
    _publish(options.to, study.name, choice, models, constant)
    so_far = f"the study is not finished ({choice.unfinished})" if choice.unfinished else ""
    for line in filter(None, [so_far, *study.damage]):
        print(f"warning: {line}", file=sys.stderr)
    for model in models.values():
        if model.remark:
            print(f"warning: trial {model.number}: {model.remark}", file=sys.stderr)
    _print_result(options.to, choice, models, constant)
    return 0


def _told(study: Study, choice: ModelChoice) -> dict[int, Told]:
    """What the journal tells of the members."""
    wanted = sorted({number for weights in choice.members.values() for number in weights})
    metrics = study.trials.set_index("number")[study.metric_columns].to_dict("index")
    scores = {
        number: {str(name): value for name, value in metrics[number].items() if math.isfinite(value)}
        for number in wanted
    }
    return {
        number: Told(study.run_names[number], scores[number], choice.epochs.get(number)) for number in wanted
    }


def _without_paths(model: TrialModel, names: Mapping[str, str]) -> TrialModel:
    """Data and encoder by their names and fingerprints: where they lay is nobody else's."""
    sources = {
        name: getattr(model.config, name).model_copy(update={"path": shown}) for name, shown in names.items()
    }
    return TrialModel(model.number, model.config.model_copy(update=sources), model.best, model.remark)


def _publish(
    target: Path,
    study: str,
    choice: ModelChoice,
    models: Mapping[int, TrialModel],
    constant: Sequence[str],
) -> None:
    """Write everything beside the target, see that it loads, and put it there whole.

    Raises:
        UserError: it cannot be written, or somebody else has put something there.
    """
    taken = []

    def stays() -> bool:
        taken.append(target)
        return True

    target = target.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with publish_folder(target, stays=stays) as temporary:
            members = _write(temporary, study, choice, models)
            write_text(temporary / CARD, card_text(_card(choice, models, members, constant)))
    except OSError as error:
        if failure(error):
            raise
        raise UserError(
            f"--to {target}: cannot be written: {error.filename2 or error.filename}: {error.strerror or error}"
        ) from None
    if taken:
        raise UserError(f"--to {target}: there is something already; name a new or an empty folder")


def _write(
    folder: Path, study: str, choice: ModelChoice, models: Mapping[int, TrialModel]
) -> dict[str, dict[str, float]]:
    """Write one model, or several with what they have to do; returns the members' weights by task, of one none."""
    if len(models) == 1:
        (model,) = models.values()
        if model.config.checkpoint != "task":
            _write_one(folder, model, next(iter(choice.members)), study)
            return {}
    tasks: dict[str, Answering] = {}
    for task, weights in choice.members.items():
        members = []
        for number, weight in weights.items():
            name = models[number].name(task)
            place = folder / MEMBERS / name
            if not place.exists():
                place.mkdir(parents=True)
                _write_one(place, models[number], task, study)
                seal_folder(place)
            members.append(Member(folder=f"{MEMBERS}/{name}", weight=weight))
        first = models[next(iter(weights))]
        tasks[task] = Answering(members=tuple(members), threshold=threshold(first.config, task))
    write_manifest(folder, Manifest(study=study, trials=tuple(sorted(models)), tasks=tasks))
    return {task: {member.folder: member.weight for member in one.members} for task, one in tasks.items()}


def _write_one(folder: Path, model: TrialModel, task: str, study: str) -> None:
    write_model(folder, model.folder(task), model.config, single(model.config, study, model.number))
    LoadedModel(folder)  # what cannot be used is not published


def _card(
    choice: ModelChoice,
    models: Mapping[int, TrialModel],
    members: Mapping[str, Mapping[str, float]],
    constant: Sequence[str],
) -> Card:
    configs: dict[int, TrainConfig] = {number: model.config for number, model in sorted(models.items())}
    scores = choice.scores
    return Card(
        title=choice.title,
        warning=choice.warning,
        told=[*choice.told, *(_so_far(choice))],
        facts=choice.facts,
        scores=[list(scores.columns), *scores.to_numpy().tolist()],
        configs=configs,
        settings=choice.settings,
        epochs=choice.epochs,
        members=members,
        remarks=[
            *(f"{task}: every dev example gets the same answer." for task in constant),
            *(f"Trial {model.number}: {model.remark}." for model in models.values() if model.remark),
        ],
    )


def _so_far(choice: ModelChoice) -> list[str]:
    told = f"When it was exported, the study was not finished ({choice.unfinished})."
    return [told] if choice.unfinished else []


def _refuse_used(to: Path) -> None:
    """Refuse a target that holds something, or that is a study's own.

    Raises:
        UserError: it does.
    """
    try:
        used = to.exists() and any(to.iterdir())
    except OSError as error:
        raise UserError(f"--to {to}: {error.strerror}") from None
    if used:
        raise UserError(f"--to {to}: there is something already; name a new or an empty folder")
    refuse_search_folders(to, f"--to {to}")


def _print_result(
    to: Path, choice: ModelChoice, models: Mapping[int, TrialModel], constant: Sequence[str]
) -> None:
    from analysis.model_choice import INTERVAL  # noqa: PLC0415

    print(f"{choice.title}: {to}")
    for row in choice.scores.to_dict("records"):
        alike = "; constant answer" if row["task"] in constant else ""
        print(f"  {row['task']}: report {row['report']} ({row[INTERVAL]}){alike}")
    if (to / MEMBERS).is_dir():
        print(
            f"several models: transformers and sentence-transformers load each of {to / MEMBERS}, not the whole"
        )
    (config, *_) = (model.config for model in models.values())
    task = next((name for name, own in config.tasks.items() if len(own.text) == 2), next(iter(config.tasks)))
    texts = ["A sentence .", "Another one ."][: len(config.tasks[task].text)]
    print(f"try: {shlex.join(['python', '-m', 'minbert.predict', str(to), '--task', task, *texts])}")


def _which(text: str) -> Which:
    if text in ("best", "ensemble"):
        return text  # type: ignore[return-value]
    if text.isascii() and text.isdigit() and len(text) < _DIGITS:
        return int(text)
    hint = did_you_mean(text, ("best", "ensemble"))
    raise argparse.ArgumentTypeError(
        f"{text[:40]!r}: best, ensemble or the number of a trial is needed{hint}"
    )


def _parser() -> Parser:
    parser = Parser(
        prog="python -m trainables.export",
        description="Take a model out of a study: a folder for transformers, sentence-transformers and minbert.predict.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "study", metavar="STUDY", type=local_path, help="the study folder, such as results/full_ablation"
    )
    parser.add_argument(
        "--trial",
        type=_which,
        default="best",
        metavar="best|N|ensemble",
        help="the trial with the best select score, one by its number, or the report's ensemble (default: best)",
    )
    parser.add_argument("--to", type=folder, required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--made-again",
        type=local_path,
        action="append",
        default=[],
        metavar="DIR",
        help="what python -m minbert.train made of the config.yaml of a trial whose model was not kept; repeatable",
    )
    return parser


if __name__ == "__main__":
    sys.exit(run(main))
