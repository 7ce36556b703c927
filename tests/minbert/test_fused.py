"""The hand-written backward passes give what autograd gives for the plain formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.fused import dropped_sum_norm, linear

WIDE, NARROW = 24, 16


def layers(*shapes: tuple[int, int]) -> list[nn.Linear]:
    torch.manual_seed(1)
    return [nn.Linear(inputs, outputs) for inputs, outputs in shapes]


def gradients(output: Tensor, *inputs: Tensor) -> list[Tensor]:
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(7))
    return list(torch.autograd.grad((output.float() * weights).sum(), inputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("outputs", [(NARROW,), (WIDE,), (NARROW, NARROW, NARROW)])
def test_linear_layers_side_by_side_equal_single_ones_in_float64(
    dtype: torch.dtype, outputs: tuple[int, ...]
) -> None:
    """Wider or narrower than their input, which decides the factor that is transposed in bf16."""
    parts = layers(*((20, width) for width in outputs))
    parameters = [value for part in parts for value in (part.weight, part.bias)]
    x = torch.randn(33, 20).to(dtype).requires_grad_()
    found = linear(x, *parts)
    expected = torch.cat(
        [F.linear(x.double(), part.weight.double(), part.bias.double()) for part in parts], dim=1
    )
    rough = {"atol": 0.15, "rtol": 0.03} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-4}
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, **rough)
    for one, other in zip(gradients(found, x, *parameters), gradients(expected, x, *parameters), strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        torch.testing.assert_close(one, other, **rough)


def test_a_frozen_linear_layer_passes_the_gradient_on_and_gets_none() -> None:
    (layer,) = layers((20, 8))
    layer.requires_grad_(False)
    x = torch.randn(5, 20, requires_grad=True)
    linear(x, layer).sum().backward()
    assert x.grad is not None and layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(5, 20))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("drops", [False, True])
def test_the_end_of_a_sublayer_is_dropout_sum_and_norm(dtype: torch.dtype, drops: bool) -> None:
    torch.manual_seed(2)
    norm = nn.LayerNorm(NARROW, eps=1e-12)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x, residual = (torch.randn(9, NARROW).to(dtype).requires_grad_() for _ in range(2))
    mask = (torch.rand(9 * NARROW) < 0.7).to(torch.bfloat16) if drops else None
    found = dropped_sum_norm(x, residual, mask, 1.3, norm)
    kept = x.double() if mask is None else x.double() * mask.view(x.shape).double() * 1.3
    expected = F.layer_norm(
        kept + residual.double(), (NARROW,), norm.weight.double(), norm.bias.double(), 1e-12
    )
    rough = {"atol": 0.15, "rtol": 0.03} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(found.double(), expected, **rough)
    wanted = (x, residual, norm.weight, norm.bias)
    for one, other in zip(gradients(found, *wanted), gradients(expected, *wanted), strict=True):
        torch.testing.assert_close(one, other, **rough)
