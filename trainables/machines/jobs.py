"""What a worker is told of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minbert.remote.urls import below, is_url
from minbert.time_limits import TimeLimits

if TYPE_CHECKING:  # slow to import: optuna
    from trainables.studies.ledger import Issue
    from trainables.studies.study import StudyFolder


@dataclass(frozen=True)
class Jobs:
    """Turns issued trials into configurations of a trainable.

    Attributes:
        folder: of the study.
        corpus, encoder: folders that every trial reads; of a study in an object store, in its working copy.
        stages: folder or URL of the stage store.
        stage_room: bytes that fetched stages may take on a worker.
        start: names this start of the driver.
        limits: how long a trial's steps and epochs may take.
        checkpoint_every: seconds after which a trial keeps its state inside an epoch, too; None: it does not.
        seen: files by which a worker knows the folders that all nodes share, by the option that names each folder.
    """

    folder: StudyFolder
    corpus: Path
    encoder: Path
    stages: str
    stage_room: float
    start: str
    limits: TimeLimits
    checkpoint_every: float | None
    seen: Mapping[str, str] = field(default_factory=dict)

    def job(self, issue: Issue) -> dict[str, Any]:
        """The configuration of the trainable that runs a trial."""
        return {
            "config": issue.config.model_dump(mode="json"),
            "url": self.folder.remote.url if self.folder.remote else None,
            "folder": self._place(self.folder.trial(issue.number)),
            "corpus": self._place(self.corpus),
            "encoder": self._place(self.encoder),
            "stages": self.stages,
            "stage_room": self.stage_room,
            "start": self.start,
            "limits": asdict(self.limits),
            "checkpoint_every": self.checkpoint_every,
            "ending": self.ending,
            "seen": tuple(self.seen.items()),
        }

    @property
    def ending(self) -> str:
        """Names this start's :class:`~trainables.machines.end_sign.EndSign`."""
        study = self.folder.remote.url if self.folder.remote else str(self.folder.path.absolute())
        return f"{study} {self.start}"

    def _place(self, path: Path) -> str:
        """Where a worker finds it: a path, or a name in the store."""
        return self.folder.remote.name_of(path) if self.folder.remote else str(path.absolute())


def stage_place(folder: StudyFolder, stages: Path | str | None) -> str:
    """Folder or URL of the stage store: the study's own, unless another one was named."""
    if stages is not None:
        return str(stages) if is_url(str(stages)) else str(Path(stages).absolute())
    return below(folder.remote.url, "stages") if folder.remote else str(folder.stages.absolute())
