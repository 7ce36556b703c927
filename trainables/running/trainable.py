"""What runs on a worker: a Ray Tune trainable around one trial.

Workers are reused. Weights and corpora stay in the process; a new trial costs a copy of
the encoder's weights. The trial's own folder is all that a restart needs, so Tune's
checkpoints are not used.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch
from ray import tune

from minbert.canonical import run_name
from minbert.checkpoint import open_encoder
from minbert.config import TrainConfig
from minbert.corpora.tokenised import open_tokenised
from minbert.errors import Interrupted, TrainingFailure, cut
from minbert.files.failpoints import reach
from minbert.files.sealed import damage
from minbert.files.storage import failure, forbidden, gone, is_away, told
from minbert.history import Record, is_evaluated
from minbert.remote.mirrored_stages import open_stages
from minbert.remote.working_copy import working_copy
from minbert.time_limits import TimeLimits, read_timeout
from minbert.trial import Materials, Trial
from trainables.machines.elsewhere import UNUSABLE
from trainables.machines.end_sign import EndSign
from trainables.machines.gpu_share import keep_to_share, node_id, refuse_missing_gpu
from trainables.machines.lost_nodes import refuse_lost_again_and_again
from trainables.machines.seen_folders import UNSHARED, Unshared, refuse_unseen
from trainables.running.remote_trial import RemoteTrial, fetch_materials
from trainables.studies.attempts import Attempt, claim

STORAGE = "storage"
"""Cause of a trial that could not be written: it stays to be continued, and the search ends."""


class TrialTrainable(tune.Trainable):
    """Trains one issued trial; a step of the trainable is one evaluated epoch.

    Its ``config`` holds ``config`` (a TrainConfig as plain data), ``folder``, ``corpus``,
    ``encoder`` and ``stages`` (paths), ``url`` (of a study in an object store, in which those are names; or None),
    ``stage_room`` (bytes that fetched stages may take here), ``start`` (names the driver's start), ``limits`` (seconds of a ``step``
    and an ``epoch``, or None), ``checkpoint_every`` (seconds, or None), ``ending`` (names the
    :class:`~trainables.machines.end_sign.EndSign` at which the trial keeps what it has done and ends) and ``seen`` (files
    by which a node knows folders that all nodes share, each after the option that names its folder). A result holds
    ``records`` (history lines since the last result), ``score``, ``epoch``, ``finished``, ``attempt`` (its number), ``done``
    (there is nothing to wait for) and, after a failure, ``cause``, ``message`` and the ``node`` it happened on.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Begin a trial."""
        self._job = config
        self._folder = _folder(config)
        self._remote: RemoteTrial | None = None
        self._trial: Trial | None = None
        self._attempt: Attempt | None = None
        self._begins = False  # up to there, what goes wrong is the node's
        self._open_things = ExitStack()
        self._records: Iterator[Record] = iter(())
        self._seen = 0
        self._last_score, self._last_epoch = float("nan"), 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in the same process."""
        reach("worker.reused")
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train up to the next evaluated epoch; a continued trial first hands over all it has."""
        records: list[Record] = []
        try:
            return self._train(records)
        except Interrupted:
            self.cleanup()
            self._trial = None
            return {**self._result(records), "done": True}
        except Exception as error:
            return self._failure(records, *self._cause(error))

    def _train(self, records: list[Record]) -> dict[str, Any]:
        if self._trial is None:
            self._trial = self._open()
            self._records = self._trial.run()
        for record in self._records:
            records.append(record)
            self._seen += 1
            if is_evaluated(record) and self._seen >= self._trial.found:
                return self._result(records)
        return {**self._result(records), "finished": True, "done": True}

    def _cause(self, error: Exception) -> tuple[str, str]:
        """The cause and the message of a failure; what is none of the trial's is raised again."""
        if isinstance(error, TrainingFailure):
            return error.cause, str(error)
        if self._begins and isinstance(error, MemoryError | torch.OutOfMemoryError):
            return "oom", str(error)
        if isinstance(error, Unshared):
            return UNSHARED, str(error)
        if isinstance(error, MaterialsChanged):
            return STORAGE, str(error)
        if stored := self._storage_error(error):
            return STORAGE, told(stored)
        if isinstance(error, TimeoutError):
            raise error  # a worker that is out of reach holds the folder: Tune starts the trial anew, elsewhere
        return self._unexpected(error)

    def _storage_error(self, error: Exception) -> OSError | None:
        """The failure of storage that an error is or comes from.

        The folder of the study's trials was there when the trial was handed out: without it, the whole study is gone.
        So was what this start signed with, without which anything that is not found says nothing of the trial.
        """
        if found := failure(error) or forbidden(error):
            return found
        if is_away(self._folder.parent):
            return gone(self._folder.parent.parent)
        return gone(self._folder) if self._attempt and is_away(self._attempt.file) else None

    def _unexpected(self, error: Exception) -> tuple[str, str]:
        """The same of an error that nobody thought of; before the trial has begun it is the node's."""
        if not self._begins:
            return UNUSABLE, f"{type(error).__name__}: {cut(' '.join(str(error).split()), 300)}"
        text = "".join(traceback.format_exception(error))
        with suppress(OSError):  # storage that is away
            (self._folder / "error.txt").write_text(text, encoding="utf-8")
        if self._remote:
            with suppress(OSError):  # a store that is away
                self._remote.publish()
        return "exception", f"{type(error).__name__}: {error}"

    def cleanup(self) -> None:
        """Let go of the trial's folder, which is complete after every epoch."""
        if isinstance(self._records, Generator):
            self._records.close()
        self._open_things.close()
        if self._remote:
            self._remote.let_go()

    def _open(self) -> Trial:
        self._config = TrainConfig.model_validate(self._job["config"])
        is_asked_to_end = self._open_things.enter_context(EndSign(self._job["ending"]).watched())
        if is_asked_to_end():
            raise Interrupted
        refuse_unseen(tuple(self._job.get("seen", ())))
        refuse_missing_gpu(self._config.device)  # before an attempt counts
        keep_to_share(self._config.device)
        folder, start = self._folder, self._job["start"]
        self._remote = _remote(self._job)
        begin = self._remote.claim if self._remote else functools.partial(claim, folder)
        self._begins = True
        self._attempt = begin(start, node=node_id())
        if ended := read_timeout(folder, run_name(self._config), self._attempt.number - 1):
            raise ended
        refuse_lost_again_and_again(self._attempt)
        self._open_things.enter_context(self._attempt.guarded())
        places = (self._job[name] for name in ("url", "corpus", "encoder", "stages", "stage_room"))
        materials = _materials(*places)
        if materials.encoder.fingerprint != self._config.encoder.fingerprint:
            raise MaterialsChanged(f"{self._job['encoder']}: another encoder than the study's lies there now")
        limits = TimeLimits(**self._job["limits"])
        trial = Trial(self._config, materials, folder, limits, self._job["checkpoint_every"])
        trial.asked_to_end, trial.attempt = is_asked_to_end, self._attempt.number
        trial.model_may_be_gone = True  # the search drops those that are not among the best
        trial.before_writing = self._attempt.before_writing
        if self._remote:
            self._open_things.enter_context(self._remote.watched())
            trial.kept, trial.timed_out = self._remote.publish, self._remote.send_timeout
        return trial

    def _result(self, records: list[Record]) -> dict[str, Any]:
        for record in records:
            if is_evaluated(record):
                self._last_score, self._last_epoch = record["select"]["score"], record["epoch"]
        finished = self._last_epoch == self._config.running_stages()[-1][1].last_epoch
        return {
            "records": records,
            "score": self._last_score,
            "epoch": self._last_epoch,
            "finished": finished,
            "attempt": self._attempt.number if self._attempt else 0,
            "done": finished,
        }

    def _failure(self, records: list[Record], cause: str, message: str) -> dict[str, Any]:
        return {
            "records": records,
            "score": self._last_score,
            "epoch": self._last_epoch,
            "finished": False,
            "attempt": self._attempt.number if self._attempt else 0,
            "cause": cause,
            "message": message,
            "node": node_id(),
            "done": True,
        }


class MaterialsChanged(Exception):
    """What the study was begun with is not there any more; that is no trial's failure."""


def _folder(job: dict[str, Any]) -> Path:
    """The folder that a trial works in."""
    return working_copy(job["url"]) / job["folder"] if job["url"] else Path(job["folder"])


def _remote(job: dict[str, Any]) -> RemoteTrial | None:
    """What brings that folder and takes it back; None where the study lies in a folder."""
    return RemoteTrial(job["url"], job["folder"]) if job["url"] else None


@functools.lru_cache(maxsize=2)
def _materials(url: str | None, corpus: str, encoder: str, stages: str, stage_room: float) -> Materials:
    root = Path()
    if url:
        fetch_materials(url, corpus, encoder)
        root = working_copy(url)
    if wrong := damage(root / corpus, of=Path(corpus).name):
        raise MaterialsChanged(f"{root / corpus}: the tokenised corpus was changed: {wrong}")
    files = open_encoder(root / encoder)
    return Materials(open_tokenised(root / corpus), files, files.weights(), open_stages(stages, stage_room))
