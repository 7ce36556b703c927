"""The search: ray and optuna around minbert."""
