"""Where and how a trial computes: device, precision, threads and attention back end."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from minbert.attention import AttentionBackend
from minbert.config import TrainConfig
from minbert.errors import UserError


@dataclass(frozen=True)
class Compute:
    """Resolved numerics of a run."""

    device: torch.device
    dtype: torch.dtype
    backend: AttentionBackend


def pin(config: TrainConfig, threads: int | None = None) -> TrainConfig:
    """Replace ``auto`` in device, precision and threads by what this machine has.

    Args:
        config: the configuration.
        threads: what ``threads: auto`` means; None: the cores that this process may use.

    Raises:
        UserError: ``device: cuda`` on a machine without a GPU.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: 'cuda' was asked for, but torch finds no GPU here; use 'cpu' or 'auto'")
    count = config.threads if config.threads != "auto" else threads or len(os.sched_getaffinity(0))
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if bf16_is_faster(torch.device(device), count) else "fp32"
    return config.model_copy(update={"device": device, "precision": precision, "threads": count})


def compute(config: TrainConfig) -> Compute:
    """The numerics of a pinned configuration; sets torch's thread count.

    Raises:
        ValueError: the configuration still holds ``auto``.
    """
    if "auto" in (config.device, config.precision, config.threads):
        raise ValueError("device, precision and threads must be pinned first")
    assert config.threads != "auto"
    torch.set_num_threads(config.threads)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    return Compute(torch.device(config.device), dtype, "sdpa" if config.device == "cuda" else "bmm")


def bf16_is_faster(device: torch.device, threads: int) -> bool:
    """Whether bf16 matrix products of a BERT layer's shape really run faster here than fp32 ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        times = {dtype: _product_seconds(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    finally:
        torch.set_num_threads(before)
    return times[torch.bfloat16] * 1.2 < times[torch.float32]


def _product_seconds(device: torch.device, dtype: torch.dtype) -> float:
    left = torch.ones(512, 384, device=device, dtype=dtype)
    right = torch.ones(384, 1536, device=device, dtype=dtype)
    fastest = float("inf")
    for _ in range(6):
        begin = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - begin)
    return fastest
