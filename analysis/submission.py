"""An ensemble's files: its members, and its predictions as the course wants them handed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from analysis.description import TaskInfo
from analysis.scoring import Floats
from analysis.study import Study
from minbert.command_line import refuse_unwritable
from minbert.errors import UserError
from minbert.files.durable import publish_folder
from minbert.files.inside_study import refuse_search_folders
from minbert.files.leftovers import clear_abandoned_of
from minbert.files.storage import why_refused
from minbert.measures import predicted_classes

_NAMES = {
    "sst": ("sst", "Predicted_Sentiment"),
    "qqp": ("para", "Predicted_Is_Paraphrase"),
    "sts": ("sts", "Predicted_Similiary"),
}
"""The course's own names and spelling; another task goes by its own name."""

Members = Mapping[str, Mapping[int, float]]
"""Task → trial number → weight."""


def with_test_rows(predictions: pd.DataFrame) -> tuple[pd.DataFrame, list[int]]:
    """Leave out trials without test predictions where others have them, as their ensemble could not be
    handed in; returns the rest and the numbers of those left out."""
    tested = predictions.loc[predictions["split"] == "test", "number"].unique()
    if not len(tested):
        return predictions, []
    keep = predictions["number"].isin(tested)
    return predictions[keep], sorted(int(number) for number in predictions.loc[~keep, "number"].unique())


def blend(predictions: pd.DataFrame, members: Mapping[int, float], split: str) -> tuple[list[str], Floats]:
    """Average the members' outputs for a split; returns its ids in the file's order and (examples, outputs).

    Both are empty where nothing is stored for the split.

    Raises:
        UserError: the members predicted different examples, or one has no predictions for the split.
    """
    rows = predictions[predictions["split"] == split]
    columns = sorted((name for name in rows if str(name).startswith("output_")), key=_place)
    ids: list[str] = []
    total = np.zeros((0, len(columns)))
    for number, weight in members.items() if len(rows) else ():
        own = rows[rows["number"] == number]
        if not ids:
            ids, total = own["id"].tolist(), np.zeros((len(own), len(columns)))
        if own.empty or own["id"].tolist() != ids:
            raise UserError(
                f"trial {number} did not predict the same {split} examples as trial {next(iter(members))}"
            )
        total += weight * own[columns].to_numpy(np.float64)
    return ids, total


def submission_text(task: str, kind: str, ids: list[str], values: Floats) -> str:
    """A submission file: its header and a row an example, a class as an integer, a similarity as a number.

    ``values`` (examples, outputs) are probabilities or scores.
    """
    column = _names(task)[1]
    cells = (
        [f"{value:.6f}" for value in values[:, 0]]
        if kind == "regression"
        else [str(int(found)) for found in _classes(kind, values)]
    )
    rows = [f"{one} , {cell} \n" for one, cell in zip(ids, cells, strict=True)]
    return "".join([f"id \t {column} \n", *rows])


def submissions(
    predictions: Mapping[str, pd.DataFrame], members: Members, tasks: Mapping[str, TaskInfo]
) -> dict[str, str]:
    """The submission files of every task for dev and test, where predictions for them exist: path → text."""
    return {
        f"predictions/{_names(task)[0]}-{split}-output.csv": submission_text(
            task, tasks[task].kind, ids, values
        )
        for task, split, ids, values in _blends(predictions, members)
        if ids
    }


def members_text(study: Study, method: str, members: Members) -> str:
    """YAML: the study's folder, the method, and for every task its members' trial numbers, weights and folders."""
    listed = {
        task: [
            {
                "trial": number,
                "weight": round(weight, 10),
                "folder": str(study.trial_folder(number).relative_to(study.path)),
            }
            for number, weight in weights.items()
        ]
        for task, weights in members.items()
    }
    content: dict[str, Any] = {"study": str(study.path.absolute()), "method": method, "members": listed}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def refuse_used(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        UserError: ``out`` is a file, a folder that is not empty, or one that cannot be made or written.
    """
    try:
        used = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise UserError(f"--out {out}: {why_refused(error, out)}") from None
    if used:
        raise UserError(f"--out {out}: there is something already; name a new or an empty folder")
    refuse_search_folders(out, f"--out {out}")
    refuse_unwritable(out, f"--out {out}")


def publish(out: Path, files: Mapping[str, str]) -> None:
    """Write files, path → text, into a new or empty folder: all of them or none.

    Raises:
        UserError: they cannot be written.
    """
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        clear_abandoned_of(out.absolute())
        with publish_folder(out.absolute(), sealed=False) as folder:
            for name, text in files.items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {why_refused(error, out)}") from None


def _blends(
    predictions: Mapping[str, pd.DataFrame], members: Members
) -> Iterator[tuple[str, str, list[str], Floats]]:
    for task, weights in members.items():
        for split in ("dev", "test"):
            yield task, split, *blend(predictions[task], weights, split)


def _classes(kind: str, values: Floats) -> np.ndarray:
    assert kind in ("classification", "binary")
    return predicted_classes("binary" if kind == "binary" else "classification", values)


def _names(task: str) -> tuple[str, str]:
    return _NAMES.get(task, (task, f"Predicted_{task}"))


def _place(name: object) -> int:
    return int(str(name).removeprefix("output_"))
