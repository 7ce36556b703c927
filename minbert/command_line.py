"""What all command lines share: errors as one line, exit codes, quiet libraries."""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from minbert.errors import UserError
from minbert.storage import is_of_storage, told

STORAGE_ADVICE = (
    "what was finished is kept; bring the storage back or make room, and give the same command again"
)
EXIT_USER, EXIT_FAILED, EXIT_INTERRUPTED = 2, 3, 130


def run(main: Callable[[], int]) -> int:
    """Run a command line; a user's mistake becomes ``error: …`` on stderr and exit code 2."""
    warnings.filterwarnings("ignore")
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        return 0
    except OSError as error:
        if not is_of_storage(error):
            raise
        print(f"error: {told(error)}; {STORAGE_ADVICE}", file=sys.stderr)
        return EXIT_FAILED


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, as everywhere here."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def whole_number(least: int) -> Callable[[str], int]:
    """The type of an option that takes an integer of at least ``least``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return value

    return read


def number(least: float, allowed: bool) -> Callable[[str], float]:
    """The type of an option that takes a finite number above ``least``, or ``least`` itself where allowed."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least < value < math.inf or (allowed and value == least)):
            bound = f"of at least {least:g}" if allowed else f"above {least:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {bound}")
        return value

    return read


def folder(text: str) -> Path:
    """The type of an option that takes a folder, which need not exist yet."""
    path = Path(text)
    if not text or (path.exists() and not path.is_dir()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path
