"""The peak of a stretch is what it held at most, not what an earlier one held."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minbert.memory import _CLEAR, peak_bytes, reset_peak

CPU = torch.device("cpu")
MIB = 2**20


@pytest.mark.skipif(not _CLEAR.exists(), reason="this system does not keep a peak that can be reset")
def test_the_peak_of_a_stretch_forgets_earlier_ones() -> None:
    reset_peak(CPU)
    before = peak_bytes(CPU)
    block = np.ones(128 * MIB, dtype=np.uint8)
    assert peak_bytes(CPU) - before > 100 * MIB
    del block
    reset_peak(CPU)
    assert peak_bytes(CPU) - before < 64 * MIB
