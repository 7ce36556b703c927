"""A line before the process is ended from inside: nobody who does not read may keep it from its end."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

_SECONDS = 2.0


def say_last(line: str, stream: int = 2, before: Callable[[], object] = lambda: None) -> None:
    """Print a line, and return after a moment whether that was possible or not.

    Args:
        line: the line.
        stream: file descriptor where to.
        before: tidies up what is printed already.
    """

    def say() -> None:
        with suppress(
            OSError, RuntimeError, ValueError, AttributeError
        ):  # closed, or in the middle of a print
            before()
            sys.stdout.flush()
        with suppress(OSError):  # past the console: what it still holds back would end with the process
            os.write(stream, f"{line}\n".encode())

    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    speaker.join(_SECONDS)
