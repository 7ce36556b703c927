"""`auto` becomes what the machine has, and impossible settings are refused."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import pytest
import torch

from minbert import devices
from minbert.checkpoint import EncoderFiles
from minbert.config import TrainConfig
from minbert.devices import bf16_is_faster, compute, pin, told_precision
from minbert.errors import UserError

MakeConfig = Callable[..., TrainConfig]


def test_auto_is_replaced_and_what_was_set_stays(configure: MakeConfig, encoder_files: EncoderFiles) -> None:
    free = configure(device="auto", precision="auto", threads="auto")
    pinned = pin(free, encoder_files.config)
    assert pinned.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pinned.threads == len(os.sched_getaffinity(0))
    assert pinned.precision in ("fp32", "bf16")
    assert pin(free, encoder_files.config, threads=1).threads == 1
    fixed = configure(precision="bf16", threads=3)
    assert pin(fixed, encoder_files.config, threads=1) == fixed


def test_the_probe_leaves_the_thread_count_alone(encoder_files: EncoderFiles) -> None:
    before = torch.get_num_threads()
    bf16_is_faster(torch.device("cpu"), before + 1, encoder_files.config)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("faster", "taken"), [(1.03, "fp32"), (1.2, "fp32"), (1.3, "bf16"), (0.4, "fp32")])
def test_bf16_is_taken_where_it_is_clearly_faster_and_both_are_told(
    configure: MakeConfig,
    encoder_files: EncoderFiles,
    monkeypatch: pytest.MonkeyPatch,
    faster: float,
    taken: str,
) -> None:
    monkeypatch.setattr(devices, "bf16_speed", lambda *_: faster)
    pinned = pin(configure(device="cpu", precision="auto"), encoder_files.config)
    assert pinned.precision == taken
    told = told_precision(pinned, encoder_files.config)
    assert told == f"precision: {taken} (bf16 is {faster:.2f} times as fast as fp32 here)"


def test_what_slows_the_machine_for_a_while_slows_both_precisions(
    encoder_files: EncoderFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = list[torch.dtype]()

    def seconds(encoder: object, device: object, dtype: torch.dtype, size: int) -> float:
        order.append(dtype)
        load = 3.0 if len(order) > 12 else 1.0
        return size * load * (1.0 if dtype == torch.float32 else 0.5)

    monkeypatch.setattr(devices, "_layer_seconds", seconds)
    shape = dataclasses.replace(encoder_files.config, layer_norm_eps=1e-11)  # measured by no other test
    assert devices.bf16_speed(torch.device("cpu"), 1, shape) == 2
    assert order == [torch.float32, torch.bfloat16] * 12


def test_computing_needs_a_pinned_configuration(configure: MakeConfig) -> None:
    with pytest.raises(ValueError, match="pinned"):
        compute(configure(precision="auto"))
    numerics = compute(configure(precision="bf16"))
    assert (numerics.dtype, numerics.backend) == (torch.bfloat16, "bmm")


def test_fp32_products_keep_fp32_accuracy(configure: MakeConfig) -> None:
    """Whatever routine the machine is given for them."""
    before = torch.get_float32_matmul_precision()
    try:
        compute(configure(precision="fp32"))
        a, b = (torch.randn(300, 200, generator=torch.Generator().manual_seed(n)) for n in range(2))
        error = (a @ b.T).double() - a.double() @ b.double().T
        assert error.abs().max() < 1e-4
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused(configure: MakeConfig, encoder_files: EncoderFiles) -> None:
    with pytest.raises(UserError, match="torch finds no GPU"):
        pin(configure(device="cuda"), encoder_files.config)


@pytest.mark.parametrize(
    ("leaves", "told"),
    [
        ({"max_length": 65}, "max_length: 65 is more than the encoder's 64 positions"),
        ({"stages__simcse__epochs": 1, "stages__simcse__max_length": 100}, "stages.simcse.max_length: 100"),
    ],
)
def test_a_length_beyond_the_encoders_positions_is_refused(
    leaves: dict[str, object], told: str, configure: MakeConfig, encoder_files: EncoderFiles
) -> None:
    with pytest.raises(UserError, match=told):
        pin(configure(**leaves), encoder_files.config)


def test_a_stage_that_does_not_run_may_be_longer(configure: MakeConfig, encoder_files: EncoderFiles) -> None:
    config = configure(stages__simcse__max_length=100)
    assert pin(config, encoder_files.config) == config


def test_a_cross_head_needs_two_token_types(configure: MakeConfig, encoder_files: EncoderFiles) -> None:
    shape = dataclasses.replace(encoder_files.config, type_vocab_size=1)
    with pytest.raises(UserError, match="one token type"):
        pin(configure(), shape)
    separate = configure(tasks__qqp__head__kind="concat", tasks__sts__head__kind="cosine")
    assert pin(separate, shape) == separate
