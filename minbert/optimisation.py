"""AdamW with warm-up and decay, clipping, and exact saving of its state."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from minbert.config import Schedule, StageConfig

_STEP = inspect.unwrap(torch.optim.AdamW.step)
"""AdamW's step without what is said to torch's compiler around it: that alone would import the compiler."""


class StageOptimiser:
    """AdamW over the trainable parameters of a stage.

    Biases and layer norms (Devlin et al. 2019) and learned task weights get no weight decay. The learning rate is set
    before every step from the step's number, so the state is the two moments and that number.
    """

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], stage: StageConfig, total_steps: int
    ) -> None:
        self._named = dict(named)
        self._stage, self._total = stage, total_steps
        self.step_number = 0
        decayed = [p for name, p in self._named.items() if _decays(name)]
        plain = [p for name, p in self._named.items() if not _decays(name)]
        groups = [
            {"params": decayed, "weight_decay": stage.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        _leave_the_compiler_out()
        self._adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=stage.learning_rate, fused=True
        )

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained."""
        return list(self._named.values())

    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        warmup = warmup_steps(self._stage, self._total)
        share = schedule(self._stage.schedule, self.step_number, self._total, warmup)
        return self._stage.learning_rate * share

    def step(self) -> Tensor:
        """Clip the gradients' global norm, unless ``max_grad_norm`` is 0, and take one step; returns the norm, a scalar."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self._stage.max_grad_norm:
            # The kernel divides while it reads the gradients: no pass over them for the clipping alone.
            self._adamw.grad_scale = ((norm + 1e-6) / self._stage.max_grad_norm).clamp_(min=1.0)  # type: ignore[attr-defined]
        for group in self._adamw.param_groups:
            group["lr"] = self.learning_rate()
        with torch.no_grad():
            _STEP(self._adamw)
        self.step_number += 1
        return norm

    def state(self) -> dict[str, Tensor]:
        """First and second moments by parameter name."""
        moments: dict[str, Tensor] = {}
        for name, parameter in self._named.items():
            for key, value in self._adamw.state.get(parameter, {}).items():
                moments[f"{key}:{name}"] = value
        return moments

    def load(self, moments: dict[str, Tensor], step_number: int) -> None:
        """Continue from a saved state."""
        self.step_number = step_number
        for name, parameter in self._named.items():
            state = {
                key: moments[f"{key}:{name}"].to(parameter.device, copy=True)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}:{name}" in moments
            }
            if state:
                self._adamw.state[parameter] = state


def warmup_steps(stage: StageConfig, total: int) -> int:
    """Steps of linear warm-up."""
    return stage.warmup_steps if stage.warmup_steps is not None else round(stage.warmup_share * total)


def schedule(kind: Schedule, step: int, total: int, warmup: int) -> float:
    """Share of the learning rate at ``step`` (from 0): linear warm-up, then the schedule down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    if kind == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    return 1 - progress if kind == "linear" else 0.5 * (1 + math.cos(math.pi * progress))


def _decays(name: str) -> bool:
    return (
        not name.endswith("bias") and "LayerNorm" not in name and not name.startswith("auxiliary.weighting.")
    )


def _leave_the_compiler_out() -> None:
    """Tell methods of torch's optimisers that they need not be kept from torch's compiler, which is not used.

    The first call of each would import it to say so, which takes seconds of every worker's start.
    """
    for method in vars(torch.optim.Optimizer).values():
        if original := getattr(method, "__wrapped__", None):
            setattr(original, "__dynamo_disable", original)
