"""``--gpus-per-trial auto``: how many trials share a GPU, from what they need of it.

An estimate from shapes, not a measurement: memory by counting what training keeps, and the time that a GPU waits for
its next operation by counting those. Memory errs on the side of more; a trial whose share is too small all the same
halves its passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from minbert.config import MultitaskStage, SimCSEStage, TrainConfig
from minbert.encoder import EncoderConfig
from minbert.interrupts import Interrupts
from trainables.machines.gpu_share import CONTEXT_BYTES
from trainables.machines.placement import Room
from trainables.machines.probe import gpu_memory
from trainables.studies.fork import Wanted

MOST = 8
"""Trials on a GPU; beyond it their own overhead grows faster than what they share."""
_PARAMETER_BYTES = 18  # weight, gradient and two moments in fp32, and a copy of the weight in bf16
_MARGIN = 1.25  # what an allocator cannot use
_OPERATIONS, _LAUNCH_SECONDS = 80, 1e-5
"""Kernels that a layer's forward and backward pass starts from Python, and the time that one takes to be started."""
_SPEED = 30e12
"""Operations a second on such shapes: about half of what a GPU with bf16 units of 2021 gives."""
_USUAL_LENGTH = 20
"""Tokens of a sentence of these tasks; the longest come to ``max_length``."""


def chosen_share(wanted: Wanted, room: Room, cpus: int, interrupts: Interrupts) -> float:
    """The share of a GPU that a study's trials get on a cluster; 0 where it has no GPU.

    Args:
        wanted: the study.
        room: nodes of the cluster.
        cpus: of a trial.
        interrupts: end the wait for a node with a GPU, whose memory counts.

    Raises:
        KeyboardInterrupt: the user gave up.
    """
    if not room.cpus_a_gpu:
        return 0.0
    configs, shape = wanted.space.representatives, wanted.sources.encoder.config
    return automatic_share(configs, shape, gpu_memory(interrupts), room.cpus_a_gpu, cpus)


def automatic_share(
    configs: Iterable[TrainConfig], shape: EncoderConfig, memory: int, cpus_a_gpu: float, cpus: int
) -> float:
    """The share of a GPU that a trial gets: 1, 1/2, … 1/8.

    Args:
        configs: that will be trained.
        shape: of their encoder.
        memory: bytes of a GPU; where they differ, of the one that was looked at.
        cpus_a_gpu: CPUs of a node for each of its GPUs.
        cpus: of a trial.
    """
    configs = tuple(configs)
    needed = max(bytes_needed(config, shape) for config in configs)
    fit = int(memory // (needed + CONTEXT_BYTES))
    pay = min(trials_that_pay(config, shape) for config in configs)
    return 1 / max(1, min(fit, pay, int(cpus_a_gpu // cpus), MOST))


def bytes_needed(config: TrainConfig, shape: EncoderConfig) -> float:
    """Memory of a trial whose texts are all of the greatest length, CUDA's own part left out."""
    words = (shape.vocab_size + shape.max_position_embeddings + shape.type_vocab_size) * shape.hidden_size
    parameters = words + _layer_parameters(shape) * shape.num_hidden_layers
    tokens = max(count * length for count, length in _passes(config))
    longest = max(length for _, length in _passes(config))
    # Korthikanti et al. 2022, equation 1, in bytes a token and layer, with fp32 where they have 16 bits.
    kept = 2 * (34 * shape.hidden_size + 5 * shape.num_attention_heads * longest)
    return _MARGIN * (_PARAMETER_BYTES * parameters + kept * shape.num_hidden_layers * tokens)


def trials_that_pay(config: TrainConfig, shape: EncoderConfig) -> int:
    """How many trials keep a GPU busy: one where its products take long, several where it waits for Python."""
    most = 1.0
    for count, length in _passes(config):
        tokens = count * min(length, _USUAL_LENGTH)
        busy = 6 * _layer_parameters(shape) * tokens / _SPEED
        most = max(most, 1 / min(1.0, busy / (_OPERATIONS * _LAUNCH_SECONDS)))
    return math.floor(min(most, MOST))


def _layer_parameters(shape: EncoderConfig) -> int:
    return 4 * shape.hidden_size**2 + 2 * shape.hidden_size * shape.intermediate_size


def _passes(config: TrainConfig) -> Iterator[tuple[int, int]]:
    """For each stage: sequences in its largest pass, and their greatest length."""
    for _, stage in config.running_stages():
        if not isinstance(stage, MultitaskStage):
            yield stage.batch_size * (2 if isinstance(stage, SimCSEStage) else 3), stage.max_length
            continue
        counts = []
        for name in config.trained_tasks(stage):
            task = config.tasks[name]
            batch = task.batch_size or stage.batch_size
            batch = min(batch, stage.micro_batch_size or batch)
            counts.append(batch * (1 if task.head.kind in ("linear", "cross") else 2))
        yield (sum(counts) if stage.sampler.kind == "concurrent" else max(counts)), config.max_length
