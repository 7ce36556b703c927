"""Ctrl-C while the libraries of a command load, which takes seconds, and while Python ends: at once, without Python's lines."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_WHILE_LOCATING = "-m"
"""What ``sys.argv[0]`` is as long as ``python -m`` looks for the module to run, and imports the packages around it."""


def load_interruptibly() -> None:
    """Let Ctrl-C end this process silently until :func:`interrupts_raised`, where a command of ours is being started."""
    if sys.argv[:1] == [_WHILE_LOCATING] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
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
