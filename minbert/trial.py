"""One trial in its folder: stages in order, evaluation, the best epoch, resume.

The folder holds ``config.yaml``, ``history.jsonl`` (one line a finished epoch),
``checkpoint/`` (the latest epoch, to resume from), ``best/`` (the model of the best epoch)
and ``predictions/{task}.parquet``; while it trains, ``now.json`` (:mod:`minbert.now`), too.
An epoch counts once its line stands in the history; everything else of that epoch is written before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from minbert.canonical import run_name
from minbert.checkpoint import EncoderFiles
from minbert.choice import Choice, Damaged
from minbert.config import TrainConfig
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.devices import compute
from minbert.epoch_record import epoch_record, mapped_scores
from minbert.errors import Interrupted, TrainingFailure
from minbert.evaluation import Evaluator, Scored, when_scored
from minbert.files.durable import exclusive, write_text
from minbert.guarded_evaluation import GuardedBatcher, GuardedEvaluator
from minbert.history import Record
from minbert.memory import peak_bytes, reset_peak
from minbert.memory_splits import MemorySplits, first_line, is_out_of_memory
from minbert.model import MultitaskModel, build_model
from minbert.now import NowFile, Scoring
from minbert.shared_stages import SharedStages
from minbert.stages import StageStore
from minbert.time_limits import Clock, TimeLimits, Watchdog, forget_timeout
from minbert.training import StageTrainer
from minbert.trial_log import Checkpoint, TrialLog
from minbert.yaml_reader import sealed_yaml

_PATIENCE_SECONDS = 60  # for a worker whose driver died to die too


@dataclass(frozen=True)
class Materials:
    """What trials of one study have in common, kept in memory once a process."""

    corpus: TokenisedCorpus
    encoder: EncoderFiles
    weights: Mapping[str, Tensor]
    store: StageStore


class Trial:
    """Trains a pinned configuration in a folder and goes on where the folder stands.

    Args:
        config: the configuration, its ``auto`` values pinned.
        materials: data, encoder and stage store.
        folder: the trial's own folder; made when absent.
        limits: how long steps and epochs may take; None: as long as they like.
        checkpoint_every: seconds after which the state is kept inside an epoch, too; None: only where it ends.

    Attributes:
        found: history records there were when :meth:`run` began; it yields these first.
        before_writing: is called before an epoch is kept; a worker that was given up does not return from it.
        kept: is called after an epoch, or a state inside one, was kept: whoever copies the folder elsewhere does so now.
        asked_to_end: whether to keep what is done and end; asked at every step.
        attempt: number of this start, for whoever counts them.
        timed_out: is given the note of a time limit (:mod:`minbert.time_limits`) that is about to end the process.
        patience: seconds to wait for another process that holds the folder.
        model_may_be_gone: whether a finished trial whose model is not there at all is finished all the same.
    """

    def __init__(
        self,
        config: TrainConfig,
        materials: Materials,
        folder: Path,
        limits: TimeLimits | None = None,
        checkpoint_every: float | None = None,
    ) -> None:
        self.config, self._materials, self._folder = config, materials, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._compute = compute(config)
        self._choice = Choice(config, folder, materials.encoder)
        self._run = run_name(config)
        self._log = TrialLog(folder, self._run, self._choice)
        self._clock, self._scoring = Clock(limits or TimeLimits()), Scoring()
        self._splits = MemorySplits()
        self._shared = SharedStages(config, materials.store)
        self._checkpoint_every, self._last_checkpoint = checkpoint_every, time.monotonic()
        self.found = 0
        self.before_writing: Callable[[], None] = lambda: None
        self.kept: Callable[[], None] = lambda: None
        self.asked_to_end: Callable[[], bool] = lambda: False
        self.attempt = 0
        self.timed_out: Callable[[str], None] = lambda note: None
        self.patience: float = _PATIENCE_SECONDS
        self.model_may_be_gone = False

    def run(self) -> Iterator[Record]:
        """Yield the history record of every epoch: those already done at once, then new ones as they end.

        Raises:
            TrainingFailure: training cannot go on.
            Interrupted: it was asked to end; what was done is kept.
            Held: another process still holds the folder.
        """
        with exclusive(self._folder / ".lock", self.patience), self._guarded():
            self._store_config()
            self._log.before_writing, self._log.kept = self.before_writing, self.kept
            self._log.splits, self._log.model_may_be_gone = lambda: self._splits.count, self.model_may_be_gone
            self._clock.asked_to_end = self.asked_to_end
            name, stage = self.config.running_stages()[-1]
            resume = self._log.open(name, stage.last_epoch, resumable=not self._splits.damaged)
            self._splits.drop_damaged()
            self.found = len(self._log.records)
            yield from list(self._log.records)
            if not self.finished:
                yield from self._go_on_or_start_over(resume)

    def _store_config(self) -> None:
        """Whatever stood there was not what this folder trains from now on."""
        file = self._folder / "config.yaml"
        text = sealed_yaml(self.config.model_dump(mode="json", exclude_none=True))
        if not file.is_file() or file.read_bytes() != text.encode():
            write_text(file, text)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Watch the clock, and say where memory ran out beside training and scoring that it did."""
        self._splits = MemorySplits(self._folder, self._run, self.before_writing)
        forget_timeout(self._folder)
        watchdog = Watchdog(self._clock, self._folder, self._run, self.attempt, self.timed_out)
        self._now = NowFile(self._clock, self._folder, self.attempt, self._scoring)
        try:
            yield
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingFailure("oom", f"out of memory: {first_line(error)}") from None
        finally:
            watchdog.stop()
            self._now.stop()

    def _go_on_or_start_over(self, resume: Checkpoint | None) -> Iterator[Record]:
        """Train to the end; once from the beginning where files of the trial are damaged meanwhile.

        Epochs are yielded once: those that are trained again come out the same.
        """
        try:
            yield from self._go_on(resume)
            return
        except Damaged:
            self._folder.stat()  # what is gone as a whole is not damaged, and may come back
        told = {_place(record) for record in self._log.records}
        self.before_writing()
        self._log.start_over()
        try:
            yield from (record for record in self._go_on(None) if _place(record) not in told)
        except Damaged as damage:
            raise TrainingFailure("damaged", f"{damage}, also after the trial was started over") from None

    def _go_on(self, resume: Checkpoint | None) -> Iterator[Record]:
        model = self._new_model()
        for name, _ in self.config.running_stages():
            last = name == self.config.running_stages()[-1][0]
            if resume is not None and resume.stage != name:
                continue
            corpus, device = self._materials.corpus, self._compute.device
            trainer = StageTrainer(model, self.config, name, corpus, device, self._splits, self._clock)
            if resume is not None:
                resume.restore(model, trainer)
                resume = None
            elif not last:
                yield from self._from_store(model, trainer, name)
            for record in self._train(model, trainer, name, when_scored(self.config, name), last):
                self._log.add(record)
                if self.finished:
                    self._now.stop()  # whoever got all records may let go of the trial much later
                yield record

    @property
    def finished(self) -> bool:
        """Whether the last stage's last epoch is in the history."""
        name, stage = self.config.running_stages()[-1]
        return self._log.has(name, stage.last_epoch)

    def _new_model(self) -> MultitaskModel:
        model = build_model(self.config, self._materials.encoder.config, dict(self._materials.weights))
        return model.on(self._compute)

    def _train(
        self, model: MultitaskModel, trainer: StageTrainer, name: str, scored: Scored, last: bool
    ) -> Iterator[Record]:
        evaluator = self._evaluator(model, name)
        while not trainer.finished:
            with self._clock.during(name, trainer.next_epoch):
                try:
                    record = self._epoch(model, trainer, evaluator, scored, last)
                except Interrupted:
                    self._log.save_unfinished(model, trainer, name)
                    raise
            yield record

    def _epoch(
        self,
        model: MultitaskModel,
        trainer: StageTrainer,
        evaluator: GuardedEvaluator,
        scored: Scored,
        last: bool,
    ) -> Record:
        name = self._clock.stage
        reset_peak(self._compute.device)
        self._last_checkpoint = time.monotonic()
        try:
            result = trainer.train_epoch(lambda: self._keep_now_and_then(model, trainer))
        except TrainingFailure as failure:
            if not last:
                self._shared.note_failure(trainer, name, failure)
            raise
        record = {"of": self._run, **epoch_record(name, trainer, result)}
        record["peak_memory_bytes"] = peak_bytes(self._compute.device)
        self._scoring.begin(result.seconds)
        self.before_writing()
        begin = time.perf_counter()
        ends = trainer.epoch == trainer.last_epoch
        with _at_epoch(name, trainer.epoch):
            if last:
                record["train"] = evaluator.on_train(model)
                evaluator.expect(choosing=True, ends=ends)
                self._choose(model, evaluator, record)
            elif scored == "always" or (scored == "at the end" and ends):
                evaluator.expect(choosing=False, ends=ends)
                record |= evaluator.evaluate(model).record()
            if ends:
                # From here on the model may hold what was chosen, which must not be kept as this epoch's state.
                with self._clock.undisturbed():
                    if last:
                        self._choice.predict_test(model, evaluator)
                    record["geometry"] = evaluator.geometry(model)
        self._note_evaluation(record, begin)
        trainer.after_epoch(mapped_scores(record.get("select"), self.config))
        if not last:
            self._shared.publish(model, trainer, name, [*self._log.records, record])
        self._log.save(model, trainer, record)
        return record

    def _keep_now_and_then(self, model: MultitaskModel, trainer: StageTrainer) -> None:
        now = time.monotonic()
        if self._checkpoint_every is not None and now - self._last_checkpoint >= self._checkpoint_every:
            self._log.save_unfinished(model, trainer, self._clock.stage)
            self._last_checkpoint = time.monotonic()

    def _note_evaluation(self, record: Record, begin: float) -> None:
        record["eval_seconds"] = time.perf_counter() - begin
        tokens = self._splits.size("evaluation_tokens", record["stage"], record["epoch"])
        if tokens is not None:
            record["evaluation_tokens"] = tokens

    def _evaluator(self, model: MultitaskModel, name: str) -> GuardedEvaluator:
        inputs = {task: model.head(task).inputs for task in self.config.tasks}
        corpus = self._materials.corpus
        multiple = model.token_multiple
        device, length = self._compute.device, self.config.max_length
        batcher = GuardedBatcher(
            corpus, inputs, length, device, multiple, clock=self._clock, scoring=self._scoring
        )
        return GuardedEvaluator(corpus, batcher, self.config.tasks, self.config.selection, name, self._splits)

    def _choose(self, model: MultitaskModel, evaluator: Evaluator, record: Record) -> None:
        earlier = next((r["chosen"] for r in reversed(self._log.records) if "chosen" in r), None)
        evaluation, chosen = self._choice.evaluate(model, evaluator, record["epoch"], earlier)
        record |= {**evaluation.record(), "final_stage": True, "chosen": chosen}

    def _from_store(self, model: MultitaskModel, trainer: StageTrainer, name: str) -> Iterator[Record]:
        """Take the longest published beginning of a stage; yields a record for what was taken."""
        record = self._shared.take(model, trainer, name)
        if record is None:
            return
        record["of"] = self._run
        if trainer.finished:
            self._measure_what_is_missing(model, name, record)
        self._log.save(model, trainer, record)
        self._log.add(record)
        yield record

    def _measure_what_is_missing(self, model: MultitaskModel, name: str, record: Record) -> None:
        """Whoever stored a longer stage, or one before other heads, did not score this end of it."""
        begin = time.perf_counter()
        evaluator = self._evaluator(model, name)
        self._scoring.begin(None)
        with self._clock.during(name, record["epoch"]), _at_epoch(name, record["epoch"]):
            if "select" not in record and when_scored(self.config, name) != "never":
                evaluator.expect(choosing=False, ends=True)
                record |= evaluator.evaluate(model).record()
            if "geometry" not in record:
                record["geometry"] = evaluator.geometry(model)
        self._note_evaluation(record, begin)


def _place(record: Record) -> tuple[str, int]:
    return record["stage"], record["epoch"]


@contextmanager
def _at_epoch(stage: str, epoch: int) -> Iterator[None]:
    """Say in which epoch a failure happened; the clock says it itself."""
    try:
        yield
    except TrainingFailure as failure:
        if failure.cause == "timeout":
            raise
        raise TrainingFailure(failure.cause, f"{failure} at stage {stage}, epoch {epoch}") from None
