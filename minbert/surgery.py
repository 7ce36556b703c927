"""PCGrad: gradients of tasks that conflict are projected onto each other's normal plane.

Source: Yu et al. 2020, algorithm 1. All projections act on linear combinations of the
original gradients, so they are done on coefficients with the small Gram matrix of dot
products; the long vectors are read twice, however many tasks there are.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def pcgrad_weights(gram: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weights of the tasks' original gradients in the sum of the projected ones.

    Args:
        gram: (tasks, tasks) dot products of the tasks' gradients.
        rng: order in which the other tasks are visited.

    Returns:
        (tasks,) weights; all ones without a conflict.
    """
    tasks = len(gram)
    coefficients = np.eye(tasks)
    for i in range(tasks):
        for j in rng.permutation(tasks):
            dot = coefficients[i] @ gram[:, j]
            if j != i and dot < 0:
                coefficients[i, j] -= dot / gram[j, j]
    return coefficients.sum(axis=0)


def combine(gradients: Tensor, rng: np.random.Generator) -> Tensor:
    """Sum of the projected gradients; ``gradients`` (tasks, parameters) → (parameters,)."""
    gram = (gradients @ gradients.T).double().cpu().numpy()
    weights = torch.from_numpy(pcgrad_weights(gram, rng)).to(gradients)
    return weights @ gradients
