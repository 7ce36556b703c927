"""What may be quoted of stored predictions, and why the rest may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from analysis import quoted
from analysis.quoted import left_out, read_quoted, told, told_trials
from analysis.scoring import stack
from analysis.study import Study, load
from tests.analysis.conftest import StudyWriter, sample_parameters


def write(new_study: Callable[..., StudyWriter], count: int) -> Study:
    writer, random = new_study(), np.random.default_rng(0)
    for _ in range(count):
        writer.add(TrialState.COMPLETE, sample_parameters(random))
    return load(writer.path)


def file_of(study: Study, number: int, task: str = "sst") -> Path:
    return study.trial_folder(number) / "predictions" / f"{task}.parquet"


def change(study: Study, number: int, **columns: object) -> None:
    """Overwrite columns of a trial's predictions for sst; without any, leave five examples out."""
    frame = pd.read_parquet(file_of(study, number))
    (frame.assign(**columns) if columns else frame.iloc[5:]).to_parquet(file_of(study, number))


def test_later_blocks_must_have_the_examples_of_the_first(
    new_study: Callable[..., StudyWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write(new_study, 6)
    for number in (3, 4, 5):  # most of the later blocks
        change(study, number)
    monkeypatch.setattr(quoted, "_BLOCK", 3)
    read = read_quoted(study, range(6))
    assert sorted(read.pulls["sst"]) == [0, 1, 2]
    assert read.left_out == dict.fromkeys((3, 4, 5), "other examples")


def test_every_trial_that_cannot_be_quoted_has_its_reason(new_study: Callable[..., StudyWriter]) -> None:
    study = write(new_study, 7)
    change(study, 1)
    change(study, 2, output_0=np.nan)
    change(study, 3, label=np.nan)
    file_of(study, 4).write_bytes(b"junk")
    file_of(study, 5).unlink()
    expected = {
        1: "other examples",
        2: "outputs that are no numbers",
        3: "no labelled dev example, or outputs that are no numbers",
        4: "a damaged file",
        5: "no stored predictions",
    }
    numbers = range(7)
    assert left_out(study, "sst", numbers, stack(study.predictions("sst", numbers))) == expected
    assert left_out(study, "qqp", numbers, stack(study.predictions("qqp", numbers))) == {}
    assert read_quoted(study, numbers).left_out == expected


def test_trials_of_one_reason_are_told_together_and_not_all_of_many() -> None:
    reasons = {9: "gone", 3: "other", 1: "gone", 4: "gone"}
    assert told(reasons) == "1, 4, 9: gone; 3: other"
    assert told(reasons, shown=2) == "1, 4 and 1 more: gone; 3: other"
    assert told_trials(reasons) == "trials 1, 4, 9: gone; trial 3: other"
    assert told_trials(reasons, shown=1) == "trials 1 and 2 more: gone; trial 3: other"
