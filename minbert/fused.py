"""Linear layers and the end of a sublayer with their own backward passes.

They compute what autograd would, in the same precision, with fewer passes over memory: on a CPU with
fast bf16 products, an encoder spends most of its time between the products.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def linear(x: Tensor, *layers: nn.Linear) -> Tensor:
    """Several linear layers on one input, in the input's precision.

    Args:
        x: (tokens, width).
        layers: fp32 layers of that width.

    Returns:
        (tokens, sum of the layers' outputs), side by side.
    """
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    return _Linear.apply(x, *weights, *biases)  # type: ignore[no-untyped-call, no-any-return]


def dropped_sum_norm(
    x: Tensor, residual: Tensor, mask: Tensor | None, scale: float, norm: nn.LayerNorm
) -> Tensor:
    """Layer norm of ``residual`` plus what dropout leaves of ``x``; all (tokens, hidden).

    Args:
        x, residual: of one dtype.
        mask: (tokens · hidden,) 1 where an element of ``x`` is kept, or None: all are.
        scale: factor of the kept elements.
        norm: fp32 layer norm.
    """
    arguments = (x, residual, mask, scale, norm.weight, norm.bias, norm.eps)
    return _DroppedSumNorm.apply(*arguments)  # type: ignore[no-untyped-call, no-any-return]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        count = len(parameters) // 2
        weights, biases = parameters[:count], parameters[count:]
        weight = _joined(weights, x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.outputs = [len(part) for part in weights]
        return F.linear(x, weight, _joined(biases, x.dtype))

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = outputs[0]
        of_x = gradient @ weight if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return of_x, *(None for _ in range(2 * len(ctx.outputs)))
        of_weight = _outer(gradient, x).split(ctx.outputs)
        of_bias = gradient.sum(0).float().split(ctx.outputs)  # summed in fp32; asking for it would copy first
        return of_x, *of_weight, *of_bias


class _DroppedSumNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor,
        mask: Tensor | None,
        scale: float,
        weight: Tensor,
        bias: Tensor,
        eps: float,
    ) -> Tensor:
        kept = None if mask is None else mask.view(x.shape).to(x.dtype)
        total = x + residual if kept is None else torch.addcmul(residual, x, kept, value=scale)
        normed, mean, deviation = torch.native_layer_norm(total, x.shape[1:], weight, bias, eps)
        ctx.save_for_backward(total, mean, deviation, weight, bias, *([] if kept is None else [kept]))
        ctx.scale = scale
        return normed

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        total, mean, deviation, weight, bias, *kept = ctx.saved_tensors
        wanted = [True, *ctx.needs_input_grad[4:6]]
        of_total, of_weight, of_bias = torch.ops.aten.native_layer_norm_backward(
            outputs[0], total, total.shape[1:], mean, deviation, weight, bias, wanted
        )
        of_x = of_total * kept[0] * ctx.scale if kept else of_total
        return of_x, of_total, None, None, of_weight, of_bias, None


def _joined(parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
    return parts[0].to(dtype) if len(parts) == 1 else torch.cat([part.to(dtype) for part in parts])


def _outer(gradient: Tensor, x: Tensor) -> Tensor:
    """(outputs, inputs) fp32 gradientᵀ @ x.

    A bf16 product whose left factor is transposed is slow on a CPU: the narrower of the two is turned first.
    """
    if gradient.dtype != torch.bfloat16 or gradient.device.type != "cpu":
        return (gradient.T @ x).float()
    if gradient.shape[1] <= x.shape[1]:
        return (gradient.T.contiguous() @ x).float()
    product = x.T.contiguous() @ gradient
    return torch.empty(product.shape[::-1]).copy_(product.T)
