"""What all command lines share: errors as one line, exit codes, quiet libraries."""

from __future__ import annotations

import argparse
import errno
import io
import itertools
import math
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from minbert.errors import UserError, cut, did_you_mean
from minbert.files.storage import failure, forbidden, told, why_refused
from minbert.loading import interrupts_raised
from minbert.remote.store_failures import Unreached
from minbert.remote.urls import is_url

STORAGE_ADVICE = (
    "what was finished is kept; bring the storage back or make room, and give the same command again"
)
MEMORY_ADVICE = (
    "what was finished is kept; make the data smaller or the machine larger, and give the same command again"
)
EXIT_USER, EXIT_FAILED, EXIT_INTERRUPTED = 2, 3, 130
_MOST = 10**9
_LONGEST_NAME = 255
"""Bytes of a file's name that every file system takes."""
_SHOWN = 60
_LONGEST_MESSAGE = 500
"""Characters of what argparse says, which repeats the argument."""
_CHOICE = re.compile(r"invalid choice: '?(.*?)'? \(choose from (.*)\)")


def run(main: Callable[[], int]) -> int:
    """Run a command line; a user's mistake becomes ``error: …`` on stderr and exit code 2."""
    warnings.filterwarnings("ignore")
    _print_whatever_comes()
    try:
        with interrupts_raised():
            code = main()
        if sys.stdout is not None:  # whoever started it may have closed it
            sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        _discard_output()
        return 0
    except Exception as error:
        return _in_one_line(error)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, as everywhere here, and name what may have been meant."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{cut(message, _LONGEST_MESSAGE)}{self._meant(message)} (see --help)")

    def _meant(self, message: str) -> str:
        """The nearest choice, or option, to the one that a message is about."""
        if choice := _CHOICE.search(message):
            return did_you_mean(choice[1], (name.strip(" '") for name in choice[2].split(",")))
        unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
        if not message.startswith("unrecognized") or not unknown:
            return ""
        actions = (each for each in self._actions if isinstance(each, argparse._SubParsersAction))
        commands = dict(itertools.chain.from_iterable(each.choices.items() for each in actions))
        takers = [name for name, parser in commands.items() if unknown[0] in parser._option_string_actions]
        if takers:
            return f"; only {', '.join(takers)} takes {unknown[0]}"
        return did_you_mean(
            unknown[0],
            (name for parser in (self, *commands.values()) for name in parser._option_string_actions),
        )


def whole_number(least: int, most: int = _MOST) -> Callable[[str], int]:
    """The type of an option that takes an integer from ``least`` to ``most``."""

    def read(text: str) -> int:
        try:
            plain = _plain(text)
            value = most + 1 if len(plain) > _SHOWN and plain.isdecimal() else int(plain)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{_cut(text)} is not a whole number of at least {least}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{_cut(text)} is too large: at most {most} is possible")
        return value

    return read


def number(least: float, allowed: bool, most: float = math.inf) -> Callable[[str], float]:
    """The type of an option that takes a finite number above ``least``, or ``least`` itself where allowed, up to ``most``."""

    def read(text: str) -> float:
        try:
            value = float(_plain(text))
        except ValueError:
            value = math.nan
        if not (least < value < math.inf or (allowed and value == least)):
            bound = f"of at least {least:g}" if allowed else f"above {least:g}"
            raise argparse.ArgumentTypeError(f"{_cut(text)} is not a number {bound}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{_cut(text)} is too large: at most {most:,.0f} is possible")
        return value

    return read


def folder(text: str) -> Path:
    """The type of an option that takes a folder, which need not exist yet."""
    place = local_path(text)
    there = next(each for each in (place.absolute(), *place.absolute().parents) if os.path.lexists(each))
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{_cut(text)} is not a folder")
    if not place.exists() and not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{_cut(text)} cannot be made: {there} may not be written")
    return place


def refuse_unwritable(out: Path, said: str) -> None:
    """Refuse a place for results in which nothing can be made, before any work is done for them.

    Args:
        out: a folder, which need not exist yet.
        said: how to call it.

    Raises:
        UserError: it is no folder, lies below a file, or may not be written.
    """
    there = next(each for each in (out.absolute(), *out.absolute().parents) if os.path.lexists(each))
    if not there.is_dir():
        which = "not a folder" if there == out.absolute() else f"cannot be written: {there} is not a folder"
        raise UserError(f"{said}: {which}")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise UserError(f"{said}: cannot be written: {why_refused(error, there)}") from None


def local_path(text: str) -> Path:
    """The type of an option that takes a path of this machine, and no URL."""
    return Path(not_a_url(text))


def not_a_url(text: str) -> str:
    """The type of an option that takes a path of this machine or a name, which stays as it was written."""
    if is_url(text):
        reason = "a path is needed here; a URL is possible for a study and for --stages alone"
        raise argparse.ArgumentTypeError(f"{_cut(text)}: {reason}")
    return nameable(text)


def nameable(text: str) -> str:
    """The type of an option that takes a path or a URL: all names on the way are text, and as short as file systems want."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: is a variable of the shell not set?")
    if text.startswith("~") and ("/" in text or text == "~"):
        reason = "~ is read by the shell alone, and not behind an =; write $HOME, or a blank instead of ="
        raise argparse.ArgumentTypeError(f"{_cut(text)}: {reason}")
    for name in text.split("/"):
        if name != name.encode(errors="replace").decode():
            raise argparse.ArgumentTypeError(
                f"{_cut(name)} is no text in UTF-8, which file names must be here"
            )
        if len(os.fsencode(name)) > _LONGEST_NAME:
            reason = f"has {len(os.fsencode(name))} bytes, and a file's name has at most {_LONGEST_NAME}"
            raise argparse.ArgumentTypeError(f"{_cut(name)} {reason}")
    return text


def _in_one_line(error: Exception) -> int:
    """Tell of a file system that refuses or fails, and return the exit code; what is no such thing is raised again."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        print(
            f"error: {_cut(str(error.filename))}: a name is too long; choose a shorter one", file=sys.stderr
        )
        return EXIT_USER
    if stored := failure(error):
        advice = stored.advice if isinstance(stored, Unreached) else STORAGE_ADVICE
        print(f"error: {told(stored)}; {advice}", file=sys.stderr)
        _discard_output()
        return EXIT_FAILED
    if refused := forbidden(error):
        print(f"error: {told(refused)}", file=sys.stderr)
        return EXIT_USER
    if isinstance(error, MemoryError):
        what = " ".join(str(error).split())
        print(f"error: out of memory{what and f': {what}'}; {MEMORY_ADVICE}", file=sys.stderr)
        return EXIT_FAILED
    raise error


def _print_whatever_comes() -> None:
    """Let a terminal that knows few characters show ``?`` for the others."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # tests put others in their place
            stream.reconfigure(errors="replace")


def _plain(text: str) -> str:
    """A text that int() and float() read as people do: they would take 1_0 for 10, and digits of all scripts."""
    return text if text.isascii() and "_" not in text else "?"


def _cut(text: str) -> str:
    """A text of the user's, cut to fit a message."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


def _discard_output() -> None:
    """Nobody takes our output: what is still to be written must not fail once more when the program ends."""
    if sys.stdout is None:
        return
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
