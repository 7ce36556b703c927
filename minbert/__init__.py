"""Multitask minBERT: the model and how one configuration is trained; knows nothing of Ray or Optuna."""

import os

from minbert.loading import load_interruptibly

# On a CPU, torch keeps a compiled product for every shape it meets (1,024 of them by default), which took gigabytes. The
# tokens of a step, rounded up, have about ten values, and a layer a dozen products of each. Read at the first product.
for _name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "256")

load_interruptibly()
