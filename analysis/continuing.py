"""The command that continues a study, from where the study lies now: it may have been moved or copied since it ran."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from minbert.remote.urls import is_url
from minbert.remote.working_copy import cache_folder

_SEARCH = ["python", "-m", "trainables.search"]


def continuing(folder: Path, command: str) -> str:
    """A study's stored command, which works on the folder that the study lies in, wherever that was taken.

    Args:
        folder: of the study.
        command: that study.yaml has.

    Returns:
        The stored one where it works on this folder, is no search's, or is of a study in an object store; one that names no
        folder works on one that lies where a search puts it, results/SPACE.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    if words[:3] != _SEARCH or cache_folder() in folder.absolute().parents:
        return command
    place = _option(words, "--fork") or _option(words, "--study")
    if place and (is_url(place) or os.path.realpath(place) == os.path.realpath(folder)):
        return command
    if not place and _lies_where_searches_put_it(folder, _option(words, "--space")):
        return command
    return shlex.join([*_without(words, ("--fork", "--study")), "--study", str(folder)])


def _lies_where_searches_put_it(folder: Path, space: str) -> bool:
    name = Path(space).stem if space.endswith((".yaml", ".yml")) else space
    home = ("results", *name.split("/"))
    return folder.absolute().parts[-len(home) :] == home


def _option(words: Sequence[str], option: str) -> str:
    """The value of an option, the last one if it stands there twice; empty where it does not."""
    values = [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
    values += [value for word, value in pairwise(words) if word == option]
    return values[-1] if values else ""


def _without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """The words but these options and their values."""
    kept = list[str]()
    following = iter(words)
    for word in following:
        if word in options:
            next(following, None)
        elif not word.startswith(tuple(f"{option}=" for option in options)):
            kept.append(word)
    return kept
