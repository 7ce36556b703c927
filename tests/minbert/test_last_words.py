"""A process that ends from inside says why where anybody reads it, and ends where nobody does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
END = "import os, sys, threading\nfrom minbert.last_words import say_last\n{first}\nsay_last('why')\nos._exit(3)"
FILL = """
os.set_blocking({0}, False)
try:
    while True:
        os.write({0}, bytes(4096))
except BlockingIOError:
    os.set_blocking({0}, True)
"""
"""Leaves no room in a pipe that nobody reads."""
STUCK = FILL.format(1) + "threading.Thread(target=print, args=('x' * 99999,), daemon=True).start()"


def start(first: str) -> subprocess.Popen[bytes]:
    """A process that does something first and then says its last words."""
    command = [sys.executable, "-c", END.format(first=first)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes)


@pytest.mark.parametrize("redirected", ["os.dup2(1, 2)", "os.dup2(2, 1)"])
def test_what_is_said_last_follows_what_was_printed(redirected: str) -> None:
    with start(f"{redirected}; print('before', end=' ')") as process:
        assert b"".join(process.communicate(timeout=60)) == b"before why\n"


def test_what_is_to_be_told_elsewhere_is_told_whatever_fails_before() -> None:
    fails, tells = "before=lambda: 1 / 0", "after=lambda: os.write(1, b'elsewhere')"
    said = f"say_last = __import__('functools').partial(say_last, {fails}, {tells})"
    for first in (said, f"{said}; os.close(2)"):
        with start(first) as process:
            assert process.communicate(timeout=60)[0] == b"elsewhere"


def test_a_print_that_hangs_does_not_silence_it() -> None:
    with start(STUCK) as process:
        try:
            assert process.wait(60) == 3
            assert process.stderr is not None and process.stderr.read() == b"why\n"
        finally:
            process.kill()


def test_it_is_said_where_no_more_threads_can_be_had() -> None:
    refused = "threading.Thread.start = lambda self: (_ for _ in ()).throw(RuntimeError('no more threads'))"
    with start(refused) as process:
        assert process.communicate(timeout=60)[1] == b"why\n"


def test_whoever_holds_the_console_does_not_silence_it() -> None:
    held = "lock = threading.RLock(); lock.acquire()"
    said = "say_last = __import__('functools').partial(say_last, before=lock.acquire)"
    with start(f"{held}; {said}") as process:
        assert process.communicate(timeout=60)[1] == b"why\n"


@pytest.mark.parametrize(
    "first",
    [
        "os.close(2)",
        "os.close(1); os.close(2)",
        "sys.stdout.close()",
        "sys.stdout = None",
        FILL.format(2),
    ],
    ids=["no stderr", "no streams", "stdout closed", "no stdout", "stderr full"],
)
def test_nobody_who_does_not_read_keeps_a_process_from_its_end(first: str) -> None:
    with start(first) as process:
        try:
            assert process.wait(60) == 3
        finally:
            process.kill()
