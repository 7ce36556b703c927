"""The driver's own part of a large study, by what it is spent on, without Ray: so 10,000 trials take minutes.

All is real but for Ray's event loop and the training: searcher, ledger, sampler, journal with its fsync, early stopping,
kept models, stage store and display are called in the order in which Tune calls them, with so many trials open at a time.
What a worker does (a stub of :mod:`benchmarks.stub_trials`, which writes the files of a trial) is left out of the account.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
from optuna.trial import create_trial
from rich.console import Console

from benchmarks.stopwatch import Stopwatch
from benchmarks.stub_trials import StubTrial, stub_record
from minbert.bundled import CORPUS, ENCODER
from minbert.config import TrainConfig
from minbert.history import Record
from minbert.sources import resolve
from minbert.stages import LocalStageStore
from minbert.time_limits import TimeLimits
from trainables.machines.jobs import Jobs
from trainables.running.searcher import LedgerSearcher
from trainables.running.single_flight import SingleFlight
from trainables.running.successive_halving import SuccessiveHalving
from trainables.running.tuning import early_stopping
from trainables.spaces.space import Space
from trainables.studies import journal
from trainables.studies.kept_models import KEPT_MODELS, KeptModels
from trainables.studies.ledger import Ledger
from trainables.studies.opening import open_ledger
from trainables.studies.stage_room import STAGE_ROOM, StageRoom
from trainables.studies.study import StudyFolder, make_folder, pinned_sources
from trainables.studies.study_description import described_plan, described_study
from trainables.watching.progress import Outlets, Progress

PARTS = ("ask", "result", "tell", "stopping", "journal", "stages", "models", "display")
_WORKER = "worker"
_PINNED = {"device": "cpu", "precision": "fp32", "threads": 1}
_DISTINCT = 100
"""So many trials are run to put a large study together from."""
_TOLD = ("waits", "issued", "reported", "ended")


@dataclass(frozen=True)
class Window:
    """What a trial cost the driver between two marks.

    Attributes:
        trials: that had ended by then.
        parts: CPU milliseconds a trial by part.
        results: scored epochs a trial.
        journal_kb: kilobytes that a trial added to the journal.
        wall: milliseconds a trial that passed meanwhile; other work on the machine counts, too.
        memory: megabytes of the process at the end.
    """

    trials: int
    parts: dict[str, float]
    results: float
    journal_kb: float
    wall: float
    memory: float

    @property
    def total(self) -> float:
        """CPU milliseconds of the driver a trial."""
        return sum(self.parts.values())


class Account:
    """The account of a study, open for as many trials as are asked for.

    Args:
        study: the study's folder.
        space: what is searched.
        slots: trials that run at a time.
        earlier: trials that the study has already.
    """

    def __init__(self, study: Path, space: Space, slots: int, earlier: int = 0) -> None:
        self.watch = Stopwatch()
        self._slots, self._open = slots, ExitStack()
        self._folder, self._ledger, jobs, console = _opened(study, space, earlier)
        stages = LocalStageStore(self._folder.stages)
        tasks = list(space.example().tasks)
        flights, room = SingleFlight(stages.has), StageRoom(stages, STAGE_ROOM * 1e9)
        self._progress = Progress(self._ledger, study, space.name, tasks, console, Outlets())
        models = KeptModels(self._folder, tasks, KEPT_MODELS)
        models.catch_up(self._ledger.trials())
        watchers = (models, flights, room, self._progress)
        self._searcher = LedgerSearcher(
            self._ledger, jobs.job, *watchers, may_start=flights.may_start, most_waiting=2 * slots
        )
        self._scheduler = early_stopping(space, self._ledger, self._searcher)
        self._running: deque[tuple[str, int, _Stub]] = deque()
        self._issued, self.ended, self.results = 0, earlier, 0

    def __enter__(self) -> Account:
        for part, owner, methods in (
            ("ask", LedgerSearcher, ("suggest",)),
            ("result", LedgerSearcher, ("on_trial_result",)),
            ("tell", LedgerSearcher, ("on_trial_complete",)),
            ("stopping", SuccessiveHalving, ("on_trial_add", "on_trial_result", "on_trial_complete")),
            ("journal", journal._SealedBackend, ("append_logs",)),
            ("stages", SingleFlight, ("may_start", *_TOLD)),
            ("stages", StageRoom, _TOLD),
            ("models", KeptModels, ("ended",)),
            ("display", Progress, (*_TOLD, "tick")),
        ):
            for method in methods:
                self._open.enter_context(self.watch.watching(owner, method, part))
        self._open.enter_context(self._progress)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def journal_bytes(self) -> int:
        """Size of the journal."""
        return (self._folder.path / journal.JOURNAL).stat().st_size

    def run(self) -> Iterator[int]:
        """Ask, report and tell until the target; yields how many trials have ended, after each one."""
        while self.ended < self._ledger.target:
            self._fill()
            if self._step():
                self.ended += 1
                yield self.ended
            self._progress.tick()

    def _fill(self) -> None:
        while len(self._running) < self._slots:
            name = str(self._issued)
            job = self._searcher.suggest(name)
            if not isinstance(job, dict):
                return
            self._issued += 1
            if self._scheduler:
                self._scheduler.on_trial_add(None, SimpleNamespace(trial_id=name))
            with self.watch.counting(_WORKER):
                self._running.append((name, 0, _trained(job)))

    def _step(self) -> bool:
        """Take the next result as Tune does; returns whether the trial has ended."""
        name, epoch, stub = self._running.popleft()
        with self.watch.counting(_WORKER):
            result = stub.result(epoch + 1)
        self.results += 1
        trial = SimpleNamespace(trial_id=name)
        if not result["done"]:
            stops = self._scheduler and self._scheduler.on_trial_result(None, trial, result) == "STOP"
            if not stops:
                self._searcher.on_trial_result(name, result)
                self._running.append((name, epoch + 1, stub))
                return False
        if self._scheduler:
            self._scheduler.on_trial_complete(None, trial, result)
        self._searcher.on_trial_complete(name, {**result, "done": True})
        return True


def account(
    study: Path, space: Space, slots: int, marks: Sequence[int], earlier: int = 0
) -> Iterator[Window]:
    """Run the account of a study; yields what a trial cost since the mark before, at each mark and at the end.

    Args:
        study: the study's folder.
        space: what is searched.
        slots: trials that run at a time.
        marks: numbers of ended trials.
        earlier: trials that the study has already, put together from a few real ones.
    """
    with Account(study, space, slots, earlier) as opened:
        before, passed, since, results, size = dict[str, float](), 0.0, earlier, 0, opened.journal_bytes
        for ended in opened.run():
            if ended not in marks and ended != space.settings.trials:
                continue
            now, count = dict(opened.watch.cpu), ended - since
            wall = sum(opened.watch.wall[part] for part in PARTS)
            per_trial = {part: 1000 * (now.get(part, 0.0) - before.get(part, 0.0)) / count for part in PARTS}
            yield Window(
                ended,
                per_trial,
                (opened.results - results) / count,
                (opened.journal_bytes - size) / 1024 / count,
                1000 * (wall - passed) / count,
                psutil.Process().memory_info().rss / 2**20,
            )
            before, passed, since = now, wall, ended
            results, size = opened.results, opened.journal_bytes


@dataclass(frozen=True)
class _Stub:
    """What a trial reports: the same scores after each of its epochs."""

    record: Record

    def result(self, epoch: int) -> dict[str, Any]:
        """What its worker hands over after an epoch."""
        last = epoch >= self.record["epoch"]
        record = {**self.record, "epoch": epoch, "chosen": {**self.record["chosen"], "epoch": epoch}}
        score = record["select"]["score"]
        return {
            "records": [record],
            "score": score,
            "epoch": epoch,
            "finished": last,
            "done": last,
            "attempt": 1,
        }


def _trained(job: dict[str, Any]) -> _Stub:
    """Let a worker's part of a trial happen."""
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    config = TrainConfig.model_validate(job["config"])
    (record,) = StubTrial(config, folder, Path(job["stages"]), 0.0).run()
    return _Stub(record)


def _opened(study: Path, space: Space, earlier: int) -> tuple[StudyFolder, Ledger, Jobs, Console]:
    sources = resolve(str(CORPUS), str(ENCODER), space.example().tasks)
    pinned = {**pinned_sources(sources), **_PINNED}
    spec = {**described_study(space, sources, 0, ""), **_PINNED, **described_plan(space, pinned)}
    folder = make_folder(study, spec)
    folder.stages.mkdir(parents=True, exist_ok=True)
    console = Console(quiet=True, width=1000)
    if earlier:
        random_draws = open_ledger(folder, space.fix("search.sampler", "random"), 0, pinned, console)
        _put_together(random_draws, earlier)
    ledger = open_ledger(folder, space, 0, pinned, console)
    room, limits = STAGE_ROOM * 1e9, TimeLimits()
    jobs = Jobs(folder, CORPUS, ENCODER, str(folder.stages), room, "account", limits, None)
    return folder, ledger, jobs, console


def _put_together(ledger: Ledger, trials: int) -> None:
    """Fill a study with trials as if they had run: some do, others are these with scores of their own."""
    run = []
    for _ in range(min(trials, _DISTINCT)):
        issue = ledger.next()
        assert issue is not None
        ledger.report(issue.number, stub_record(issue.config, 1.0))
        run.append(ledger.finish(issue.number, "complete"))
    for number in range(len(run), trials):
        draw, like = random.Random(number), run[number % len(run)]
        quality = draw.uniform(0.3, 0.7)
        scores = {name: quality + draw.uniform(-0.2, 0.2) for name in like.user_attrs["metrics"]}
        attributes = {**like.user_attrs, "metrics": scores, "config_id": f"{number:064x}"}
        ledger._study.add_trial(
            create_trial(
                params=like.params,
                distributions=like.distributions,
                value=quality,
                intermediate_values={epoch: quality for epoch in like.intermediate_values},
                user_attrs=attributes,
                system_attrs=like.system_attrs,
            )
        )
