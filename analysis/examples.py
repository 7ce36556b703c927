"""A trial's dev examples: texts, labels and what was predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.scoring import Floats
from analysis.study import Study
from minbert.bundled import CORPUS, ENCODER
from minbert.config import TrainConfig
from minbert.corpora.reader import Corpus, read_corpus
from minbert.errors import UserError
from minbert.measures import predicted_classes
from minbert.yaml_reader import load_config


def read_texts(study: Study, number: int, folder: Path | None = None) -> Corpus:
    """Read the texts that a trial was trained on and scored on.

    Args:
        number: the trial, whose configuration tells which columns hold the texts.
        folder: where the data are now; by default where they were, or the bundled ones of this installation.

    Raises:
        UserError: the folder is gone, its content is not what the study was run on, or the configuration is damaged.
    """
    data = study.meta.get("data")
    data = data if isinstance(data, dict) else {}
    path = folder or (CORPUS if data.get("bundled") else Path(str(data.get("path", ""))))
    if not path.is_dir():
        raise UserError(
            f"{path}: the study's data folder is gone, and the study holds no texts; name a copy with --data"
        )
    corpus = read_corpus(path, _config(study, number).tasks)
    if corpus.fingerprint != data.get("fingerprint"):
        raise UserError(
            f"{path}: these are not the data that the study was run on (fingerprint {corpus.fingerprint}, "
            f"the study's is {data.get('fingerprint')}); name a copy of them with --data"
        )
    return corpus


def encoder_folder(study: Study) -> Path:
    """Where the study's encoder was, or the bundled one of this installation; it may be gone."""
    encoder = study.meta.get("encoder")
    encoder = encoder if isinstance(encoder, dict) else {}
    return ENCODER if encoder.get("bundled") else Path(str(encoder.get("path", "")))


def dev_examples(study: Study, number: int, task: str, corpus: Corpus) -> pd.DataFrame:
    """One row a dev example of a task, in the file's order: the columns of :func:`judged` and text_0 (, text_1).

    Raises:
        UserError: the trial has no stored predictions, or they are of other examples.
    """
    stored = study.predictions(task, [number])
    frame = stored[(stored["split"] == "dev") & stored["label"].notna()].reset_index(drop=True)
    file = study.predictions_file(number, task)
    if file in study.damaged:
        raise UserError(f"{file}: {study.damaged[file]}")
    if frame.empty:
        raise UserError(f"{study.path}: trial {number} has no stored predictions for {task}")
    examples = corpus.splits[task]["dev"]
    if frame["id"].tolist() != list(examples.ids):
        raise UserError(f"{file}: its examples are not those of {corpus.path}")
    texts = {f"text_{place}": list(column) for place, column in enumerate(examples.texts)}
    return judged(frame, study.tasks[task].kind).assign(**texts)


def readable_examples(
    study: Study, number: int, corpus: Corpus
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """:func:`dev_examples` by task, and by task why those of the others cannot be read."""
    found: dict[str, pd.DataFrame] = {}
    missing: dict[str, str] = {}
    for task in study.tasks:
        try:
            found[task] = dev_examples(study, number, task, corpus)
        except UserError as error:
            missing[task] = str(error)
    return found, missing


def judged(predictions: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Stored predictions with what they say: id, half, label, predicted, value, error, mistake, doubt.

    ``predicted`` is the class, or the number of a regression; ``value`` the expected class, the
    probability of class 1 or the number; ``error`` is value − label, so above 0 where too high;
    ``mistake`` is 1 for a wrong class, 0 for the right one, of a regression the error's size;
    ``doubt`` tells how wrong: 1 − the probability of the label, or the error's size.
    """
    columns = sorted(
        (name for name in predictions if str(name).startswith("output_")),
        key=lambda name: int(str(name).removeprefix("output_")),
    )
    outputs = predictions[columns].to_numpy(np.float64)
    labels = predictions["label"].to_numpy(np.float64)
    value, predicted, doubt = _reading(kind, outputs, labels)
    mistake = doubt if kind == "regression" else (predicted != labels).astype(np.float64)
    found = predictions[["id", "half", "label"]].copy()
    return found.assign(predicted=predicted, value=value, error=value - labels, mistake=mistake, doubt=doubt)


def _config(study: Study, number: int) -> TrainConfig:
    """A trial's configuration; a damaged one is then named in ``Study.damaged``."""
    file = study.config_file(number)
    try:
        return load_config(file)
    except UserError:
        if file.exists():
            study.damaged.setdefault(file, "is no configuration")
        raise


def _reading(kind: str, outputs: Floats, labels: Floats) -> tuple[Floats, Floats, Floats]:
    """Value, predicted and doubt, (examples,) each."""
    if kind == "regression":
        value = outputs[:, 0]
        return value, value, np.abs(value - labels)
    if kind == "binary":
        value = outputs[:, 0]
        return value, predicted_classes("binary", outputs).astype(np.float64), np.abs(value - labels)
    of_label = outputs[np.arange(len(labels)), labels.astype(np.int64)]
    value = outputs @ np.arange(outputs.shape[1])
    return value, predicted_classes("classification", outputs).astype(np.float64), 1 - of_label
