"""What is printed, where nobody may read it any more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, NoReturn, TextIO

from rich.console import Console


class PlainConsole(Console):
    """A console that leaves a reader who went away to whoever prints; rich by itself would end the process with code 1."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


class LastingOutput:
    """A stream of text that work of hours does not end for: once it cannot be written any more, it goes nowhere.

    Args:
        stream: of a file or terminal.
        then: what happens all the same, for the line on stderr that tells of it; empty: nothing tells.
    """

    def __init__(self, stream: TextIO, then: str = "") -> None:
        self._stream, self._then = stream, then

    def write(self, text: str) -> int:
        """Write text; returns its length."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        if self._then:
            with suppress(OSError):
                print(
                    f"its output cannot be written any more ({error.strerror}); {self._then}", file=sys.stderr
                )


def outlast_readers(then: str) -> None:
    """Let this process go on when nobody takes its output any more.

    Args:
        then: what happens all the same, as ``the search goes on``.
    """
    if sys.stdout is not None:  # closed by whoever started it
        sys.stdout = LastingOutput(sys.stdout, then)  # type: ignore[assignment]
    if sys.stderr is not None:
        sys.stderr = LastingOutput(sys.stderr)  # type: ignore[assignment]
