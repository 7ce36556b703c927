"""What the end of a search prints: tables that fit a screen, and where the rest is."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from optuna.trial import TrialState
from rich.console import Console

from analysis.sections import report_sections
from analysis.study import load
from analysis.tables import compute_tables, effects_unsaid, settings_left_out, summary_tables
from analysis.terminal import print_table
from tests.analysis.conftest import StudyWriter, sample_parameters


def test_the_first_configurations_are_told_by_their_settings(searched: Path) -> None:
    (_, leaders), *_ = summary_tables(load(searched), top=5).items()
    assert [bool(told) for told in leaders["settings"]] == [True] * 3 + [False] * 2
    assert settings_left_out(leaders) and not settings_left_out(leaders.head(3))


def test_settings_of_few_factors_are_told_of_all(searched: Path) -> None:
    study = load(searched)
    del study.factors[4:]
    (_, leaders), *_ = summary_tables(study, top=5).items()
    assert leaders["settings"].all() and not settings_left_out(leaders)


def test_a_table_of_effects_that_says_nothing_yet_is_one_line(
    searched: Path, new_study: Callable[..., StudyWriter]
) -> None:
    assert effects_unsaid(compute_tables(load(searched))) == ""
    writer = new_study()
    random = np.random.default_rng(1)
    for _ in range(2):
        writer.add(TrialState.COMPLETE, sample_parameters(random))
    study = load(writer.path)
    tables = compute_tables(study)
    (said,) = re.findall(
        r"^too few trials to say anything about effects: (\d+) of (\d+) levels", effects_unsaid(tables)
    )
    verdicts = tables.effects.loc[tables.effects["verdict"] != "baseline", "verdict"]
    assert said == (str(verdicts.isin(["too few", "never ran"]).sum()), str(len(verdicts)))
    assert not any(title.startswith("Main effects") for title in summary_tables(study, tables))
    assert any(section.title.startswith("Main effects") for section in report_sections(study, tables))


def test_settings_are_folded_between_them_and_a_wide_table_does_not_widen_what_follows() -> None:
    written = io.StringIO()
    console = Console(file=written, width=30, soft_wrap=True)
    settings = ["sampler=annealed, order=[sst, qqp, sts], smart.weight=0.5 and 3 more", "", "pooling=mean"]
    frame = pd.DataFrame({"#": ["1", "2", "3"], "score": ["0.1234567 " * 5] * 3, "cost": "1 h"})
    print_table(console, "Top", frame.assign(settings=settings))
    assert written.getvalue().splitlines()[-4:] == [
        "1: sampler=annealed,",
        "   order=[sst, qqp, sts],",
        "   smart.weight=0.5 and 3 more",
        "3: pooling=mean",
    ]
    assert console.width == 30
