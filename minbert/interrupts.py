"""What Ctrl-C and SIGTERM do to a run and to a search."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from minbert.command_line import EXIT_FAILED, EXIT_INTERRUPTED
from minbert.last_words import say_last

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """The first signal asks for an end, which takes seconds; the next one ends at once.

    Args:
        command: the command line that continues what is ended.
        say: prints a line.
        tidy: is called before the process ends at once.

    Attributes:
        asked: whether an end was asked for.
    """

    def __init__(
        self,
        command: str,
        say: Callable[[str], None] = lambda text: print(text, flush=True),
        tidy: Callable[[], object] = lambda: None,
    ) -> None:
        self._command, self._print, self._tidy = command, say, tidy
        self._heeded = False
        self.asked = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take signals while a folder is held."""
        previous = {number: signal.getsignal(number) for number in _SIGNALS}
        hook = sys.unraisablehook
        try:
            sys.unraisablehook = lambda ignored: None if self._is_ours(ignored) else hook(ignored)
            self.take_signals()
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            sys.unraisablehook = hook

    def _is_ours(self, ignored: sys.UnraisableHookArgs) -> bool:
        """Whether a signal came inside a destructor, out of which nothing can be raised; who looks at ``asked`` ends later."""
        return self.asked and ignored.exc_type is KeyboardInterrupt

    def take_signals(self) -> None:
        """Take signals, once more after Ray has put handlers of its own in place."""
        for number in _SIGNALS:
            signal.signal(number, self._take)

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """What is in here looks at ``asked`` and comes to an end by itself."""
        self._heeded = True
        try:
            yield
        finally:
            self._heeded = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self._end_at_once()
        self.asked = True
        if not self._heeded:
            self._say(f"continue with: {self._command}")
            raise KeyboardInterrupt
        self._say("Ending; what was done is kept. Ctrl-C again ends at once.")

    def _end_at_once(self) -> None:
        """Without any cleaning up, which may take long: files are whole at every moment, Ray's processes end too."""
        try:
            say_last(f"ended at once; continue with: {self._command}", 1, self._tidy)
        finally:
            os._exit(EXIT_INTERRUPTED)

    def give_up(self, reason: str, further: Callable[[], object] = lambda: None) -> None:
        """End at once, from any thread, for something that nothing in this process can mend.

        Args:
            reason: what it is.
            further: tells others of it, if it takes no longer than a moment.
        """
        try:
            say_last(f"error: {reason}; continue with: {self._command}", 2, self._tidy, further)
        finally:
            os._exit(EXIT_FAILED)

    def _say(self, text: str) -> None:
        with suppress(
            OSError, RuntimeError
        ):  # whoever read the output may be gone, or be in the middle of it
            self._print(text)
