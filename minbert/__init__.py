"""Multitask minBERT: the model and how one configuration is trained; knows nothing of Ray or Optuna."""
