"""What takes longer the larger a study is may take a share of the time at most: it is done again when that allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class TimeShare:
    """Says when something may be done again.

    Args:
        share: of the time that it may take.
        rest: seconds that at least lie between an end and the next beginning.
        clock: tells seconds.
    """

    def __init__(self, share: float, rest: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._share, self._rest, self._clock = share, rest, clock
        self._again = -float("inf")

    @property
    def due(self) -> bool:
        """Whether it may be done; it was never done, or long enough ago."""
        return self._clock() >= self._again

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Do it, and note how long it takes."""
        begin = self._clock()
        yield
        now = self._clock()
        self._again = now + max(self._rest, (now - begin) / self._share)
