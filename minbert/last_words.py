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

    # Past the console: what it still holds back would end with the process. Whoever was interrupted in a print keeps
    # the first step waiting, not the second.
    for step in (
        lambda: (before(), sys.stdout.flush()),
        lambda: os.write(stream, f"{line}\n".encode()),
        after,
    ):
        speaker = threading.Thread(target=_try, args=(step,), daemon=True)
        with suppress(RuntimeError):  # no thread can be had: better said with a risk than not
            speaker.start()
        if speaker.ident is None:
            _try(step)
        else:
            speaker.join(_SECONDS)


def _try(step: Callable[[], object]) -> None:
    with suppress(Exception):  # a stream that is closed, or in the middle of a print; storage that is away
        step()
