"""Who is told what happens in a search: the display of its progress, and who clears up after finished trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from trainables.studies.ledger import Issue


class Watcher:
    """Is told what happens in a search; this one does nothing with it."""

    def waits(self, issue: Issue) -> None:
        """A trial was asked for that may not start yet."""

    def issued(self, issue: Issue) -> None:
        """A trial was handed out."""

    def reported(self, issue: Issue, record: dict[str, Any]) -> None:
        """A trial finished an epoch."""

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        """A trial was closed; ``trial``: as it stands in the journal."""
