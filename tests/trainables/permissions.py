"""Permissions of files for tests that root runs, too, whom they do not stop otherwise."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3 of linux/capability.h
_PASS_OVER_PERMISSIONS = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextmanager
def held_to_permissions() -> Iterator[None]:
    """Let this thread, and those that it starts, read and write only what the modes of files allow their owner."""
    if os.geteuid():
        yield
        return
    before = _capabilities()
    _set_capabilities([before[0] & ~_PASS_OVER_PERMISSIONS, *before[1:]])
    try:
        yield
    finally:
        _set_capabilities(before)


def _capabilities() -> list[int]:
    """The thread's: effective, permitted and inheritable ones, the lower half and the upper half."""
    content = (ctypes.c_uint32 * 6)()
    _call("capget", content)
    return list(content)


def _set_capabilities(wanted: list[int]) -> None:
    _call("capset", (ctypes.c_uint32 * 6)(*wanted))


def _call(name: str, content: ctypes.Array[ctypes.c_uint32]) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)((ctypes.c_uint32 * 2)(_VERSION, 0), content):
        raise OSError(ctypes.get_errno(), name)
