"""Dropout masks: their rate, their independence, and that the seed decides them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minbert.dropout import DropoutStream

CPU = torch.device("cpu")


def kept(seed: int, count: int, rate: float) -> np.ndarray:
    stream = DropoutStream(CPU)
    stream.seed(seed)
    return (stream(torch.ones(count), rate) != 0).numpy()


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_the_rate_is_kept_within_sampling_error(rate: float) -> None:
    count = 1_000_000
    share = 1 - kept(0, count, rate).mean()
    assert abs(share - rate) < 4.5 * np.sqrt(rate * (1 - rate) / count) + 2**-16


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_kept_elements_are_scaled_so_that_the_mean_stays(rate: float) -> None:
    stream = DropoutStream(CPU)
    stream.seed(1)
    out = stream(torch.full((1000, 100), 3.0), rate)
    values = set(out.unique().tolist())
    assert len(values) == 2 and 0.0 in values
    assert max(values) == pytest.approx(3 / (1 - rate), rel=1e-4)


def test_the_same_seed_gives_the_same_masks_and_another_seed_others() -> None:
    assert np.array_equal(kept(5, 10_001, 0.3), kept(5, 10_001, 0.3))
    assert 0.3 < (kept(5, 10_001, 0.3) != kept(6, 10_001, 0.3)).mean() < 0.55


def test_masks_of_one_step_differ() -> None:
    stream = DropoutStream(CPU)
    stream.seed(2)
    x = torch.ones(4000)
    one, two = stream(x, 0.5), stream(x, 0.5)
    assert 0.4 < (one != two).float().mean() < 0.6


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 5, 8])
def test_elements_from_one_draw_are_independent(distance: int) -> None:
    """Four elements share a 64-bit draw; neither they nor neighbouring draws may go together."""
    mask = kept(9, 1_000_000, 0.5).astype(float)
    assert abs(np.corrcoef(mask[:-distance], mask[distance:])[0, 1]) < 0.005
    lanes = np.corrcoef(mask.reshape(-1, 4).T)
    assert np.abs(lanes - np.eye(4)).max() < 0.01


def test_a_stream_that_was_not_seeded_or_was_stopped_changes_nothing() -> None:
    stream = DropoutStream(CPU)
    x = torch.randn(50)
    assert stream(x, 0.5) is x
    stream.seed(0)
    assert stream(x, 0.0) is x and not torch.equal(stream(x, 0.5), x)
    stream.stop()
    assert stream(x, 0.5) is x


def test_gradients_pass_through_the_kept_elements_alone() -> None:
    stream = DropoutStream(CPU)
    stream.seed(0)
    x = torch.ones(1000, requires_grad=True)
    out = stream(x, 0.4)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def test_the_highest_rate_below_one_stays_finite() -> None:
    stream = DropoutStream(CPU)
    stream.seed(0)
    assert torch.isfinite(stream(torch.ones(100_000), 0.9999999)).all()


@pytest.mark.parametrize("shape", [(1,), (3,), (7, 5), (2, 3, 5, 7)])
def test_any_shape_and_type_keeps_its_shape_and_type(shape: tuple[int, ...]) -> None:
    stream = DropoutStream(CPU)
    stream.seed(0)
    out = stream(torch.ones(shape, dtype=torch.bfloat16), 0.5)
    assert out.shape == shape and out.dtype == torch.bfloat16
