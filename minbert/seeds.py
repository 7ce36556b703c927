"""Independent random streams, each named by what it is for.

Every draw of a trial comes from a stream seed(trial seed, stage, purpose, counters). A
stream does not depend on how many numbers others have drawn, so replicates stay paired
across configurations, and a run resumed at any step draws what it would have drawn.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream_seed(seed: int, *names: str | int) -> int:
    """Derive the seed (63 bits) of the stream with these names."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stream with these names."""
    return np.random.Generator(np.random.PCG64(stream_seed(seed, *names)))
