"""Train one configuration without Ray: ``python -m minbert.train --config FILE --out DIR``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from minbert.canonical import canonical
from minbert.command_line import EXIT_FAILED, EXIT_INTERRUPTED, Parser, local_path, not_a_url, run
from minbert.config import TrainConfig
from minbert.corpora.texts import texts_needed
from minbert.corpora.tokenised import open_tokenised, tokenised
from minbert.data_checks import check_data
from minbert.devices import pin
from minbert.dotted import leaves
from minbert.errors import Interrupted, TrainingFailure, UserError
from minbert.files.durable import Held
from minbert.files.inside_study import refuse_search_folders
from minbert.files.storage import failure
from minbert.files.strangers import refuse_other_kinds, refuse_strangers
from minbert.history import Record, summarise
from minbert.idle import idle_leaves, reason
from minbert.interrupts import Interrupts
from minbert.run_options import add_run_options, time_limits
from minbert.sources import Sources, resolve
from minbert.stages import LocalStageStore
from minbert.terminal import outlast_readers
from minbert.trial import Materials, Trial
from minbert.yaml_reader import load_config, read_yaml

_PATIENCE_SECONDS = 1
"""For a run that was killed just now to let go of its folder."""
_FILES, _FOLDERS = (
    ("config.yaml", "history.jsonl", ".lock"),
    ("checkpoint", "best", "predictions", "corpus", "stages"),
)


def main() -> int:
    """Parse the command line, train, print one line an epoch and the best epoch's metrics."""
    arguments = _parser().parse_args()
    outlast_readers("training goes on")
    config = load_config(arguments.config)
    refuse_idle_leaves(arguments.config, config)
    stored = _stored(arguments.out)
    data = arguments.data or config.data.path
    encoder = arguments.encoder or config.encoder.path
    default_data = os.environ.get("MINBERT_DATA")
    sources = resolve(data, encoder, config.tasks, default_data, texts_needed(config))
    config = pin(with_sources(_pinned_as(config, stored), sources), sources.encoder.config)
    if sources.data_bundled and data == "auto":
        print(sources.notice())
    for note in filter(None, (*sources.corpus.notes, sources.encoder.note)):
        print(note)
    check_data([config], sources)
    trial = _open_trial(config, stored, sources, arguments)
    records: list[Record] = []
    command = shlex.join(["python", "-m", "minbert.train", *sys.argv[1:]])
    interrupts = Interrupts(command)
    trial.asked_to_end = lambda: interrupts.asked
    trial.patience = _PATIENCE_SECONDS
    try:
        with interrupts.watched(), interrupts.heeded():
            for record in trial.run():
                records.append(record)
                print(describe(record), flush=True)
    except Held as held:
        raise UserError(f"--out {arguments.out}: in use by another run ({held.owner})") from None
    except Interrupted:
        print(f"continue with: {command}")
        return EXIT_INTERRUPTED
    except TrainingFailure as failure:
        print(f"failed ({failure.cause}): {failure}", file=sys.stderr)
        return EXIT_FAILED
    _print_result(records, arguments.out)
    return 0


def refuse_idle_leaves(file: Path, config: TrainConfig) -> None:
    """Refuse settings that nothing comes of, but not in the record of a run, which holds every leaf.

    Raises:
        UserError: the first of them.
    """
    document = read_yaml(file)
    for path in () if config.data.fingerprint else idle_leaves(leaves(document.data), [config]):
        raise UserError(f"{document.where(path)}: {path} has no effect here: {reason(path, [config])}")


def with_sources(config: TrainConfig, sources: Sources) -> TrainConfig:
    """Name data, the texts that the stages read, and the encoder by path and fingerprint.

    Raises:
        UserError: the configuration was pinned to another content.
    """
    found = {
        "data": (sources.corpus.path, sources.corpus.fingerprint),
        "encoder": (sources.encoder.folder, sources.encoder.fingerprint),
    }
    update = {}
    for name, (path, fingerprint) in found.items():
        source = getattr(config, name)
        if source.fingerprint and source.fingerprint != fingerprint:
            raise UserError(
                f"--{name} {path}: its fingerprint is {fingerprint}, but the configuration was made for "
                f"{source.fingerprint} ({source.path})"
            )
        update[name] = source.model_copy(update={"path": str(path), "fingerprint": fingerprint})
    update["data"] = update["data"].model_copy(update={"texts": _text_fingerprints(config, sources)})
    return config.model_copy(update=update)


def describe(record: Record) -> str:
    """One epoch as one line."""
    place = f"{record['stage']} epoch {record['epoch']}"
    if record.get("shared"):
        return f"{place}: taken from the stage store"
    losses = " ".join(f"{task} {loss:.3f}" for task, loss in record["train_loss"].items())
    line = f"{place}: loss {losses}, {record['train_seconds']:.1f} s"
    if "dev" in record:
        scores = " ".join(f"{name} {value:.3f}" for name, value in record["dev"].items())
        line += f" | dev {scores}"
    return line


def _text_fingerprints(config: TrainConfig, sources: Sources) -> dict[str, str]:
    found = {name: sources.corpus.texts[name].fingerprint for name in texts_needed(config)}
    for name, fingerprint in found.items():
        pinned = config.data.texts.get(name, fingerprint)
        if pinned != fingerprint:
            raise UserError(
                f"--data {sources.corpus.path}: the fingerprint of its {name!r} is {fingerprint}, but the "
                f"configuration was made for {pinned} ({config.data.path})"
            )
    return found


def _stored(out: Path) -> TrainConfig | None:
    """The configuration of the run that a folder holds."""
    if _is_a_trials(out):
        raise UserError(f"--out {out}: is the folder of a study's trial; choose another folder")
    refuse_search_folders(out, f"--out {out}")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: not a folder")
    refuse_other_kinds(out, _FILES, _FOLDERS, "a run", "choose another --out")
    if (out / "config.yaml").is_file():
        refuse_strangers(out)
        return load_config(out / "config.yaml")
    try:
        strangers = [path.name for path in out.iterdir() if not _is_of_a_start(path)]
    except OSError:
        return None  # it does not exist yet, or making it will say what is wrong
    if strangers:
        raise UserError(f"--out {out}: holds {strangers[0]!r} and no run; choose a new or empty folder")
    refuse_strangers(out)
    return None


def _is_a_trials(out: Path) -> bool:
    """Whether a folder is that of a study's trial, whose journal would not know what is trained there."""
    trials = out.absolute().parent
    return (out / "attempts").exists() or (
        trials.name == "trials" and (trials.parent / "study.yaml").exists()
    )


def _is_of_a_start(path: Path) -> bool:
    """Whether something in a run's folder is written before its configuration is."""
    return path.name in ("corpus", "stages") or path.match(".config.yaml.*.tmp")


def _pinned_as(config: TrainConfig, stored: TrainConfig | None) -> TrainConfig:
    """What the run to be continued found for ``auto``: precision is timed, and may come out otherwise now."""
    if stored is None:
        return config
    automatic = [name for name in ("device", "precision", "threads") if getattr(config, name) == "auto"]
    return config.model_copy(update={name: getattr(stored, name) for name in automatic})


def _open_trial(
    config: TrainConfig, stored: TrainConfig | None, sources: Sources, arguments: argparse.Namespace
) -> Trial:
    out: Path = arguments.out
    if stored is not None and (canonical(stored), stored.seed) != (canonical(config), config.seed):
        raise UserError(f"--out {out}: holds a run of another configuration; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        corpus = open_tokenised(tokenised(sources.corpus, config.tasks, sources.encoder, out / "corpus"))
        materials = Materials(
            corpus, sources.encoder, sources.encoder.weights(), LocalStageStore(out / "stages")
        )
        return Trial(config, materials, out, time_limits(arguments), arguments.checkpoint_every)
    except OSError as error:
        if failure(error):
            raise
        raise UserError(f"--out {out}: cannot be written: {error.strerror or error}") from None


def _print_result(records: list[Record], out: Path) -> None:
    summary = summarise(records)
    print(f"best epoch {summary.best_epoch} of {summary.epochs} (chosen on the select examples):")
    for part in ("select", "report", "dev"):
        scores = " ".join(
            f"{name.split('/')[1]} {value:.4f}"
            for name, value in summary.metrics.items()
            if name.startswith(part)
        )
        print(f"  {part:6s} {scores}")
    print(f"model, predictions and history: {out}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m minbert.train", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--config",
        type=local_path,
        required=True,
        help="YAML file: a TrainConfig, or a part of one",
    )
    parser.add_argument(
        "--out",
        type=local_path,
        required=True,
        help="folder of the run; an interrupted run is continued",
    )
    parser.add_argument("--data", type=not_a_url, help="data folder (default: the configuration's)")
    parser.add_argument(
        "--encoder", type=not_a_url, help="checkpoint folder or hub id (default: the configuration's)"
    )
    add_run_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(run(main))
