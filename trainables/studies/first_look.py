"""What a search refuses of its places before it begins; nothing is written there, so a dry run refuses the same."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from minbert.command_line import refuse_unwritable
from minbert.errors import UserError
from minbert.files.inside_study import refuse_nested
from trainables.studies.places import refuse_other_stages
from trainables.studies.remote_study import STUDY, RemoteStudy
from trainables.studies.study import origin_note, refuse_another_study
from trainables.studies.study_difference import Spec


def refuse_places(study: Path | RemoteStudy, stages: Path | str | None, option: str) -> None:
    """Refuse places in which nothing can be made, or that hold something else.

    Args:
        study: its folder, or the study in an object store.
        stages: the stage store; None: the study's own.
        option: of the command line that names the study.

    Raises:
        UserError: one of them is such a place.
        OSError: an object store is away.
    """
    if stages:
        _refuse_around_each_other(study, stages, option)
        refuse_other_stages(stages)
    if isinstance(stages, Path) and not stages.exists():
        refuse_unwritable(stages, f"--stages {stages}")
    if isinstance(study, Path):
        refuse_nested(study, option)
        refuse_unwritable(study, f"{option} {study}")


def _refuse_around_each_other(study: Path | RemoteStudy, stages: Path | str, option: str) -> None:
    """Refuse a stage store that is the study, holds it, or lies in it elsewhere than the study's own: the next start would find
    there what is not its own."""
    where = study if isinstance(study, Path) else study.url
    if isinstance(where, Path) != isinstance(stages, Path):
        return
    at, own = _location(stages), _location(where)
    if at != own / "stages" and (at == own or at in own.parents or own in at.parents):
        raise UserError(
            f"--stages {stages}: must be apart from {option} {where}; without --stages they lie in the study's folder stages"
        )


def _location(place: Path | str) -> PurePath:
    """A folder, wherever links lead, or bucket and path of a URL."""
    if isinstance(place, Path):
        return PurePath(os.path.realpath(place))
    parts = urlsplit(place)
    return PurePath(parts.netloc + parts.path)


def refuse_other_study(study: Path | RemoteStudy, wanted: Spec) -> None:
    """Refuse a study that the command line does not describe; a search looks again once it holds the study.

    Args:
        study: its folder, or the study in an object store.
        wanted: its :func:`trainables.studies.study.identity`.

    Raises:
        UserError: as :func:`trainables.studies.study.refuse_another_study`.
    """
    if isinstance(study, Path):
        origin_note(study, refuse_another_study(study, wanted))
        return
    content = study.store.read(STUDY)
    if content is None:
        study.refuse_other_objects()
        return
    with TemporaryDirectory() as folder:
        (Path(folder) / STUDY).write_bytes(content)
        try:
            refuse_another_study(Path(folder), wanted)
        except UserError as error:
            raise UserError(str(error).replace(folder, study.url)) from None
