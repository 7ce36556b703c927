"""What options may name: a folder, or a URL of an object store."""

from __future__ import annotations

import re
from pathlib import Path

from minbert.command_line import folder, nameable
from minbert.errors import UserError
from minbert.remote.mirrored_stages import refuse_other_objects
from minbert.remote.object_store import check_reachable, open_store
from minbert.remote.urls import below, is_url
from minbert.stages import refuse_other_folder


def study_place(given: str | None, results: str, name: str) -> str:
    """Folder or URL of a study: the one that was given, or else one of a name among the results."""
    place = given or (below(results, name) if is_url(results) else str(Path(results) / name))
    _refuse_half_a_url(place, "--study" if given else "MINBERT_RESULTS")
    return place


def folder_or_url(text: str) -> str | Path:
    """The type of an option that takes a folder, which need not exist yet, or a URL."""
    _refuse_half_a_url(text, "--stages")
    return nameable(text) if is_url(text) else folder(text)


def refuse_other_stages(place: str | Path) -> None:
    """Refuse a stage store that holds something else.

    Raises:
        UserError: it does, or is a URL that cannot be used.
        OSError: its store is away.
    """
    if isinstance(place, Path):
        refuse_other_folder(place, "--stages")
        return
    store = open_store(place, "--stages")
    check_reachable(store, "--stages")
    refuse_other_objects(store, "--stages")


def refuse_urls(study: str, fork: str, stages: str | Path | None) -> None:
    """Refuse to fork from or into an object store.

    Raises:
        UserError: one of them is a URL.
    """
    for option, place in (("--study", study), ("--fork", fork), ("--stages", str(stages or ""))):
        if is_url(place):
            raise UserError(
                f"{option} {place}: --fork takes over from a folder into a folder; copy the study from the store first"
            )


def _refuse_half_a_url(place: str, option: str) -> None:
    if half := re.match(r"(?i)(s3|file)(:(?!//)|//)/*", place):
        raise UserError(f"{option} {place}: did you mean {half[1].lower()}://{place[half.end() :]}?")
