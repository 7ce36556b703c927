"""Losses that tell a sentence's own counterpart from those of the other sentences of a batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def simcse_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Unsupervised SimCSE: each sentence's second encoding is its positive, the batch its negatives.

    Args:
        first, second: (batch, hidden) encodings of the same sentences under two dropout masks.
        temperature: divisor of the cosines.

    Source: Gao, Yao and Chen 2021, equation 4.
    """
    return _own_column(_cosines(first, second) / temperature)


def supervised_simcse_loss(
    sentence: Tensor,
    positive: Tensor,
    negative: Tensor,
    temperature: float,
    hard_negative_weight: float = 1.0,
    same: Tensor | None = None,
) -> Tensor:
    """Supervised SimCSE: the batch's other positives and all its hard negatives are negatives.

    Args:
        sentence, positive, negative: (batch, hidden) encodings of the three texts of each example.
        temperature: divisor of the cosines.
        hard_negative_weight: α, by which the exponential of a sentence's own hard negative is multiplied.
        same: (batch, 2 · batch) bool: which of [positives | negatives] have the text of the row's own
            positive; they are left out, the positive itself stays.

    Source: Gao, Yao and Chen 2021, equation 5 and appendix B (α).
    """
    similarity = torch.cat([_cosines(sentence, positive), _cosines(sentence, negative)], dim=1) / temperature
    weights = torch.zeros_like(similarity)
    weights.diagonal(len(sentence)).fill_(math.log(hard_negative_weight))
    return _own_column(similarity + weights, same)


def mnr_loss(first: Tensor, second: Tensor, same: Tensor | None = None) -> Tensor:
    """Multiple negatives ranking: the first text of a pair must find its second one, by raw dot products.

    Args:
        first, second: (batch, hidden) encodings of the two texts of positive pairs.
        same: (batch, batch) bool: which second texts are no wrong answers for the row, as pairs have a text in
            common; they are left out, the own one itself stays.

    Source: Henderson et al. 2017, section 4.4; one direction, without a temperature.
    """
    return _own_column(first @ second.T, same)


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    return F.normalize(first, dim=1) @ F.normalize(second, dim=1).T


def _own_column(scores: Tensor, left_out: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of (batch, candidates) scores; row i's right candidate stands in column i."""
    own = torch.arange(len(scores), device=scores.device)
    if left_out is not None:
        left_out = left_out.clone()
        left_out[own, own] = False
        scores = scores.masked_fill(left_out, -math.inf)
    return F.cross_entropy(scores, own)
