"""A line before the process is ended from inside: nobody who does not read may keep it from its end."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

_SECONDS = 1.0


def say_last(
    line: str,
    stream: int = 2,
    before: Callable[[], object] = lambda: None,
    after: Callable[[], object] = lambda: None,
) -> None:
    """Print a line, and return after moments whether that was possible or not.

    Args:
        line: the line.
        stream: file descriptor where to.
        before: tidies up what is printed already.
        after: tells it in further places.
    """

    def tidy() -> None:
        with suppress(
            OSError, RuntimeError, ValueError, AttributeError
        ):  # closed, or in the middle of a print
            before()
            sys.stdout.flush()

    def say() -> None:
        with suppress(OSError):  # past the console: what it still holds back would end with the process
            os.write(stream, f"{line}\n".encode())

    for step in (
        tidy,
        say,
        after,
    ):  # whoever was interrupted in a print keeps the first one waiting, not the second
        speaker = threading.Thread(target=step, daemon=True)
        speaker.start()
        speaker.join(_SECONDS)
