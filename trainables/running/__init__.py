"""The search at work: Ray Tune's driver, Optuna's searcher, and what runs on a worker."""
