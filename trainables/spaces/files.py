"""Where the files of search spaces lie, and what a file says together with those that it extends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from minbert.config import TrainConfig
from minbert.errors import UserError, nearest_first
from minbert.misplaced import belongs
from minbert.yaml_reader import Document, read_yaml, shorten
from trainables.spaces.settings import SearchSettings
from trainables.spaces.trees import overlay

FOLDER = Path(__file__).resolve().parents[2] / "search_spaces"
"""Where the packaged spaces lie: beside the installed package, wherever the command runs."""

KEYS = ("description", "extends", "search", "paper", "runs", "claims", *TrainConfig.model_fields)
"""What may stand at the top of a space file."""


def available_spaces() -> list[str]:
    """Names of the packaged spaces."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))


def locate(name_or_path: str, origin: str = "", beside: Path | None = None) -> tuple[Path, str]:
    """Find the file of a space and its name.

    Args:
        name_or_path: of a packaged space its name, else a path that ends in ``.yaml``.
        origin: start of the message when there is none.
        beside: the folder that a relative path starts from.

    Raises:
        UserError: there is no packaged space of this name.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        path = (beside or Path()) / name_or_path
        packaged = str(Path(name_or_path).with_suffix(""))
        if packaged in available_spaces() and not os.path.lexists(path):
            raise UserError(f"{origin}there is no file {path}; did you mean the packaged space {packaged!r}?")
        return path, path.stem
    names = available_spaces()
    if name_or_path not in names:
        meant = f"{name_or_path}.yaml"
        if ((beside or Path()) / meant).is_file():
            raise UserError(
                f"{origin}there is no search space {name_or_path!r}; did you mean the file {meant!r}?"
            )
        spaces = nearest_first(name_or_path, names, "the spaces are")
        raise UserError(
            f"{origin}there is no search space {name_or_path!r}{spaces}; a file is given by its path with .yaml"
        )
    return FOLDER / f"{name_or_path}.yaml", name_or_path


def read_layers(path: Path, readers: tuple[Path, ...] = ()) -> tuple[dict[str, Any], list[Document]]:
    """Read a file and what it extends: the content laid over each other, and the documents, nearest first.

    Raises:
        UserError: a file is missing or not YAML, has an unknown key, or extends itself.
    """
    document = read_yaml(path)
    tree = dict(document.data)
    for key in tree:
        if key not in KEYS:
            hint = belongs(key, (f"search.{name}" for name in SearchSettings.model_fields))
            message = f"unknown key {key!r}{nearest_first(key, KEYS, 'the keys here are', hint)}"
            raise UserError(f"{document.where(key)}: {message}")
    below = tree.pop("extends", None)
    if below is None:
        return tree, [document]
    origin = f"{document.where('extends')}: extends: "
    if not isinstance(below, str):
        raise UserError(f"{origin}{shorten(below)} is not the name or path of a space")
    readers = (*readers, path.resolve())
    extended, _ = locate(below, origin, path.parent)
    if extended.resolve() in readers:
        raise UserError(f"{origin}{below} extends this file itself")
    if not extended.is_file():
        raise UserError(f"{origin}there is no file {extended}")
    under, documents = read_layers(extended, readers)
    under.pop("description", None)
    return overlay(under, tree), [document, *documents]
