"""Ctrl-C while the libraries of a command load, which takes seconds, and while Python ends: at once, without Python's lines."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MODULE = "-m"
"""Also what ``sys.argv[0]`` is as long as Python looks for the module to run, and imports the packages around it."""
_OURS = ("minbert", "trainables", "analysis")


def load_interruptibly() -> None:
    """Let Ctrl-C end this process silently until :func:`interrupts_raised`, where a command of ours is being started."""
    given = sys.orig_argv
    module = given[given.index(_MODULE) + 1] if _MODULE in given[:-1] else ""
    starts = sys.argv[:1] == [_MODULE] and module.partition(".")[0] in _OURS
    if starts and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Let Ctrl-C raise ``KeyboardInterrupt`` again; after that, what Python still does may be ended at any moment."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
