"""What a study would take, for ``--dry-run``: seconds or minutes a trial, hours here, and hours and dollars on a cluster."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from minbert.canonical import config_id
from minbert.config import TrainConfig
from minbert.errors import TrainingFailure, UserError
from minbert.sources import Sources
from minbert.stage_chain import stage_ends
from trainables.cluster_check.checks import findings, wrong_machines
from trainables.cluster_check.environment import share_on_head
from trainables.cluster_check.instance_types import list_prices
from trainables.cluster_check.nodes import most_per_hour
from trainables.dry_run.estimate import StepTimer, Timing, hours_of
from trainables.machines.cluster_file import AWS, LOCAL, ClusterFile, as_mapping
from trainables.machines.placement import AUTO, Asked, Node, Room, TrialResources
from trainables.spaces.space import Space

_FEW_SECONDS = 90
"""Trials that all take less are told in seconds."""
_START_MINUTES, _RAYS_IDLE_MINUTES = 10, 5
"""A machine's start, with Docker's image and the pinned packages; and the time after which Ray ends an idle one by itself."""
BESIDE = Path("cluster.yaml")
"""Looked at where no cluster is named."""


@dataclass(frozen=True)
class Offer:
    """What a cluster has for a study.

    Attributes:
        path: of its file.
        slots: trials at a time.
        trial: what each of them gets.
        usd: dollars an hour of the head and of all workers that these trials can use.
        beside: hours that each machine is paid for beside its trials.
        region: of its machines.
        is_auto: whether how many trials share a GPU shows only there.
    """

    path: Path
    slots: int
    trial: TrialResources
    usd: float
    beside: float
    region: str
    is_auto: bool


def show_cost(console: Console, space: Space, sources: Sources, trials: int, asked: Asked) -> None:
    """Time some steps on this machine and print what the study would take, here and on a cluster.

    Args:
        console: where to.
        space: of the study.
        sources: data and encoder.
        trials: how many there will be.
        asked: what is asked for each.

    Raises:
        UserError: a cluster was named that cannot run it, or cannot be read.
    """
    offer = _offer(asked, trials)  # mistakes first
    console.print("timing a few steps on this machine …")
    try:
        timer = StepTimer(sources.corpus, sources.encoder, space.example(), asked.cpus or 1)
        if timer.told:
            console.print(f"{timer.told}; the search measures it again", highlight=False)
        timing = timer.time(space.representatives)
    except (
        TrainingFailure,
        UserError,
        MemoryError,
        torch.OutOfMemoryError,
    ) as failure:  # such as no GPU here
        console.print(f"time: not known: {failure}", markup=False, highlight=False)
        return
    there = (
        [offer] if isinstance(offer, str) else _there(offer, timing, trials, asked.seconds) if offer else ()
    )
    for line in [*_here(timing, trials, asked, less=_less(space)), *there]:
        console.print(line, markup=False, highlight=False)


def _here(timing: Timing, trials: int, asked: Asked, less: str) -> Iterator[str]:
    seconds = [trial.seconds for trial in timing.trials]
    if max(seconds) < _FEW_SECONDS:
        took = f"{_range(seconds)} s"
    else:
        took = f"{_range([each / 60 for each in seconds])} min"
    how = f"{timing.device}, {timing.precision}, {timing.threads} thread{'s' * (timing.threads > 1)}"
    yield (
        f"time: about {took} a trial on this machine ({how}), from a few "
        f"steps of {len(seconds)} configuration{'s' * (len(seconds) > 1)}; {_read(timing)}"
    )
    try:
        slots, _ = asked.slots(Room((_this_machine(),)))
    except UserError as error:
        yield f"study: not on this machine: {error}"
        return
    yield (
        f"study: about {_duration(timing.hours(trials, slots))} for {_counted(trials)}, {slots} at a time, on this machine{less}"
    )


def _less(space: Space) -> str:
    """What of the space makes its study shorter than its trials one by one."""
    stopping = ["early stopping"] if space.settings.early_stopping else []
    reasons = [*stopping, *(["shared stages"] if _may_share(space.representatives) else [])]
    return f"; {' and '.join(reasons)} make{'s' * (reasons == stopping)} it less" if reasons else ""


def _may_share(configs: Sequence[TrainConfig]) -> bool:
    """Whether two configurations have the beginning of their training in common."""
    known = set[str]()
    for config in {config_id(each): each for each in configs}.values():
        keys = {end.key for end in stage_ends(config)}
        if keys & known:
            return True
        known |= keys
    return False


def _counted(trials: int) -> str:
    return f"{trials} trial{'s' * (trials != 1)}"


def _there(offer: Offer, timing: Timing, trials: int, seconds: float | None = None) -> Iterator[str]:
    gets = f"{offer.trial.cpus} CPU{'s' * (offer.trial.cpus > 1)}"
    gets += f" and {offer.trial.gpus:g} GPU" if offer.trial.gpus else ""
    gets += " (auto may let several share one)" if offer.is_auto and offer.trial.gpus else ""
    yield f"{offer.path}: {_counted(offer.slots)} at a time, each with {gets}; {_price(offer)}"
    if seconds is None and offer.trial.gpus and timing.device != "cuda":
        yield (
            f"{offer.path}: hours and cost are not known, as this machine has no GPU to time: --trials 1 there tells what "
            f"--seconds-per-trial takes here; {_read(timing)}"
        )
        return
    hours = timing.hours(trials, offer.slots) if seconds is None else hours_of(seconds, trials, offer.slots)
    unit = "GPUs" if offer.trial.gpus else "cores"
    given = (
        f"its {unit} are as fast as this machine's"
        if seconds is None
        else f"a trial takes {seconds:g} s there"
    )
    yield (
        f"{offer.path}: about {_duration(hours)} and {(hours + offer.beside) * offer.usd:.2f} dollars, if "
        f"{given}; {60 * offer.beside:.0f} min of each machine's start and idle end are in the dollars"
    )


def _price(offer: Offer) -> str:
    """Of all that are used at once, and what is not in it."""
    listed = list_prices(offer.region)
    return f"about {offer.usd:.2f} dollars an hour with its head ({listed}; disks, addresses and traffic come on top)"


def _offer(asked: Asked, trials: int) -> Offer | str | None:
    """What the cluster offers the study, or why that is not known; None where there is none."""
    path = asked.cluster or BESIDE
    if asked.cluster is None and not path.is_file():
        return None
    try:
        return _read_offer(ClusterFile(path), asked, trials)
    except UserError as error:
        if asked.cluster is not None:
            raise
        return str(error)


def _read_offer(file: ClusterFile, asked: Asked, trials: int) -> Offer | str:
    path = file.document.path
    if file.kind == LOCAL:
        return f"{path}: machines of your own: what they have shows when they run"
    is_cluster = file.kind == AWS and bool(file.node_types)
    if wrong := wrong_machines(file) if is_cluster else findings(file):
        raise UserError(
            f"{file.line(wrong[0])}; python -m trainables.cluster check {shlex.quote(str(path))} says all"
        )
    try:
        if asked.gpus is None:
            asked = replace(asked, gpus=share_on_head(file))
        slots, trial = asked.slots(Room.of((), file))
        idle = float(file.data.get("idle_timeout_minutes", _RAYS_IDLE_MINUTES))
        region = str(file.mapping("provider").get("region"))
        usd = _used_per_hour(file, trial, min(slots, trials))
        return Offer(path, slots, trial, usd, (_START_MINUTES + idle) / 60, region, asked.gpus == AUTO)
    except (KeyError, TypeError, ValueError):
        message = f"says not what its machines have and cost; see python -m trainables.cluster check {shlex.quote(str(path))}"
        raise UserError(f"{path}: {message}") from None


def _used_per_hour(file: ClusterFile, trial: TrialResources, trials: int) -> float:
    """Dollars of the head and of no more workers than so many trials at once can fill, in the order in which these are counted."""
    left = trials

    def holds(node: Mapping[str, Any]) -> int:
        has = as_mapping(node.get("resources"))
        return Node(float(has.get("CPU", 0)), float(has.get("GPU", 0))).holds(trial)

    def used(node: Mapping[str, Any], may_come: int) -> int:
        nonlocal left
        held = holds(node)
        workers = min(may_come, math.ceil(left / held)) if held else 0
        left = max(0, left - workers * held)
        return workers

    return most_per_hour(file, used, holds)


def _this_machine() -> Node:
    return Node(len(os.sched_getaffinity(0)), torch.cuda.device_count())


def _duration(hours: float) -> str:
    minutes = math.ceil(60 * hours)
    return f"{minutes} min" if minutes < 60 else f"{hours:,.1f} h" if hours < 100 else f"{hours:,.0f} h"


def _read(timing: Timing) -> str:
    steps, examples = zip(*((trial.steps, trial.examples) for trial in timing.trials), strict=True)
    return f"{_range(steps)} step{'s' * (max(steps) != 1)}, {_range(examples)} example{'s' * (max(examples) != 1)} a trial"


def _range(values: Sequence[float]) -> str:
    low, high = (f"{value:,.2g}" if value < 10 else f"{value:,.0f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
