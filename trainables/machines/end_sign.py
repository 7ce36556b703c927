"""The end of a search, told to its workers through Ray: that reaches every machine at once, whatever storage does."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ray.experimental import internal_kv

_NAMESPACE = "minbert"
_SECONDS_BETWEEN_LOOKS = 0.5


class EndSign:
    """Something small in the cluster's head, which asks all trials of one start of a search to end.

    Args:
        name: of that start, as no other start of any search on the cluster has it.
    """

    def __init__(self, name: str) -> None:
        self._key = hashlib.sha256(name.encode()).hexdigest()

    def give(self) -> None:
        """Ask all trials to keep what they have done and end."""
        with suppress(Exception):  # a cluster that is gone has nobody to tell
            internal_kv._internal_kv_put(self._key, b"end", namespace=_NAMESPACE)

    def withdraw(self) -> None:
        """Leave nothing behind."""
        with suppress(Exception):
            internal_kv._internal_kv_del(self._key, namespace=_NAMESPACE)

    def is_given(self) -> bool:
        """Whether the search ends; a head that does not answer, and no cluster at all, tell nothing."""
        with suppress(Exception):
            return bool(
                internal_kv._internal_kv_initialized()
                and internal_kv._internal_kv_exists(self._key, namespace=_NAMESPACE)
            )
        return False

    @contextmanager
    def watched(self) -> Iterator[Callable[[], bool]]:
        """Look for it in a thread of its own; yields what gives the last answer, which takes no time."""
        over, given = threading.Event(), threading.Event()

        def look() -> None:
            while not given.is_set() and not over.wait(_SECONDS_BETWEEN_LOOKS):
                if self.is_given():
                    given.set()

        if self.is_given():
            given.set()
        threading.Thread(target=look, name="looks for the end", daemon=True).start()
        try:
            yield given.is_set
        finally:
            over.set()
