"""What a process's time goes to, by part."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stopwatch:
    """Seconds by what they went to, of this process's CPU time and of the clock; a part in another one is no part of that.

    Attributes:
        cpu, wall: seconds by part.
    """

    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    wall: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _inside: list[str] = field(default_factory=list)
    _since: tuple[float, float] = (0.0, 0.0)

    @contextmanager
    def counting(self, part: str) -> Iterator[None]:
        """Count for a part what is computed in here."""
        self._turn()
        self._inside.append(part)
        try:
            yield
        finally:
            self._turn()
            self._inside.pop()

    @contextmanager
    def watching(self, owner: type, method: str, part: str) -> Iterator[None]:
        """Count all calls of a method."""
        original = getattr(owner, method)

        @functools.wraps(original)
        def counted(*arguments: Any, **named: Any) -> Any:
            with self.counting(part):
                return original(*arguments, **named)

        setattr(owner, method, counted)
        try:
            yield
        finally:
            setattr(owner, method, original)

    def _turn(self) -> None:
        now = time.process_time(), time.perf_counter()
        if self._inside:
            self.cpu[self._inside[-1]] += now[0] - self._since[0]
            self.wall[self._inside[-1]] += now[1] - self._since[1]
        self._since = now
