"""Gradients kept a row a task, words apart, are those of dense rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from minbert.checkpoint import EncoderFiles
from minbert.config import TrainConfig
from minbert.corpora.batching import Batcher
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.model import MultitaskModel, build_model
from minbert.task_gradients import TaskGradients

MakeConfig = Callable[..., TrainConfig]


def passes(model: MultitaskModel, corpus: TokenisedCorpus) -> list[Callable[[], None]]:
    """A backward pass for each of three tasks."""
    inputs = {task: model.head(task).inputs for task in model.heads}
    batcher = Batcher(corpus, inputs, 24, torch.device("cpu"))

    def backward(task: str) -> None:
        batch = batcher.batch("train", [(task, np.arange(3))])
        model(batch)[task].pow(2).sum().backward()

    return [lambda task=task: backward(task) for task in model.heads]


@pytest.fixture
def model(configure: MakeConfig, encoder_files: EncoderFiles) -> MultitaskModel:
    return build_model(configure(shared_layer="all"), encoder_files.config, encoder_files.weights())


def dense_rows(model: MultitaskModel, corpus: TokenisedCorpus) -> tuple[list[str], torch.Tensor]:
    """Names of the shared parameters and (tasks, parameters) their gradients."""
    shared = {n: p for n, p in model.named_parameters() if not n.startswith("heads.")}
    rows = []
    for backward in passes(model, corpus):
        model.clear_gradients()
        backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in shared.values()]
        rows.append(torch.cat([grad.flatten() for grad in grads]))
    model.clear_gradients()
    return list(shared), torch.stack(rows)


def test_dot_products_and_weighted_sums_equal_those_of_dense_rows(
    model: MultitaskModel, small_corpus: TokenisedCorpus
) -> None:
    names, rows = dense_rows(model, small_corpus)
    gradients = TaskGradients(model)
    for _ in range(2):  # the second round finds what the first one left
        model.clear_gradients()
        gradients.begin(3)
        for task, backward in enumerate(passes(model, small_corpus)):
            backward()
            gradients.take(task)
            model.clear_shared_gradients()
        np.testing.assert_allclose(gradients.gram(), (rows @ rows.T).numpy(), rtol=1e-4)
        weights = np.array([0.5, -2.0, 1.25])
        gradients.put(weights)
        found = torch.cat([model.get_parameter(name).grad.flatten() for name in names])  # type: ignore[union-attr]
        torch.testing.assert_close(found, torch.from_numpy(weights).float() @ rows, rtol=1e-4, atol=1e-5)


def test_the_words_of_a_cleared_step_leave_nothing(
    model: MultitaskModel, small_corpus: TokenisedCorpus
) -> None:
    gradients = TaskGradients(model)
    gradients.begin(2)
    passes(model, small_corpus)[0]()
    gradients.take(0)
    gradients.put([1.0, 1.0])
    words = model.encoder.embeddings.word_embeddings.weight
    assert words.grad is not None and words.grad.any()
    model.clear_gradients()
    assert words.grad is None or not words.grad.any()


def test_frozen_words_have_no_part(model: MultitaskModel, small_corpus: TokenisedCorpus) -> None:
    model.encoder.requires_grad_(False)
    gradients = TaskGradients(model)
    gradients.begin(3)
    for task, backward in enumerate(passes(model, small_corpus)):
        backward()
        gradients.take(task)
        model.clear_shared_gradients()
    gradients.put([1.0, 1.0, 1.0])
    assert model.encoder.embeddings.word_embeddings.weight.grad is None
    assert model.get_parameter("shared.dense.weight").grad is not None
