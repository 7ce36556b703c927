"""One start of a study: prepare the folder, run what is left, keep what is worth keeping."""

from __future__ import annotations

import functools
import math
import os
import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console

from minbert.command_line import EXIT_FAILED, STORAGE_ADVICE
from minbert.corpora.tokenised import tokenised
from minbert.data_checks import check_data
from minbert.interrupts import Interrupts
from minbert.remote.journal_segments import TakenOver
from minbert.remote.mirrored_stages import open_stages
from minbert.sources import Sources
from minbert.time_limits import TimeLimits
from trainables.machines.elsewhere import Elsewhere
from trainables.machines.end_sign import EndSign
from trainables.machines.jobs import Jobs, stage_place
from trainables.machines.lost_ray import lost_ray_noticed
from trainables.machines.placement import Placement
from trainables.machines.probe import TOLD, probe, refuse_other_device
from trainables.machines.shared_path import refuse_unshared, tokens_in
from trainables.machines.shipping import ship_encoder
from trainables.running.end_of_search import PATIENCE_SECONDS, SENDING_SECONDS, EndOfSearch
from trainables.running.searcher import LedgerSearcher
from trainables.running.single_flight import SingleFlight
from trainables.running.trainable import TrialTrainable
from trainables.running.tuning import early_stopping, tune_trials
from trainables.spaces.around import Around
from trainables.spaces.space import Space
from trainables.studies.kept_models import KEPT_MODELS, KeptModels
from trainables.studies.ledger import EXHAUSTED, Ledger
from trainables.studies.opening import open_ledger
from trainables.studies.remote_study import RemoteStudy
from trainables.studies.stage_room import STAGE_ROOM, StageRoom
from trainables.studies.study import (
    NUMERICS,
    StudyFolder,
    make_folder,
    origin_note,
    pinned_sources,
    refuse_another_study,
)
from trainables.studies.study_description import described_plan, described_study
from trainables.studies.study_difference import Spec
from trainables.watching.events import say_finished
from trainables.watching.progress import Outlets, Progress


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
        stages: folder or URL of the stage store, which studies may share; None: the study's own.
        stage_room: bytes that it may take.
        note: what study.yaml says of the study that this one is a fork of; empty: what it says already.
        remote: the study in an object store, of which ``study`` is the working copy; None: it lies in the folder.
        outlets: where the search tells of itself, besides the console.
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
    stages: Path | str | None = None
    stage_room: float = STAGE_ROOM * 1e9
    note: Spec = field(default_factory=dict)
    remote: RemoteStudy | None = None
    outlets: Outlets = field(default_factory=Outlets)
    trainable: type[tune.Trainable] = TrialTrainable


@dataclass
class Ending:
    """How a start of a study ended."""

    finished: bool
    interrupted: bool
    stopped_by: str

    @property
    def how(self) -> str:
        """In one word, for events."""
        if self.stopped_by:
            return "stopped"
        return "interrupted" if self.interrupted else "finished" if self.finished else "out_of_time"


class StudyStopped(Exception):
    """The study cannot go on for now; its message says what to do."""


Connect = Callable[[], Placement]
"""Connects to the cluster, once, and says what a trial gets; a study with nothing to run needs none."""


def run_study(plan: Plan, connect: Connect, console: Console, interrupts: Interrupts) -> Ending:
    """Run a study until its target, its time budget or an interrupt.

    Raises:
        UserError: the folder cannot be used for this study.
        StudyStopped: it cannot go on here for now.
    """
    with ExitStack() as watched:
        connect = functools.cache(functools.partial(_connect, plan, connect, interrupts, watched))
        try:
            folder, pinned = _prepare(plan, connect, console, interrupts)
            ending = _run(plan, folder, pinned, connect, console, interrupts)
            if plan.remote:
                plan.remote.close()
            return ending
        except TakenOver as lost:
            place = plan.remote.url if plan.remote else lost.filename
            look = f"python -m trainables.status {shlex.quote(str(place))}"
            raise StudyStopped(
                f"{place}: {lost.strerror}; this one ends, what it has finished is kept; see {look}"
            ) from None


def _without_ray(plan: Plan, interrupts: Interrupts, reason: str) -> None:
    """End at once; the study is whole at every moment."""
    told = functools.partial(
        say_finished, plan.outlets.events, plan.study, "failed", EXIT_FAILED, plan.command
    )
    interrupts.give_up(f"{reason}; running trials go on from their last checkpoints", told)


def _connect(plan: Plan, connect: Connect, interrupts: Interrupts, watched: ExitStack) -> Placement:
    """Connect, watch Ray from then on, and refuse folders that are others on other nodes before anything is written there."""
    placement = connect()
    watched.enter_context(lost_ray_noticed(functools.partial(_without_ray, plan, interrupts)))
    refuse_unshared(_shared_folders(plan), lambda: interrupts.asked)
    return placement


def _shared_folders(plan: Plan) -> dict[str, Path]:
    """Folders that have to be the same on all nodes, by the options that name them; those that may be written."""
    folders = {} if plan.remote else {"--study": plan.study}
    if plan.stages is not None and Path(plan.stages).is_dir() and os.access(plan.stages, os.W_OK):
        folders["--stages"] = Path(plan.stages)
    return folders


def _prepare(
    plan: Plan, connect: Connect, console: Console, interrupts: Interrupts
) -> tuple[StudyFolder, dict[str, Any]]:
    """Open or make the study folder; numerics once pinned stay."""
    check_data(plan.space.representatives, plan.sources)
    wanted = described_study(plan.space, plan.sources, plan.seed, plan.command)
    stored = refuse_another_study(plan.study, wanted)
    if not stored:
        described_plan(
            plan.space, pinned_sources(plan.sources)
        )  # what cannot be planned needs no Ray to be refused
    known = {name: stored[name] for name in NUMERICS} if stored else None
    numerics = known or _probed(plan, connect(), console, interrupts)
    pinned = {**pinned_sources(plan.sources), **numerics}
    runs = described_plan(plan.space, pinned, plan.around)
    note = plan.note or origin_note(plan.study, stored)
    folder = make_folder(plan.study, {**wanted, **numerics, **runs, **note}, plan.remote)
    return folder, pinned


def _probed(plan: Plan, placement: Placement, console: Console, interrupts: Interrupts) -> dict[str, Any]:
    found = probe(plan.space.example(), plan.sources.encoder.config, placement, interrupts)
    console.print(found.pop(TOLD), markup=False, highlight=False)
    return found


def _run(
    plan: Plan,
    folder: StudyFolder,
    pinned: dict[str, Any],
    connect: Connect,
    console: Console,
    interrupts: Interrupts,
) -> Ending:
    """Open what the study has, run what is left of it, and say how that ended."""
    place = stage_place(folder, plan.stages)
    store = open_stages(place, plan.stage_room)
    folder.clear_leftovers(store.folder)
    tasks = plan.space.example().tasks
    corpus = tokenised(plan.sources.corpus, tasks, plan.sources.encoder, folder.path / "corpus")
    ledger = open_ledger(folder, plan.space, plan.seed, pinned, console)
    models = KeptModels(folder, tasks, plan.kept_models)
    if plan.remote:
        plan.remote.send_journal()  # an end that was told here counts from now on: first everywhere
    models.catch_up(ledger.trials())
    store.folder.mkdir(parents=True, exist_ok=True)
    flights, room = SingleFlight(store.has), StageRoom(store, plan.stage_room)
    encoder = plan.sources.encoder.folder
    if plan.remote:
        plan.remote.share(corpus)
        encoder = plan.remote.share_encoder(plan.sources.encoder)
    start = time.strftime("%Y%m%d-%H%M%S")
    jobs = Jobs(folder, corpus, encoder, place, plan.stage_room, start, plan.limits, plan.checkpoint_every)
    if not ledger.done:
        deadline = math.inf if plan.time_budget is None else time.monotonic() + plan.time_budget
        placement = connect()
        refuse_other_device(pinned["device"], placement.trial)
        if not plan.remote and not placement.on_one_machine:
            jobs = replace(jobs, encoder=ship_encoder(folder.path, plan.sources.encoder))
        shown = Progress(ledger, folder.path, plan.space.name, list(tasks), console, plan.outlets)
        shared = {} if placement.on_one_machine else _shared_folders(plan)
        with shown as progress, interrupts.heeded(), tokens_in(shared) as seen:
            jobs = replace(jobs, seen=seen)
            watchers = (models, flights, room, progress)
            _search(plan, ledger, jobs, watchers, deadline, placement, console, interrupts)
    if ledger.done and ledger.unfinished > 0:
        console.print(f"all configurations of the space have run: {ledger.started} of {ledger.target} trials")
        make_folder(plan.study, {**folder.spec, EXHAUSTED: ledger.started}, plan.remote)
    return Ending(ledger.done, interrupts.asked, ledger.stopped_by)


def _search(
    plan: Plan,
    ledger: Ledger,
    jobs: Jobs,
    watchers: tuple[KeptModels, SingleFlight, StageRoom, Progress],
    deadline: float,
    placement: Placement,
    console: Console,
    interrupts: Interrupts,
) -> None:
    """Run trials until the target, the deadline, an interrupt, or what lets the study not go on."""
    say = functools.partial(console.print, markup=False, highlight=False)
    elsewhere = Elsewhere(placement.trial, say)
    slots = min(placement.slots, plan.max_concurrent or placement.slots)
    *_, flights, _, progress = watchers
    searcher = LedgerSearcher(
        ledger,
        lambda issue: {**jobs.job(issue), "avoid": elsewhere.keep_away(issue.number)},
        *watchers,
        may_start=flights.may_start,
        most_waiting=2 * slots,
        elsewhere=elsewhere,
    )

    def due() -> bool:
        searcher.make_sure(plan.study)
        stopped = bool(ledger.stopped_by or elsewhere.stopped_by)
        return interrupts.asked or stopped or time.monotonic() > deadline

    sign, patience = EndSign(jobs.ending), SENDING_SECONDS if plan.remote else PATIENCE_SECONDS
    stopper = EndOfSearch(searcher, due, sign.give, say, patience)
    scheduler = early_stopping(plan.space, ledger, searcher)
    place = jobs.folder.path / "tune" / jobs.start
    tune_trials(plan.trainable, place, placement, slots, ledger, searcher, scheduler, stopper, progress)
    sign.withdraw()
    if searcher.taken_over:
        raise searcher.taken_over
    if searcher.storage_failure:
        raise StudyStopped(f"{searcher.storage_failure}; {STORAGE_ADVICE}")
    if elsewhere.stopped_by:
        raise StudyStopped(elsewhere.stopped_by)
