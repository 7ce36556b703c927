"""PCGrad against algorithm 1 of the paper on explicit vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from minbert.config import TrainConfig
from minbert.corpora.batching import Batcher
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.draws import Draws
from minbert.losses import task_loss
from minbert.model import build_model
from minbert.objectives import build_objective
from minbert.seeds import stream
from minbert.surgery import Conflicts, pcgrad_weights
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


def projected_sum(gradients: np.ndarray, seed: int) -> np.ndarray:
    return pcgrad_weights(gradients @ gradients.T, np.random.default_rng(seed)) @ gradients  # type: ignore[no-any-return]


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("seed", range(8))
def test_projecting_is_algorithm_1_with_the_same_orders(tasks: int, seed: int) -> None:
    gradients = np.random.default_rng(seed).normal(size=(tasks, 6))
    gradients[1] -= 2 * gradients[0]  # a conflict in every case
    expected = algorithm_1(gradients, np.random.default_rng(seed + 100))
    np.testing.assert_allclose(projected_sum(gradients, seed + 100), expected, rtol=1e-10, atol=1e-12)
    assert not np.allclose(expected, gradients.sum(axis=0))


def test_the_order_of_the_tasks_is_drawn() -> None:
    gradients = np.array([[1.0, 0, 0.2], [-0.8, 0.7, 0], [-0.6, -0.9, 0.1]])
    found = {tuple(projected_sum(gradients, seed).round(9)) for seed in range(30)}
    assert len(found) > 1


def test_without_conflict_the_result_is_the_plain_sum() -> None:
    gradients = np.abs(np.random.default_rng(0).normal(size=(3, 9)))
    np.testing.assert_allclose(projected_sum(gradients, 0), gradients.sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("tasks", [2, 3])
def test_gradients_divided_by_the_number_of_tasks_give_the_mean_of_the_projected_ones(tasks: int) -> None:
    gradients = np.random.default_rng(4).normal(size=(tasks, 6))
    gradients[1] -= 2 * gradients[0]
    mean = algorithm_1(gradients, np.random.default_rng(7)) / tasks
    np.testing.assert_allclose(projected_sum(gradients / tasks, 7), mean, rtol=1e-10, atol=1e-12)


def test_opposite_gradients_cancel_and_a_zero_gradient_is_harmless() -> None:
    one = np.array([[3.0, 4.0]])
    assert np.abs(projected_sum(np.concatenate([one, -one]), 0)).max() < 1e-12
    assert projected_sum(np.concatenate([one, 0 * one]), 0).tolist() == one[0].tolist()


def test_a_gradient_whose_square_is_rounded_to_zero_is_harmless() -> None:
    gradients = torch.tensor([[1.0, 2.0], [-1e-25, 0.0]])
    gram = (gradients @ gradients.T).double().numpy()
    assert gram[1, 1] == 0 > gram[0, 1]
    found = pcgrad_weights(gram, np.random.default_rng(0)) @ gradients.numpy()
    np.testing.assert_allclose(found, gradients[0].numpy())


def test_conflicts_are_counted_and_cosines_averaged_by_pair_over_the_steps() -> None:
    conflicts = Conflicts()
    names = ("sst", "qqp", "sts")
    first = np.array([[1.0, 0, 0], [0, 2, 0], [3, 4, 0]])  # cosines 0, .6, .8: no conflict
    second = np.array([[1.0, 0, 0], [-5, 0, 0], [0, 0, 7]])  # -1, 0, 0
    third = np.array([[1.0, 0, 0], [1, 1, 0], [-1, 0, 0]])  # 1/√2, -1, -1/√2
    for gradients in (first, second, third):
        conflicts.add(names, gradients @ gradients.T)
    found = conflicts.summary()
    assert found["steps"] == 3
    assert found["conflict_share"] == pytest.approx(2 / 3)
    half = 0.5**0.5
    assert found["cosine"] == {
        "sst/qqp": pytest.approx((0 - 1 + half) / 3),
        "sst/sts": pytest.approx((0.6 + 0 - 1) / 3),
        "qqp/sts": pytest.approx((0.8 + 0 - half) / 3),
    }
    assert json.loads(json.dumps(found)) == found


def test_there_is_nothing_to_tell_without_a_step_of_several_tasks() -> None:
    conflicts = Conflicts()
    conflicts.add(("sst",), np.eye(1))
    assert conflicts.summary() == {}


def test_a_gradient_without_direction_has_no_cosine() -> None:
    conflicts = Conflicts()
    conflicts.add(("sst", "qqp"), np.diag([1.0, 0.0]))
    assert conflicts.summary() == {"steps": 1, "conflict_share": 0.0, "cosine": {}}
    conflicts.add(("sst", "qqp"), np.array([[1.0, np.nan], [np.nan, np.inf]]))
    conflicts.add(("sst", "qqp"), np.array([[1.0, -1.0], [-1.0, 4.0]]))
    assert conflicts.summary() == {"steps": 3, "conflict_share": 1 / 3, "cosine": {"sst/qqp": -0.5}}


@pytest.mark.parametrize("shared_layer", ["none", "all"])
@pytest.mark.parametrize("combine", ["sum", "mean"])
def test_a_training_step_applies_algorithm_1_to_the_shared_parameters_alone(
    shared_layer: str,
    combine: str,
    configure: Callable[..., TrainConfig],
    materials: Callable[..., Materials],
    small_corpus: TokenisedCorpus,
    tmp_path: Path,
) -> None:
    """Each task's gradients come from a pass of its own; heads keep theirs; weights count."""
    config = configure(
        shared_layer=shared_layer,
        tasks__sst__weight=3.0,
        stages__finetune__pcgrad=True,
        stages__finetune__combine=combine,
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

    draws = Draws(config, config.stages["finetune"], "multitask-0", list(config.tasks), small_corpus)  # type: ignore[arg-type]
    share = 1 / len(config.tasks) if combine == "mean" else 1.0
    inputs = {task: reference.head(task).inputs for task in config.tasks}  # type: ignore[attr-defined]
    batcher = Batcher(small_corpus, inputs, config.max_length, cpu)
    shared: list[np.ndarray] = []
    heads: dict[str, Tensor] = {}
    names = [n for n, _ in reference.named_parameters() if not n.startswith("heads.")]  # type: ignore[attr-defined]
    for task, indices in draws.requests(1, 0):
        reference.clear_gradients()  # type: ignore[attr-defined]
        batch = batcher.batch("train", [(task, indices)])
        output = reference(batch)[task]  # type: ignore[operator]
        labels = batch.parts[0].labels
        assert labels is not None
        loss = task_loss(config.tasks[task], output, labels)
        (share * config.tasks[task].weight * loss).backward()
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
