"""When a search ends, and for how long it waits for what its trials then keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from ray import tune

from trainables.running.searcher import LedgerSearcher, LeftOutOfSnapshots

PATIENCE_SECONDS = 60.0
"""What a trial has for the step that it is in and for its checkpoint, on a disk."""
SENDING_SECONDS = 300.0
"""The same where the checkpoint, of a gigabyte or more, is then sent to an object store."""
_SILENT_SECONDS = 10.0
_RUNNING = "RUNNING"  # Tune's word for a trial that a worker has begun


class EndOfSearch(LeftOutOfSnapshots, tune.Stopper):
    """Ends the whole search, for whatever cause; running trials keep their state for the next start first.

    They end by themselves once they are told, so nothing is cut off; one that takes too long is.

    Args:
        searcher: hands out no more trials from then on; where storage failed it, it asks for the end itself.
        due: whether it is time to end.
        tell: lets all workers know.
        say: prints a line for the user.
        patience: seconds that running trials have to end.
    """

    def __init__(
        self,
        searcher: LedgerSearcher,
        due: Callable[[], bool],
        tell: Callable[[], None],
        say: Callable[[str], None],
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._searcher, self._due, self._tell, self._say = searcher, due, tell, say
        self._patience, self._told, self._said = patience, 0.0, False
        self._running = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def look(self, trials: Iterable[Any]) -> None:
        """Count Tune's trials that have not ended yet."""
        if self._searcher.closing:
            self._running = sum(trial.status == _RUNNING for trial in trials)

    def stop_all(self) -> bool:
        """Whether nothing is waited for any more; whoever still runs is then ended."""
        if self._searcher.closing:
            return self._waited_enough()
        if self._due() or self._searcher.storage_failure:
            self._searcher.closing, self._told = True, time.monotonic()
            self._tell()
        return False

    def _waited_enough(self) -> bool:
        if not self._running:
            return True
        waited = time.monotonic() - self._told
        trials = f"{self._running} trial{'s' * (self._running > 1)}"
        if waited >= self._patience:
            self._say(f"{trials} took too long and will go on from the last checkpoint")
            return True
        if waited >= _SILENT_SECONDS and not self._said:
            self._said = True
            self._say(
                f"waiting for {trials} to keep what was done, for {self._patience - waited:.0f} s at most"
            )
        return False
