"""The options of ``python -m trainables.search``."""

from __future__ import annotations

import argparse
import os

from minbert.command_line import Parser, folder, nameable, number, whole_number
from minbert.errors import UserError
from minbert.run_options import add_run_options
from trainables.chosen_space import DESIGNS
from trainables.kept_models import KEPT_MODELS, kept_count
from trainables.spaces import available_spaces
from trainables.stage_room import STAGE_ROOM


def search_parser(description: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m trainables.search``."""
    parser = Parser(prog="python -m trainables.search", description=description, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--space",
        required=True,
        help="name of a packaged space or path of a .yaml; " + ", ".join(available_spaces()),
    )
    add(
        "--design",
        choices=DESIGNS,
        help="how to search the space, if not as its file says: its search section is then left out",
    )
    add(
        "--around",
        type=nameable,
        metavar="STUDY",
        help="change one factor at a time from the best configuration of a study (--design one_factor)",
    )
    add(
        "--study",
        type=nameable,
        help="study folder (default: results/<space>; with --design or --around a name of its own)",
    )
    add(
        "--fork",
        type=nameable,
        metavar="NEW",
        help="begin another study in the folder NEW with what still holds of the one in --study, which stays as it is",
    )
    add(
        "--data",
        type=nameable,
        default="auto",
        help="data folder (default: $MINBERT_DATA, ./data, or the bundled corpus)",
    )
    add(
        "--encoder",
        type=nameable,
        default="auto",
        help="checkpoint folder or hub id (default: bundled, or bert-base-uncased)",
    )
    add("--trials", type=whole_number(1), help="runs in all, replicates counted (default: the space's)")
    add(
        "--replicates",
        type=whole_number(1),
        help="runs of each configuration with other seeds (default: the space's)",
    )
    add(
        "--max-concurrent",
        type=whole_number(1),
        metavar="N",
        help="trials at a time (default: as many as fit)",
    )
    add("--cpus-per-trial", type=whole_number(1), metavar="N", help="default: 1")
    add(
        "--gpus-per-trial",
        type=number(0, allowed=True),
        metavar="SHARE",
        help="0.25, 1, 2 …; default: 1 where there is a GPU",
    )
    add(
        "--time-budget",
        type=number(0, allowed=False),
        metavar="SECONDS",
        help="end this start after so long; continue later",
    )
    add_run_options(parser)
    add(
        "--keep",
        type=kept_count,
        default=KEPT_MODELS,
        metavar="N|all",
        help="trials that keep their model: the best N, and those that no other beats in every task; 0: none "
        f"(default: {KEPT_MODELS})",
    )
    add(
        "--seed",
        type=whole_number(0, 2**63 - 1),
        help="of the study; every replicate's seed comes from it (default: 0; with --around another than STUDY's)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="set a leaf for all trials; repeatable",
    )
    add(
        "--stages",
        type=folder,
        metavar="DIR",
        help="stages that trials share, also of several studies (default: stages/ of the study)",
    )
    add(
        "--stage-room",
        type=number(0, allowed=True),
        default=STAGE_ROOM,
        metavar="GB",
        help=f"keep so much of them; what was not used for longest goes (default: {STAGE_ROOM:g})",
    )
    add("--address", help="of a running Ray cluster (default: $RAY_ADDRESS, or a private local one)")
    add("--dry-run", action="store_true", help="check everything and show what would run; write nothing")
    return parser


def gpus_per_trial(arguments: argparse.Namespace) -> float | None:
    text = os.environ.get("MINBERT_GPUS_PER_TRIAL")
    if arguments.gpus_per_trial is not None or text is None:
        return arguments.gpus_per_trial  # type: ignore[no-any-return]
    try:
        return float(text)
    except ValueError:
        raise UserError(f"MINBERT_GPUS_PER_TRIAL {text!r}: a number is needed, such as 0.25 or 1") from None
