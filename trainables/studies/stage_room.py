"""A study's stage store keeps to a size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from minbert.stage_chain import stage_ends
from minbert.stages import LocalStageStore
from trainables.studies.time_share import TimeShare
from trainables.studies.watcher import Watcher

if TYPE_CHECKING:  # slow to import: optuna
    from optuna.trial import FrozenTrial

    from trainables.studies.ledger import Issue

STAGE_ROOM = 50.0
"""GB of stages that are kept, unless the user says otherwise."""
_LEFT_OVER = 0.9
"""What is left of the room's stages when it is too small: some less than it holds, or each trial would look through all."""
_PATIENCE_SECONDS, _SHARE = 60.0, 0.01
"""After so long, and taking no more than this share of the time, the store is looked through for what others put there."""


class StageRoom(Watcher):
    """Removes what was not used for longest when stages take more than their room; running and waiting trials keep theirs.

    The stages of trials that report or end are counted one by one: a store of thousands is seldom looked through.

    Args:
        store: the study's stages.
        room: bytes that they may take.
    """

    def __init__(self, store: LocalStageStore, room: float) -> None:
        self._store, self._room = store, room
        self._needed: dict[int, set[str]] = {}
        self._sizes: dict[str, int] = {}
        self._taken = 0
        self._looking = TimeShare(_SHARE, _PATIENCE_SECONDS)

    def waits(self, issue: Issue) -> None:
        self.issued(issue)

    def issued(self, issue: Issue) -> None:
        self._needed[issue.number] = {end.key for end in stage_ends(issue.config)}

    def reported(self, issue: Issue, record: dict[str, Any]) -> None:
        if record.get("final_stage"):  # the earlier stages are behind it
            self._leave(issue)

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        self._leave(issue)

    def _leave(self, issue: Issue) -> None:
        left = self._needed.pop(issue.number, set())
        if self._looking.due:
            self._look()
        self._count(left)
        if self._taken > self._room:
            self._store.collect(_LEFT_OVER * self._room, set().union(*self._needed.values()))
            self._look()

    def _count(self, keys: Iterable[str]) -> None:
        new = {key: size for key in keys if key not in self._sizes and (size := self._store.size(key))}
        self._sizes.update(new)
        self._taken += sum(new.values())

    def _look(self) -> None:
        with self._looking.taken():
            self._sizes = self._store.sizes()
        self._taken = sum(self._sizes.values())
