from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState
from scipy import stats

from analysis.ablation import leaderboard
from analysis.headline import headline, margin_of_first
from analysis.study import Study, load
from analysis.tables import compute_tables, summary_tables

PLAIN = {"stages.finetune.sampler.kind": "sequential"}


def two_configurations(new_study: Callable[..., Any], replicates: int) -> Study:
    writer = new_study()
    for replicate in range(replicates):
        for head in ("concat", "cross"):
            settings = {**PLAIN, "tasks.sts.head.kind": head}
            writer.add(TrialState.COMPLETE, settings, config_id=head, replicate=replicate)
    return load(writer.path)


def test_the_margin_of_one_run_each_is_the_paired_difference_over_examples(
    new_study: Callable[..., Any],
) -> None:
    study = two_configurations(new_study, 1)
    leaders = leaderboard(study.trials, study.tasks)
    margin = margin_of_first(study, leaders)
    assert margin is not None
    assert not margin.with_seeds
    assert margin.difference == pytest.approx(leaders["report"][0] - leaders["report"][1])
    # The bootstrap over examples knows nothing of influences.
    random, halves = np.random.default_rng(0), {}
    for task in study.tasks:
        stored = study.predictions(task).query("half == 'report'")
        outputs = stored.filter(like="output_").to_numpy()
        halves[task] = outputs.reshape(2, 200, -1), stored["label"].to_numpy()[:200]
    draws = []
    for _ in range(400):
        total = 0.0
        for task, (values_of_both, labels) in halves.items():
            pick = random.integers(0, 200, 200)
            both, truth = values_of_both[:, pick], labels[pick]
            if task == "sts":
                values = [(stats.pearsonr(one[:, 0], truth).statistic + 1) / 2 for one in both]
            elif task == "qqp":
                values = [np.mean((one[:, 0] >= 0.5) == truth) for one in both]
            else:
                values = [np.mean(one.argmax(axis=1) == truth) for one in both]
            total += (values[1] - values[0]) / 3
        draws.append(total)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (margin.low, margin.high) == pytest.approx((low, high), abs=0.25 * (high - low))


def test_replicates_add_the_seeds_part_to_the_interval(new_study: Callable[..., Any]) -> None:
    study = two_configurations(new_study, 3)
    leaders = leaderboard(study.trials, study.tasks)
    both = margin_of_first(study, leaders)
    examples_only = margin_of_first(study, leaders.assign(n=1))
    assert both is not None
    assert examples_only is not None
    assert both.with_seeds
    assert both.difference == examples_only.difference
    assert both.high - both.low > examples_only.high - examples_only.low
    wider = margin_of_first(study, leaders.assign(report_sd=0.1))
    assert wider is not None
    assert wider.low < 0 < wider.high


def test_scores_chosen_and_quoted_on_the_same_examples_are_called_optimistic(
    new_study: Callable[..., Any],
) -> None:
    for selection, optimistic in (("dev_half", False), ("dev", True)):
        writer = new_study(selection, selection=selection)
        for head in ("concat", "cross"):
            writer.add(TrialState.COMPLETE, {**PLAIN, "tasks.sts.head.kind": head}, config_id=head)
        study = load(writer.path)
        tables = compute_tables(study)
        won = next(line.text for line in headline(study, tables) if line.topic == "Won")
        leaders = next(iter(summary_tables(study, tables).items()))
        assert ("optimistic" in won) == optimistic
        assert ("optimistic" in leaders[0]) == optimistic
        assert (set(leaders[1]["optimism"]) == {"–"}) == optimistic
