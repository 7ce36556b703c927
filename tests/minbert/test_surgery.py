"""PCGrad against algorithm 1 of the paper on explicit vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from minbert.config import TrainConfig
from minbert.corpora.batching import Batcher
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.losses import task_loss
from minbert.model import build_model
from minbert.objectives import build_objective
from minbert.seeds import stream
from minbert.surgery import combine
from minbert.trial import Materials


def algorithm_1(gradients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    projected = gradients.copy()
    for i in range(len(gradients)):
        for j in rng.permutation(len(gradients)):
            if j == i:
                continue
            dot = projected[i] @ gradients[j]
            if dot < 0:
                projected[i] = projected[i] - dot / (gradients[j] @ gradients[j]) * gradients[j]
    return projected.sum(axis=0)


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("seed", range(8))
def test_combining_is_algorithm_1_with_the_same_orders(tasks: int, seed: int) -> None:
    gradients = np.random.default_rng(seed).normal(size=(tasks, 6))
    gradients[1] -= 2 * gradients[0]  # a conflict in every case
    expected = algorithm_1(gradients, np.random.default_rng(seed + 100))
    found = combine(torch.from_numpy(gradients), np.random.default_rng(seed + 100))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-12)
    assert not np.allclose(expected, gradients.sum(axis=0))


def test_without_conflict_the_result_is_the_plain_sum() -> None:
    gradients = torch.from_numpy(np.abs(np.random.default_rng(0).normal(size=(3, 9))))
    assert torch.allclose(combine(gradients, np.random.default_rng(0)), gradients.sum(0), rtol=1e-12)


def test_opposite_gradients_cancel_and_a_zero_gradient_is_harmless() -> None:
    one = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    rng = np.random.default_rng(0)
    assert combine(torch.cat([one, -one]), rng).abs().max() < 1e-12
    assert torch.equal(combine(torch.cat([one, 0 * one]), rng), one[0])


@pytest.mark.parametrize("shared_layer", [False, True])
def test_a_training_step_applies_algorithm_1_to_the_shared_parameters_alone(
    shared_layer: bool,
    configure: Callable[..., TrainConfig],
    materials: Callable[..., Materials],
    small_corpus: TokenisedCorpus,
    tmp_path: object,
) -> None:
    """Each task's gradients come from a pass of its own; heads keep theirs; weights count."""
    config = configure(
        shared_layer=shared_layer,
        tasks__sst__weight=3.0,
        stages__finetune__pcgrad=True,
        stages__finetune__dropout=0.0,
        stages__finetune__encoder_dropout=0.0,
    )
    given = materials(tmp_path)
    cpu = torch.device("cpu")

    def model() -> object:
        return build_model(config, given.encoder.config, dict(given.weights))

    trained, reference = model(), model()
    objective = build_objective(trained, config, "finetune", small_corpus, cpu)  # type: ignore[arg-type]
    objective.steps(1)
    objective.backward(1, 0)
    found = {n: p.grad for n, p in trained.named_parameters()}  # type: ignore[attr-defined]

    rows = {task: objective._examples(task, 1, 0) for task in config.tasks}  # type: ignore[attr-defined]
    inputs = {task: reference.head(task).inputs for task in config.tasks}  # type: ignore[attr-defined]
    batcher = Batcher(small_corpus, inputs, config.max_length, cpu)
    shared: list[np.ndarray] = []
    heads: dict[str, Tensor] = {}
    names = [n for n, _ in reference.named_parameters() if not n.startswith("heads.")]  # type: ignore[attr-defined]
    for task, indices in rows.items():
        reference.clear_gradients()  # type: ignore[attr-defined]
        batch = batcher.batch("train", [(task, indices)])
        output = reference(batch)[task]  # type: ignore[operator]
        labels = batch.parts[0].labels
        assert labels is not None
        (config.tasks[task].weight * task_loss(config.tasks[task].kind, output, labels)).backward()
        own = dict(reference.named_parameters())  # type: ignore[attr-defined]
        parts = [own[n].grad if own[n].grad is not None else torch.zeros_like(own[n]) for n in names]
        shared.append(torch.cat([part.flatten() for part in parts]).double().numpy())
        heads |= {n: p.grad.clone() for n, p in own.items() if n.startswith(f"heads.{task}.")}
    order = stream(config.seed, "multitask-0", "pcgrad", 1, 0)
    expected = algorithm_1(np.stack(shared), order)
    assert not np.allclose(expected, np.sum(shared, axis=0), atol=1e-4), "no conflict, nothing is shown"
    together = torch.cat([found[n].flatten() for n in names])
    np.testing.assert_allclose(together.numpy(), expected, atol=2e-4, rtol=1e-3)
    for name, gradient in heads.items():
        torch.testing.assert_close(found[name], gradient)
