"""What Tune still holds of a trial that has ended."""

from __future__ import annotations

import pickle

import pytest
from ray.tune.experiment import Trial

from trainables.running.searcher import EndedTrials


@pytest.mark.parametrize("end", ["on_trial_complete", "on_trial_error"])
def test_a_trial_that_has_ended_holds_neither_configuration_nor_results_and_can_be_put_in_a_snapshot(
    end: str,
) -> None:
    config = {"config": {"pooling": "mean" * 1000}}
    trial = Trial("stub", config=config, evaluated_params={"config/pooling": "mean" * 1000}, stub=True)
    trial.set_experiment_tag("mean" * 1000)
    trial.update_last_result(
        {"score": 0.5, "records": [{"stage": "finetune" * 1000}], "training_iteration": 1}
    )
    before = len(pickle.dumps(trial.__getstate__()))
    getattr(EndedTrials(), end)(0, [trial], trial)
    assert trial.last_result["done"]
    assert "records" not in trial.last_result
    assert len(pickle.dumps(trial.__getstate__())) < 5000 < before
    assert all(len(part) < 5000 for part in trial.get_json_state())
