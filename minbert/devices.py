"""Where and how a trial computes: device, precision, threads and attention back end."""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from minbert.attention import AttentionBackend
from minbert.config import ContrastiveStage, TrainConfig
from minbert.encoder import BertEncoder, EncoderConfig, pack
from minbert.errors import UserError

_CLEARLY = 1.25
"""So many times as fast bf16 must be to be taken: times of two measurements differ by tenths on a machine with other work."""
_PROBED = {"cuda": 16}
"""A GPU gets so many times larger batches to time: it is to be busy with products, not with being told of them."""
_BF16_TOKENS = 64
"""On a CPU each new shape of a bf16 product is compiled, which costs more than a few more tokens."""


@dataclass(frozen=True)
class Compute:
    """Resolved numerics of a run; tokens of a batch are rounded up to ``token_multiple``."""

    device: torch.device
    dtype: torch.dtype
    backend: AttentionBackend
    token_multiple: int = 1


def pin(config: TrainConfig, shape: EncoderConfig, threads: int | None = None) -> TrainConfig:
    """Replace ``auto`` in device, precision and threads by what this machine has.

    Args:
        config: the configuration.
        shape: of the encoder that will be trained.
        threads: what ``threads: auto`` means; None: the cores that this process may use.

    Raises:
        UserError: ``device: cuda`` on a machine without a GPU, or a length that the encoder has no positions for.
    """
    check_shape(config, shape)
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: 'cuda' was asked for, but torch finds no GPU here; use 'cpu' or 'auto'")
    count = config.threads if config.threads != "auto" else threads or len(os.sched_getaffinity(0))
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if bf16_is_faster(torch.device(device), count, shape) else "fp32"
    return config.model_copy(update={"device": device, "precision": precision, "threads": count})


def check_shape(config: TrainConfig, shape: EncoderConfig) -> None:
    """Refuse what an encoder of this shape cannot encode.

    Raises:
        UserError: a length that it has no positions for, or pairs in one pass without two token types.
    """
    lengths = {"max_length": config.max_length}
    for name, stage in config.running_stages():
        if isinstance(stage, ContrastiveStage):
            lengths[f"stages.{name}.max_length"] = stage.max_length
    for leaf, length in lengths.items():
        if length > shape.max_position_embeddings:
            raise UserError(
                f"{leaf}: {length} is more than the encoder's {shape.max_position_embeddings} positions"
            )
    joint = [task.head.kind for task in config.tasks.values() if task.head.kind in ("cross", "two_order")]
    if shape.type_vocab_size < 2 and joint:
        raise UserError(
            f"the encoder has one token type, but a {joint[0]} head needs two: use concat, cosine or dot"
        )


def compute(config: TrainConfig) -> Compute:
    """The numerics of a pinned configuration; sets torch's thread count and the routine of fp32 products.

    Raises:
        ValueError: the configuration still holds ``auto``.
    """
    if "auto" in (config.device, config.precision, config.threads):
        raise ValueError("device, precision and threads must be pinned first")
    assert config.threads != "auto"
    torch.set_num_threads(config.threads)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    device = torch.device(config.device)
    _choose_products(device)
    return Compute(device, dtype, "sdpa" if config.device == "cuda" else "bmm", token_multiple(device, dtype))


def token_multiple(device: torch.device, dtype: torch.dtype) -> int:
    """What the number of tokens of a batch is rounded up to."""
    return _BF16_TOKENS if device.type == "cpu" and dtype == torch.bfloat16 else 1


def _choose_products(device: torch.device) -> None:
    if device.type == "cpu":
        torch.set_float32_matmul_precision("medium" if medium_is_exact() else "highest")


@cache
def medium_is_exact() -> bool:
    """Whether torch's "medium" fp32 products keep fp32 accuracy on this CPU.

    Where a CPU has no faster instructions for rounded factors, "medium" only picks another, often faster,
    routine; with AMX it rounds the factors to bf16.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    before = torch.get_float32_matmul_precision()
    errors = {}
    for precision in ("highest", "medium"):
        torch.set_float32_matmul_precision(precision)
        errors[precision] = float((a @ b - exact).abs().max())
    torch.set_float32_matmul_precision(before)
    return errors["medium"] <= 2 * errors["highest"]


def told_precision(config: TrainConfig, shape: EncoderConfig) -> str:
    """Which precision was taken for ``auto``, and by what: ``precision: fp32 (bf16 is 1.03 times as fast here)``.

    Args:
        config: pinned by :func:`pin` in this process.
        shape: of the encoder.
    """
    speed = bf16_speed(torch.device(config.device), int(config.threads), shape)
    return f"precision: {config.precision} (bf16 is {speed:.2f} times as fast as fp32 here)"


def bf16_is_faster(device: torch.device, threads: int, shape: EncoderConfig) -> bool:
    """Whether bf16 is so much faster here that another measurement would say so, too."""
    return bf16_speed(device, threads, shape) >= _CLEARLY


@cache
def bf16_speed(device: torch.device, threads: int, shape: EncoderConfig) -> float:
    """How many times as fast a layer of this shape trains here in bf16 as in fp32.

    Timed, not assumed: small layers lose more to conversions than they gain, and many CPUs have no fast bf16 products.
    Both take turns on each batch, so that what else the machine does slows both.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    _choose_products(device)
    encoder = BertEncoder(dataclasses.replace(shape, num_hidden_layers=1, vocab_size=100)).to(device)
    sizes = [_PROBED.get(device.type, 1) * size for size in (26, 30, 34, 38)]  # differ as real batches do
    ratios = []
    try:
        for size in sizes * 3:
            fp32, bf16 = (
                _layer_seconds(encoder, device, dtype, size) for dtype in (torch.float32, torch.bfloat16)
            )
            ratios.append(fp32 / bf16)
    finally:
        torch.set_num_threads(before)
    return float(np.median(ratios[len(sizes) :]))  # the first round compiles


def _layer_seconds(encoder: BertEncoder, device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Time of a forward and backward pass of a batch."""
    batch = pack([np.arange(20)] * size, [20] * size, device, token_multiple(device, dtype))
    begin = time.perf_counter()
    encoder(batch, dtype=dtype).float().sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin
