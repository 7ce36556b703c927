"""Options of a run that change nothing about its results; training one trial and searching share them."""

from __future__ import annotations

import argparse

from minbert.command_line import number
from minbert.time_limits import TimeLimits

STEP_SECONDS, EPOCH_SECONDS = 30 * 60, 24 * 3600
"""What no healthy step or epoch takes: trials that hang are to end, slow ones are not."""
CHECKPOINT_SECONDS = 10 * 60
"""What a killed trial may lose; a checkpoint takes seconds."""


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--checkpoint-every``, ``--step-timeout`` and ``--epoch-timeout``."""
    parser.add_argument(
        "--checkpoint-every",
        type=number(0, allowed=True),
        default=CHECKPOINT_SECONDS,
        metavar="SECONDS",
        help="keep a trial's state so often inside an epoch, and at its end; 0: after every step "
        f"(default: {CHECKPOINT_SECONDS})",
    )
    parser.add_argument(
        "--step-timeout",
        type=number(0, allowed=True),
        default=STEP_SECONDS,
        metavar="SECONDS",
        help=f"a trial fails where a step takes longer; 0: no limit (default: {STEP_SECONDS})",
    )
    parser.add_argument(
        "--epoch-timeout",
        type=number(0, allowed=True),
        default=EPOCH_SECONDS,
        metavar="SECONDS",
        help=f"the same for an epoch with its evaluation (default: {EPOCH_SECONDS})",
    )


def time_limits(arguments: argparse.Namespace) -> TimeLimits:
    """The limits that were asked for."""
    return TimeLimits(arguments.step_timeout or None, arguments.epoch_timeout or None)
