"""Which model of a study is taken, and what is said where the study has not come to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState

from analysis.model_choice import choose_model
from analysis.provenance import unfinished
from analysis.study import load
from minbert.errors import UserError
from tests.analysis.conftest import StudyWriter, sample_parameters


def test_a_trial_without_an_end_is_called_begun_whether_or_not_a_search_is_at_work(searched: Path) -> None:
    with pytest.raises(UserError, match=r"trial 32 is begun: only trials that came to an end have a model"):
        choose_model(load(searched), 32)


@pytest.mark.parametrize(
    ("states", "meta", "told"),
    [
        (["COMPLETE", "PRUNED", "FAIL"], {"trials": 3}, ""),
        (["COMPLETE", "PRUNED", "RUNNING"], {"trials": 3}, "2 of 3 trials"),
        (["COMPLETE"], {"trials": 24}, "1 of 24 trials"),
        (["COMPLETE"], {"trials": 24, "exhausted": 1}, ""),
        ([], {"trials": 24}, "0 of 24 trials"),
    ],
)
def test_a_study_is_finished_where_all_trials_that_were_asked_for_have_ended(
    new_study: Callable[..., StudyWriter], states: list[str], meta: dict[str, int], told: str
) -> None:
    writer = new_study(**meta)
    for state in states:
        writer.add(TrialState[state], sample_parameters(np.random.default_rng(1)))
    assert unfinished(load(writer.path)) == told
