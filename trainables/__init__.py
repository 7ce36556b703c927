"""The search: ray and optuna around minbert."""

from minbert.loading import load_interruptibly

load_interruptibly()
