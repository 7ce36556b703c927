"""No beginning of a training is made by two trials at once: the second waits until the first has published it.

Waiting trials hold no slot. A trial that makes something and is given up makes way for the next one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minbert.stage_chain import StageEnd, stage_ends
from trainables.studies.watcher import Watcher

if TYPE_CHECKING:  # slow to import: optuna
    from optuna.trial import FrozenTrial

    from trainables.studies.ledger import Issue


class SingleFlight(Watcher):
    """Knows which running trial makes which stages.

    Args:
        published: whether the stage store holds a key.
    """

    def __init__(self, published: Callable[[str], bool]) -> None:
        self._published = published
        self._makers: dict[str, int] = {}
        self._made: dict[int, list[StageEnd]] = {}
        self._waiting: dict[int, list[StageEnd]] = {}

    def may_start(self, issue: Issue) -> bool:
        """Whether nothing that the trial would have to make is being made."""
        ends = self._waiting.get(issue.number) or stage_ends(issue.config)
        if not any(end.key in self._makers for end in ends):
            return True
        return not any(end.key in self._makers for end in self._missing(ends))

    def waits(self, issue: Issue) -> None:
        """A trial waits, and is asked about again and again."""
        self._waiting[issue.number] = stage_ends(issue.config)

    def issued(self, issue: Issue) -> None:
        """A trial was handed out: it makes what is missing."""
        ends = self._waiting.pop(issue.number, None) or stage_ends(issue.config)
        self._made[issue.number] = self._missing(ends)
        for end in self._made[issue.number]:
            self._makers[end.key] = issue.number

    def reported(self, issue: Issue, record: dict[str, Any]) -> None:
        """A trial has left an epoch behind: what it did not publish of it by now it never will."""
        at = record["stage"], record["epoch"]
        passed = [end for end in self._made.get(issue.number, ()) if (end.stage, math.ceil(end.epochs)) == at]
        self._release(issue.number, passed)

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        """A trial ended, however it did."""
        self._release(issue.number, self._made.pop(issue.number, []))

    def _release(self, number: int, ends: list[StageEnd]) -> None:
        for end in ends:
            if self._makers.get(end.key) == number:
                del self._makers[end.key]

    def _missing(self, ends: list[StageEnd]) -> list[StageEnd]:
        """What lies behind the last published state of each stage, in the order in which it would be made."""
        missing: list[StageEnd] = []
        for end in ends:
            if self._published(end.key):
                missing = [other for other in missing if other.stage != end.stage]
            else:
                missing.append(end)
        return missing
