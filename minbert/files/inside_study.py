"""Paths that lie in the folder of a study or run, where that may remove or replace what others put."""

from __future__ import annotations

import os
from pathlib import Path

from minbert.errors import UserError

_OF_A_RUN = ("stages", "corpus", "checkpoint", "best", "predictions")
"""Folders of a run that training writes."""
_OF_THE_SEARCH = ("trials", "stages", "corpus", "tune", "set_aside", "encoder", "tensorboard")
"""Folders of a study that the search writes."""


def refuse_search_folders(place: Path, said: str) -> None:
    """Refuse a place for results in a folder that a search, or a run outside one, writes.

    Args:
        place: a file or a folder, which need not exist yet.
        said: how to call it.

    Raises:
        UserError: it is, or lies in, such a folder.
    """
    whole = Path(os.path.realpath(place))
    for folder in (whole, *whole.parents):
        if folder.name in _OF_THE_SEARCH and (folder.parent / "study.yaml").is_file():
            raise UserError(f"{said}: {folder} holds what the search writes; name another folder")
        if folder.name in _OF_A_RUN and (folder.parent / "history.jsonl").is_file():
            raise UserError(f"{said}: {folder} holds what a run writes; name another folder")


def refuse_nested(study: Path, option: str) -> None:
    """Refuse a new study inside of another one's folder.

    Raises:
        UserError: it would lie there.
    """
    around = (folder for folder in Path(os.path.realpath(study)).parents if (folder / "study.yaml").is_file())
    if not (study / "study.yaml").is_file() and (other := next(around, None)):
        raise UserError(f"{option} {study}: lies in the study {other}: choose a folder apart from it")
