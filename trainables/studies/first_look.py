"""What a search refuses of its places before it begins; nothing is written there, so a dry run refuses the same."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

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
        refuse_other_stages(stages)
    if isinstance(stages, Path) and not stages.exists():
        refuse_unwritable(stages, f"--stages {stages}")
    if isinstance(study, Path):
        refuse_nested(study, option)
        refuse_unwritable(study, f"{option} {study}")


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
