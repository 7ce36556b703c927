"""What a worker makes sure of before a trial trains on a GPU: that there is one, and that it keeps to its share."""

from __future__ import annotations

import functools
import os
import socket

import ray
import torch

from minbert.errors import TrainingFailure

NO_CUDA = "no_cuda"
"""Cause of a trial that was promised a GPU by a node on which torch finds none."""
CONTEXT_BYTES = 512 * 2**20
"""What CUDA keeps for each process beside its tensors (context and kernels): torch's limit does not count it."""


def refuse_missing_gpu(device: str) -> None:
    """Refuse to train for the GPU on a node whose GPU torch does not find.

    Args:
        device: what the study computes on, as it was pinned.

    Raises:
        TrainingFailure: there is no GPU (cause ``no_cuda``).
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingFailure(
            NO_CUDA, f"a GPU was promised, but torch finds none on {socket.gethostname()} ({_reason()})"
        )


@functools.cache  # a worker keeps its share for as long as it lives
def keep_to_share(device: str) -> None:
    """Let this process take no more of its GPU's memory than its share, so that only itself runs out of it.

    Args:
        device: what the study computes on.

    Raises:
        TrainingFailure: the share is too small for anything (cause ``oom``).
    """
    share = assigned_gpus()
    if device == "cuda" and 0 < share < 1:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_fraction(share, total), 0)


def assigned_gpus() -> float:
    """GPUs, or the share of one, that Ray gave this worker; 0 outside of a worker."""
    if not ray.is_initialized():
        return 0.0
    return float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0))


def node_id() -> str:
    """Ray's name of the node that this worker runs on; empty outside of a worker."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def memory_fraction(share: float, total: int) -> float:
    """The part of a GPU's memory that tensors may take, so that processes with this share fit on it together.

    Args:
        share: of the GPU.
        total: bytes of its memory.

    Raises:
        TrainingFailure: nothing is left beside what CUDA itself takes (cause ``oom``).
    """
    left = min(share, 1.0) * total - CONTEXT_BYTES
    if left <= 0:
        raise TrainingFailure(
            "oom",
            f"{share:g} of a GPU with {total / 2**30:.1f} GiB is less than CUDA takes for itself; "
            "give trials more with --gpus-per-trial",
        )
    return left / total


def _reason() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    return "no usable driver" if visible is None else f"CUDA_VISIBLE_DEVICES is {visible!r}"
