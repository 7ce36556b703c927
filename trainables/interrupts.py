"""What Ctrl-C and SIGTERM do to a search."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rich.console import Console

from minbert.command_line import EXIT_INTERRUPTED

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """The first signal asks for an end, which takes seconds; the next one ends at once.

    Args:
        console: where to say so.
        command: the command line that continues the study.

    Attributes:
        asked: whether an end was asked for.
    """

    def __init__(self, console: Console, command: str) -> None:
        self._console, self._command = console, command
        self._trials_run = False
        self.asked = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take signals while the study's folder is held."""
        previous = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            self.take_signals()
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def take_signals(self) -> None:
        """Take signals, once more after Ray has put handlers of its own in place."""
        for number in _SIGNALS:
            signal.signal(number, self._take)

    @contextmanager
    def waiting_for_trials(self) -> Iterator[None]:
        """What is in here looks at ``asked`` and comes to an end by itself."""
        self._trials_run = True
        try:
            yield
        finally:
            self._trials_run = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self._end_at_once()
        self.asked = True
        if not self._trials_run:
            self._say(f"continue with: {self._command}")
            raise KeyboardInterrupt
        self._say("Ending; finished epochs are kept. Ctrl-C again ends at once.")

    def _end_at_once(self) -> None:
        """Without any cleaning up, which may take long: files are whole at every moment, Ray's processes end too."""
        with suppress(OSError, RuntimeError):  # what this interrupted may be printing itself
            self._console.show_cursor()
            sys.stdout.flush()
        with suppress(OSError):  # past the console: what it still holds back would end with the process
            os.write(sys.stdout.fileno(), f"ended at once; continue with: {self._command}\n".encode())
        os._exit(EXIT_INTERRUPTED)

    def _say(self, text: str) -> None:
        with suppress(OSError):  # whoever read the output may be gone
            self._console.print(text, markup=False, highlight=False)
