"""A study's stage store keeps to a size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minbert.stage_chain import stage_ends
from minbert.stages import LocalStageStore
from trainables.studies.watcher import Watcher

if TYPE_CHECKING:  # slow to import: optuna
    from optuna.trial import FrozenTrial

    from trainables.studies.ledger import Issue

STAGE_ROOM = 50.0
"""GB of stages that are kept, unless the user says otherwise."""


class StageRoom(Watcher):
    """Removes what was not used for longest whenever a trial has ended or reported; running and waiting trials keep theirs.

    Args:
        store: the study's stages.
        room: bytes that they may take.
    """

    def __init__(self, store: LocalStageStore, room: float) -> None:
        self._store, self._room = store, room
        self._needed: dict[int, set[str]] = {}

    def waits(self, issue: Issue) -> None:
        self.issued(issue)

    def issued(self, issue: Issue) -> None:
        self._needed[issue.number] = {end.key for end in stage_ends(issue.config)}

    def reported(self, issue: Issue, record: dict[str, Any]) -> None:
        if record.get("final_stage"):  # the earlier stages are behind it
            self._needed.pop(issue.number, None)
            self._collect()

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        self._needed.pop(issue.number, None)
        self._collect()

    def _collect(self) -> None:
        self._store.collect(self._room, set().union(*self._needed.values()))
