"""What ``auto`` means for a study: device, precision and threads, found out where its trials will run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
import torch

from minbert.config import TrainConfig
from minbert.devices import pin, told_precision
from minbert.encoder import EncoderConfig
from minbert.errors import TrainingFailure, UserError
from minbert.interrupts import Interrupts
from trainables.machines.connection import RayFailed, in_one_line
from trainables.machines.elsewhere import PATIENCE_SECONDS, TRIES, away_from
from trainables.machines.gpu_share import NO_CUDA, refuse_missing_gpu
from trainables.machines.placement import Placement, TrialResources, others

TOLD = "told"
"""Key of what :func:`probe` found: a line for the user."""
_LOOK_SECONDS = 0.5


def probe(
    config: TrainConfig, shape: EncoderConfig, placement: Placement, interrupts: Interrupts
) -> dict[str, Any]:
    """Device, precision and threads of a study's trials, found out with a trial's resources, and :data:`TOLD`.

    Args:
        config: some configuration of the study.
        shape: of its encoder.
        placement: where trials run, and with what.
        interrupts: end the wait for a node.

    Raises:
        UserError: the device that was asked for is not there, or nodes have no GPU that they promise.
        RayFailed: the worker that was asked died, or cannot run the program.
        KeyboardInterrupt: the user gave up.
    """
    trial = placement.trial
    question = config.model_dump(mode="json"), shape, trial
    if placement.on_one_machine and not trial.gpus and not torch.cuda.is_available():
        return _pinned(*question)  # a worker would take seconds to start
    avoided: list[str] = []
    message = ""

    def none_left() -> bool:
        return bool(avoided) and not others(ray.nodes(), avoided, trial)

    for _ in range(TRIES):
        task = ray.remote(
            num_cpus=trial.cpus, num_gpus=trial.gpus, label_selector=away_from(avoided) if avoided else {}
        )(_on_a_worker)
        found: dict[str, Any] | None = _waited_for(task.remote(*question), interrupts, none_left)
        if found is None:
            break
        if "node" not in found:
            return found
        avoided.append(found["node"])
        message = found["message"]
        if none_left():
            break
    said = f"--gpus-per-trial {trial.gpus:g}: {NO_CUDA}: {message}"
    raise UserError(f"{said}; mend or leave out such nodes, or train on CPUs with --set device=cpu")


def gpu_memory(interrupts: Interrupts) -> int:
    """Bytes of a GPU of the cluster, 0 where torch finds none on the node that answers.

    Raises:
        KeyboardInterrupt: the user gave up waiting for a node.
    """
    task = ray.remote(num_cpus=1, num_gpus=1)(_memory)
    return int(_waited_for(task.remote(), interrupts))


def refuse_other_device(device: str, trial: TrialResources) -> None:
    """Refuse to go on with a study of GPUs where trials get none.

    Raises:
        UserError: the study's device is ``cuda``, and trials are given no GPU.
    """
    if device == "cuda" and not trial.gpus:
        raise UserError(
            "study.yaml: device is cuda, but trials get no GPU here: the study goes on where there are GPUs, "
            "with --gpus-per-trial above 0"
        )


def _memory() -> int:
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0


def _waited_for(promise: Any, interrupts: Interrupts, hopeless: Callable[[], bool] = lambda: False) -> Any:
    """What a task returns; None where it has been hopeless for too long that there will be a node for it."""
    since: float | None = None
    while not ray.wait([promise], timeout=_LOOK_SECONDS)[0]:
        if interrupts.asked:
            raise KeyboardInterrupt
        if not hopeless():
            since = None
        elif since is None:
            since = time.monotonic()
        elif time.monotonic() - since >= PATIENCE_SECONDS:
            ray.cancel(promise)
            return None
    try:
        return ray.get(promise)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, UserError):  # without the worker's traceback
            raise cause from None
        raise RayFailed(f"no worker could say what trials get there: {in_one_line(cause)}") from None


def _on_a_worker(config: dict[str, Any], shape: EncoderConfig, trial: TrialResources) -> dict[str, Any]:
    """What ``auto`` means here; or else the ``node``, and a ``message``, where no GPU is found."""
    try:
        return _pinned(config, shape, trial)
    except TrainingFailure as failure:
        return {"node": ray.get_runtime_context().get_node_id(), "message": str(failure)}


def _pinned(config: dict[str, Any], shape: EncoderConfig, trial: TrialResources) -> dict[str, Any]:
    wanted = TrainConfig.model_validate(config)
    if wanted.device == "auto":
        wanted = wanted.model_copy(update={"device": "cuda" if trial.gpus else "cpu"})
    if trial.gpus:
        refuse_missing_gpu(wanted.device)
    elif wanted.device == "cuda" and torch.cuda.is_available():
        raise UserError("device: 'cuda' was asked for, but --gpus-per-trial 0 gives trials no GPU")
    resolved = pin(wanted, shape, trial.cpus)
    told = (
        told_precision(resolved, shape) if wanted.precision == "auto" else f"precision: {resolved.precision}"
    )
    numerics = {name: getattr(resolved, name) for name in ("device", "precision", "threads")}
    return {**numerics, TOLD: told}
