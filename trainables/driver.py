"""One start of a study: prepare the folder, run what is left, keep what is worth keeping."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from rich.console import Console

from minbert.command_line import STORAGE_ADVICE
from minbert.config import TrainConfig
from minbert.corpora.tokenised import tokenised
from minbert.data_checks import check_data
from minbert.devices import pin
from minbert.encoder import EncoderConfig
from minbert.errors import UserError
from minbert.interrupts import Interrupts
from minbert.sources import Sources
from minbert.stages import LocalStageStore
from minbert.time_limits import TimeLimits
from trainables.around import Around
from trainables.kept_models import KEPT_MODELS, KeptModels
from trainables.ledger import Issue, Ledger
from trainables.opening import open_ledger
from trainables.placement import Placement
from trainables.progress import Progress
from trainables.searcher import (
    EndedTrials,
    EndOfSearch,
    LedgerSearcher,
    LeftOutOfSnapshots,
    SuccessiveHalving,
)
from trainables.single_flight import SingleFlight
from trainables.spaces import Space
from trainables.stage_room import STAGE_ROOM, StageRoom
from trainables.study import (
    NUMERICS,
    Spec,
    StudyFolder,
    make_folder,
    origin_note,
    pinned_sources,
    refuse_another_study,
)
from trainables.study_description import described_plan, described_study
from trainables.trainable import TrialTrainable

_LOOK_SECONDS = 0.5
_RESTARTS = 30  # of a trial on spot machines; without an epoch in between it is given up much earlier


@dataclass(frozen=True)
class Plan:
    """What a user asked for.

    Attributes:
        space: the search space, settings of the command line laid over it.
        sources: data and encoder.
        study: the study folder.
        seed: the study's seed.
        command: the command line that continues the study.
        max_concurrent: trials at a time; None: as many as fit.
        time_budget: seconds after which the start ends; None: until done.
        limits: how long a trial's steps and epochs may take.
        checkpoint_every: seconds after which a trial keeps its state inside an epoch, too; None: it does not.
        around: the configuration that the base of a one_factor space came from; None: the space's own.
        kept_models: how many of the best trials keep their model, besides the Pareto front; 0: none; None: all.
        stages: the stage store, which studies may share; None: the study's own.
        stage_room: bytes that it may take.
        note: what study.yaml says of the study that this one is a fork of; empty: what it says already.
        trainable: what trains a trial on a worker; benchmarks put a stub in its place.
    """

    space: Space
    sources: Sources
    study: Path
    seed: int
    command: str
    max_concurrent: int | None = None
    time_budget: float | None = None
    limits: TimeLimits = field(default_factory=TimeLimits)
    checkpoint_every: float | None = None
    around: Around | None = None
    kept_models: int | None = KEPT_MODELS
    stages: Path | None = None
    stage_room: float = STAGE_ROOM * 1e9
    note: Spec = field(default_factory=dict)
    trainable: type[tune.Trainable] = TrialTrainable


@dataclass
class Ending:
    """How a start of a study ended."""

    finished: bool
    interrupted: bool
    stopped_by: str


class StudyStopped(Exception):
    """The study cannot go on for now; its message says what to do."""


Connect = Callable[[], Placement]
"""Connects to the cluster, once, and says what a trial gets; a study with nothing to run needs none."""


def run_study(plan: Plan, connect: Connect, console: Console, interrupts: Interrupts) -> Ending:
    """Run a study until its target, its time budget or an interrupt.

    Raises:
        UserError: the folder cannot be used for this study.
    """
    folder, pinned = _prepare(plan, connect, interrupts)
    return _run(plan, folder, pinned, connect, console, interrupts)


def _prepare(plan: Plan, connect: Connect, interrupts: Interrupts) -> tuple[StudyFolder, dict[str, Any]]:
    """Open or make the study folder; numerics once pinned stay."""
    check_data(plan.space.representatives, plan.sources)
    wanted = described_study(plan.space, plan.sources, plan.seed, plan.command)
    stored = refuse_another_study(plan.study, wanted)
    if not stored:
        described_plan(
            plan.space, pinned_sources(plan.sources)
        )  # what cannot be planned needs no Ray to be refused
    numerics = {name: stored[name] for name in NUMERICS} if stored else _probe(plan, connect(), interrupts)
    pinned = {**pinned_sources(plan.sources), **numerics}
    runs = described_plan(plan.space, pinned, plan.around)
    note = plan.note or origin_note(plan.study, stored)
    folder = make_folder(plan.study, {**wanted, **numerics, **runs, **note})
    return folder, pinned


def _probe(plan: Plan, placement: Placement, interrupts: Interrupts) -> dict[str, Any]:
    """Resolve device, precision and threads where the trials will run, with a trial's resources."""
    trial = placement.trial
    question = plan.space.example().model_dump(mode="json"), plan.sources.encoder.config, trial.cpus
    if placement.on_one_machine and not trial.gpus and not torch.cuda.is_available():
        return _pinned(*question)  # a worker would take seconds to start
    promise = ray.remote(num_cpus=trial.cpus, num_gpus=trial.gpus)(_pinned).remote(*question)
    while not ray.wait([promise], timeout=_LOOK_SECONDS)[0]:  # until a node is there for it
        if interrupts.asked:
            raise KeyboardInterrupt
    try:
        pinned: dict[str, Any] = ray.get(promise)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):  # without the worker's traceback
            raise error.cause from None
        raise
    return pinned


def _pinned(config: dict[str, Any], shape: EncoderConfig, threads: int) -> dict[str, Any]:
    resolved = pin(TrainConfig.model_validate(config), shape, threads)
    return {"device": resolved.device, "precision": resolved.precision, "threads": resolved.threads}


def _run(
    plan: Plan,
    folder: StudyFolder,
    pinned: dict[str, Any],
    connect: Connect,
    console: Console,
    interrupts: Interrupts,
) -> Ending:
    folder.clear_leftovers(plan.stages)
    tasks = plan.space.example().tasks
    corpus = tokenised(plan.sources.corpus, tasks, plan.sources.encoder, folder.path / "corpus")
    ledger = open_ledger(folder, plan.space, plan.seed, pinned, console)
    models = KeptModels(folder, tasks, plan.kept_models)
    models.catch_up(ledger.trials())
    store = LocalStageStore(plan.stages or folder.stages)
    store.folder.mkdir(parents=True, exist_ok=True)
    flights, room = SingleFlight(store.has), StageRoom(store, plan.stage_room)
    start = time.strftime("%Y%m%d-%H%M%S")
    ending = folder.path / "tune" / f"{start}.ending"
    deadline = None if plan.time_budget is None else time.monotonic() + plan.time_budget

    def job(issue: Issue) -> dict[str, Any]:
        return {
            "config": issue.config.model_dump(mode="json"),
            "folder": str(folder.trial(issue.number).absolute()),
            "corpus": str(corpus.absolute()),
            "encoder": str(plan.sources.encoder.folder.absolute()),
            "stages": str(store.folder.absolute()),
            "start": start,
            "limits": asdict(plan.limits),
            "checkpoint_every": plan.checkpoint_every,
            "ending": str(ending.absolute()),
        }

    def due() -> bool:
        late = deadline is not None and time.monotonic() > deadline
        return interrupts.asked or late or bool(ledger.stopped_by)

    if not ledger.done:
        placement = connect()
        slots = min(placement.slots, plan.max_concurrent or placement.slots)
        with Progress(ledger, list(tasks), slots, console) as progress, interrupts.heeded():
            watchers = (models, flights, room, progress)
            searcher = LedgerSearcher(
                ledger, job, *watchers, may_start=flights.may_start, most_waiting=2 * slots
            )
            stopper = EndOfSearch(searcher, due, ending)
            _tune(plan, folder, ledger, searcher, stopper, progress, placement, slots, start)
        if searcher.storage_failure:
            raise StudyStopped(f"{searcher.storage_failure}; {STORAGE_ADVICE}")
    if ledger.done and ledger.unfinished > 0:
        console.print(f"all configurations of the space have run: {ledger.started} of {ledger.target} trials")
    return Ending(ledger.done, interrupts.asked, ledger.stopped_by)


def _tune(
    plan: Plan,
    folder: StudyFolder,
    ledger: Ledger,
    searcher: LedgerSearcher,
    stopper: EndOfSearch,
    progress: Progress,
    placement: Placement,
    slots: int,
    start: str,
) -> None:
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    stopping = plan.space.settings.early_stopping
    if slots > placement.slots_now:  # a cluster that grows is told at once of all that it shall grow for
        os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(slots))
    epochs = max(config.running_stages()[-1][1].last_epoch for config in plan.space.representatives)
    scheduler = None
    if stopping:
        scheduler = SuccessiveHalving(stopping, epochs, ledger.histories(), searcher.number_of)
    tune.Tuner(
        tune.with_resources(plan.trainable, placement.trial.request()),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=ledger.unfinished,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_dirname_creator=_trial_folder_name,
        ),
        run_config=tune.RunConfig(
            name=start,
            storage_path=str((folder.path / "tune").absolute()),
            failure_config=tune.FailureConfig(max_failures=_RESTARTS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_Tick(progress), EndedTrials()],
            stop=stopper,
            verbose=0,
        ),
    ).fit()
    shutil.rmtree(folder.path / "tune", ignore_errors=True)


def _trial_folder_name(trial: Any) -> str:
    return str(trial.trial_id)


class _Tick(LeftOutOfSnapshots, tune.Callback):
    """Lets the progress display draw while Tune runs."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._progress.tick()
