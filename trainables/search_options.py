"""The options of ``python -m trainables.search``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from minbert.command_line import Parser, nameable, not_a_url, number, whole_number
from minbert.config import MOST_THREADS
from minbert.errors import UserError
from minbert.run_options import add_run_options
from trainables.chosen_space import DESIGNS
from trainables.machines.placement import AUTO, Asked, check_gpus
from trainables.spaces.space import available_spaces
from trainables.studies.kept_models import KEPT_MODELS, kept_count
from trainables.studies.places import folder_or_url
from trainables.studies.stage_room import STAGE_ROOM


def search_parser(description: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m trainables.search``."""
    parser = Parser(prog="python -m trainables.search", description=description, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--space",
        type=not_a_url,
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
        help="study: a folder, or a URL such as s3://bucket/folder (default: results/<space>; with --design or --around a name of its own)",
    )
    add(
        "--continue",
        dest="only_continue",
        action="store_true",
        help="go on with a study that is there, and begin none: a disk that is not mounted looks like an empty folder",
    )
    add(
        "--fork",
        type=nameable,
        metavar="NEW",
        help="begin another study in the folder NEW with what still holds of the one in --study, which stays as it is",
    )
    add(
        "--data",
        type=not_a_url,
        default="auto",
        help="data folder (default: $MINBERT_DATA, ./data, or the bundled corpus)",
    )
    add(
        "--encoder",
        type=not_a_url,
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
    add("--cpus-per-trial", type=whole_number(1, MOST_THREADS), metavar="N", help="default: 1")
    add(
        "--gpus-per-trial",
        type=_gpus,
        metavar="SHARE",
        help="0.25, 1, or auto: as many trials on a GPU as fit and pay; default: 1 where there is a GPU",
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
        type=folder_or_url,
        metavar="DIR|URL",
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
    add(
        "--json",
        action="store_true",
        help="events for scripts on stdout, a line of JSON each; text goes to stderr",
    )
    add(
        "--tensorboard",
        action="store_true",
        help="write logs for TensorBoard, too: the tensorboard/ of the study",
    )
    add(
        "--dry-run",
        action="store_true",
        help="check everything, show what would run and about how long it takes; write nothing",
    )
    add(
        "--cluster",
        type=not_a_url,
        metavar="FILE",
        help="with --dry-run: of Ray's launcher, to tell what the study costs there (default: $MINBERT_CLUSTER, "
        "cluster.yaml where there is one)",
    )
    add(
        "--seconds-per-trial",
        type=number(0, allowed=False, most=1e9),
        metavar="SECONDS",
        help="with --dry-run: that a trial takes on the cluster, where one was tried; else it is as fast as this machine",
    )
    return parser


def asked_for(arguments: argparse.Namespace, device: str) -> Asked:
    """What is asked for each trial and of a cluster, as far as a dry run needs it.

    Raises:
        UserError: as for :func:`gpus_per_trial`.
    """
    cluster = arguments.cluster or os.environ.get("MINBERT_CLUSTER")
    gpus = gpus_per_trial(arguments, device)
    path = Path(cluster) if cluster else None
    return Asked(arguments.cpus_per_trial, gpus, arguments.max_concurrent, path, arguments.seconds_per_trial)


def gpus_per_trial(arguments: argparse.Namespace, device: str) -> float | str | None:
    """GPUs of a trial, ``auto``, or None where nothing is said: a study of CPUs then takes none.

    Args:
        arguments: of the command line.
        device: what the study is to compute on.

    Raises:
        UserError: the environment names something else, or a share that does not divide a GPU.
    """
    wanted, given_by = arguments.gpus_per_trial, "--gpus-per-trial"
    text = os.environ.get("MINBERT_GPUS_PER_TRIAL")
    if wanted is None and text is not None:
        given_by = "MINBERT_GPUS_PER_TRIAL"
        try:
            wanted = _gpus(text)
        except argparse.ArgumentTypeError:
            raise UserError(
                f"{given_by} {text!r}: a number is needed, such as 0.25 or 1, or {AUTO}"
            ) from None
    if wanted is None and device == "cpu":
        return 0.0
    if isinstance(wanted, float):
        check_gpus(wanted, given_by)
    return wanted  # type: ignore[no-any-return]


def _gpus(text: str) -> float | str:
    """The type of an option that takes a number of GPUs, a share of one, or ``auto``."""
    try:
        return AUTO if text == AUTO else number(0, allowed=True)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor {AUTO}") from None
