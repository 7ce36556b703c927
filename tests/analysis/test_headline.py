from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState
from scipy import stats

from analysis.ablation import leaderboard
from analysis.description import Factor
from analysis.headline import NoMargin, headline, lead, margin_of_first
from analysis.intervals import interval
from analysis.provenance import encoder_name
from analysis.sections import report_sections
from analysis.sections.trade_offs import pareto_sections
from analysis.settings_text import telling_settings
from analysis.study import Study, load
from analysis.tables import compute_tables, effects_note, summary_tables

EXAMPLE = Path(__file__).parents[2] / "analysis" / "notebooks" / "example_study"
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
                values = [np.mean((one[:, 0] > 0.5) == truth) for one in both]
            else:
                values = [np.mean(one.argmax(axis=1) == truth) for one in both]
            total += (values[1] - values[0]) / 3
        draws.append(total)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (margin.low, margin.high) == pytest.approx((low, high), abs=0.25 * (high - low))


def with_replicates(new_study: Callable[..., Any], concat: tuple[int, ...]) -> tuple[Study, Any]:
    """Three runs of the better configuration, and the given ones of the other; scores by both."""
    writer = new_study()
    for head, replicates in (("cross", (0, 1, 2)), ("concat", concat)):
        for replicate in replicates:
            settings = {**PLAIN, "tasks.sts.head.kind": head}
            writer.add(TrialState.COMPLETE, settings, config_id=head, replicate=replicate)
    study = load(writer.path)
    return study, study.trials.set_index(["config_id", "replicate"])["report/score"]


def test_runs_of_common_replicates_are_compared_in_pairs(new_study: Callable[..., Any]) -> None:
    study, runs = with_replicates(new_study, (0, 1, 2))
    margin = margin_of_first(study, leaderboard(study.trials, study.tasks))
    differences = runs["cross"] - runs["concat"]
    assert margin.with_seeds
    assert margin.difference == pytest.approx(differences.mean())
    assert (margin.high - margin.low) / 2 > 1.96 * differences.std() / np.sqrt(3)


def test_a_run_without_its_pair_does_not_enter_a_paired_margin(new_study: Callable[..., Any]) -> None:
    study, runs = with_replicates(new_study, (1, 2))
    margin = margin_of_first(study, leaderboard(study.trials, study.tasks))
    assert margin.with_seeds
    assert margin.difference == pytest.approx((runs["cross"][[1, 2]] - runs["concat"]).mean())


def test_without_two_common_replicates_means_are_compared_over_examples_only(
    new_study: Callable[..., Any],
) -> None:
    study, runs = with_replicates(new_study, (0,))
    margin = margin_of_first(study, leaderboard(study.trials, study.tasks))
    assert not margin.with_seeds
    assert margin.difference == pytest.approx(runs["cross"].mean() - runs["concat"].mean())
    assert margin.low < margin.difference < margin.high


@pytest.mark.parametrize("spread", [(0.5, 0.2), (0.05, 1.5)], ids=["seed-dominated", "example-dominated"])
@pytest.mark.parametrize("runs", [1, 3, 5])
def test_the_margins_interval_covers_the_truth_93_to_97_times_in_100(
    runs: int, spread: tuple[float, float]
) -> None:
    """Two tasks of 100 examples; a run's ability varies with its seed."""
    random, (seeds, own), studies = np.random.default_rng(runs), spread, 2500
    ability = seeds * random.standard_normal((studies, 2, runs, 1), np.float32)
    shift = np.array([0.3, 0.0], np.float32).reshape(1, 2, 1, 1)
    tasks = []
    for _ in range(2):
        examples = own * random.standard_normal((studies, 2, 1, 100), np.float32)
        examples += random.standard_normal((studies, 1, 1, 100), np.float32)
        noise = random.standard_normal((studies, 2, runs, 100), np.float32)
        tasks.append((ability + shift + examples + noise > 0).astype(float))
    found = lead([one[:, 0] for one in tasks], [one[:, 1] for one in tasks], paired=runs > 1)
    low, high = interval(found)
    if runs == 1:  # over other examples, for these two trained models
        chances = stats.norm.cdf((ability + shift)[..., 0, 0] / np.sqrt(2 + own**2))
        truth = chances[:, 0] - chances[:, 1]
    else:
        truth = stats.norm.cdf(0.3 / np.sqrt(2 + own**2 + seeds**2)) - 0.5
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.97


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
        columns = list(leaders[1])[3:5]  # one set of examples has one score
        assert columns == (["score", "sst"] if optimistic else ["select", "report"])
        assert {"optimism", "full dev"}.isdisjoint(leaders[1]) == optimistic


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the correlation over one example
def test_one_report_example_gives_no_margin(new_study: Callable[..., Any]) -> None:
    writer = new_study(examples=3)
    for head in ("concat", "cross"):
        writer.add(TrialState.COMPLETE, {**PLAIN, "tasks.sts.head.kind": head}, config_id=head)
    study = load(writer.path)
    with pytest.raises(NoMargin, match="sst has fewer than two examples to quote"):
        margin_of_first(study, leaderboard(study.trials, study.tasks))


def of_fewer_examples(file: Path) -> None:
    pd.read_parquet(file).iloc[5:].to_parquet(file)


def test_trials_that_cannot_be_compared_are_left_out_of_the_margin_by_number_and_reason(
    new_study: Callable[..., Any],
) -> None:
    study, runs = with_replicates(new_study, (0, 1, 2))
    of_fewer_examples(study.trial_folder(1) / "predictions" / "sst.parquet")  # the second run of cross
    (study.trial_folder(5) / "predictions" / "qqp.parquet").write_bytes(b"junk")  # the third of concat
    leaders = leaderboard(study.trials, study.tasks)
    margin = margin_of_first(study, leaders)
    assert margin.left_out == {1: "other examples", 5: "a damaged file"}
    assert not margin.with_seeds  # one common replicate is left
    assert margin.difference == pytest.approx(
        runs["cross"].iloc[[0, 2]].mean() - runs["concat"].iloc[:2].mean()
    )
    told = {line.topic: line.text for line in headline(study, compute_tables(study))}
    assert "left out: trial 1: other examples; trial 5: a damaged file" in told["By how much, how sure"]


def test_without_a_margin_the_trial_and_the_reason_are_told(new_study: Callable[..., Any]) -> None:
    study = two_configurations(new_study, 1)
    (study.trial_folder(0) / "predictions" / "sts.parquet").unlink()
    told = {line.topic: line.text for line in headline(study, compute_tables(study))}
    text = told["By how much, how sure"]
    assert text.endswith("against the second best no interval can be given: trial 0: no stored predictions.")


def test_the_lead_over_the_median_is_called_that_of_the_best_of_many(new_study: Callable[..., Any]) -> None:
    study = two_configurations(new_study, 2)
    tables = compute_tables(study)
    text = next(line.text for line in headline(study, tables) if line.topic.startswith("By how much"))
    scores = study.trials.groupby("config_id")["report/score"].mean()
    assert text.startswith(
        f"{100 * (scores['cross'] - scores.median()):+.1f} points of score above the median of 2"
    )
    assert "(the best of many, so luck is in it and there is no interval)" in text


def test_without_stored_scores_no_lead_is_written_down(new_study: Callable[..., Any]) -> None:
    writer = new_study()
    for head in ("concat", "cross"):
        writer.add(TrialState.COMPLETE, {**PLAIN, "tasks.sts.head.kind": head}, config_id=head, metrics={})
    study = load(writer.path)
    text = next(
        line.text for line in headline(study, compute_tables(study)) if line.topic.startswith("By how much")
    )
    assert "–" not in text and "median" not in text


SETTING = {
    "data": {"path": "/my/course/data", "examples": {"sst": {"train": 8544, "dev": 1101}, "qqp": {"dev": 7}}},
    "encoder": {"path": "/models/minilm/model", "name": "model"},
    "space": {"name": "small_ablation", "fidelity": 0.02},
    "command": "python -m trainables.search --set fidelity=0.02 --set max_length=64 --set=search.replicates=3",
}


def test_the_first_lines_say_on_what_and_with_what_all_was_trained(new_study: Callable[..., Any]) -> None:
    study = load(new_study(**SETTING).path)
    told = {line.topic: line.text for line in headline(study, compute_tables(study))}
    assert told["Trained on"] == (
        "course/data (training examples: sst 8,544), with minilm/model, fidelity 0.02; set for all runs: max_length=64."
    )
    plain = load(new_study("plain").path)
    told = {line.topic: line.text for line in headline(plain, compute_tables(plain))}
    assert told["Trained on"] == "the bundled miniature data, with the bundled miniature encoder, fidelity 1."


def test_a_downloaded_encoder_has_its_name_on_the_hub(new_study: Callable[..., Any]) -> None:
    path = "/cache/hub/models--google-bert--bert-base-uncased/snapshots/86b5e0934494"
    study = load(new_study(encoder={"path": path, "name": "86b5e0934494"}).path)
    assert encoder_name(study) == "google-bert/bert-base-uncased"


@pytest.mark.parametrize(("content", "state"), [(None, "is gone"), (b"", "is empty")])
def test_a_lost_journal_is_not_a_study_that_has_not_begun(
    new_study: Callable[..., Any], content: bytes | None, state: str
) -> None:
    path = two_configurations(new_study, 2).path
    (path / "journal.log").unlink()
    if content is not None:
        (path / "journal.log").write_bytes(content)
    study = load(path)
    tables = compute_tables(study)
    told = {line.topic: line.text for line in headline(study, tables)}
    assert told["Won"] == f"unknown: 4 trial folders are there, but journal.log {state}."
    assert "no trial that can be read of 30 asked for" in told["Searched"]


@pytest.mark.parametrize(
    ("states", "trials", "said"),
    [
        ([TrialState.PRUNED] * 2, 2, "no trial is complete."),
        ([TrialState.PRUNED] * 2, 3, "no trial is complete yet."),
        ([TrialState.PRUNED, TrialState.RUNNING], 2, "no trial is complete yet."),
    ],
)
def test_yet_is_said_only_where_trials_are_to_come(
    new_study: Callable[..., Any], states: list[TrialState], trials: int, said: str
) -> None:
    writer = new_study(trials=trials)
    for state in states:
        writer.add(state, {**PLAIN, "tasks.sts.head.kind": "cross"})
    study = load(writer.path)
    tables = compute_tables(study)
    assert dict((line.topic, line.text) for line in headline(study, tables))["Won"] == f"nothing: {said}"
    assert report_sections(study, tables)[0].note == f"N{said[1:]}"


def test_the_headline_of_one_factor_tells_the_surest_differences_from_the_base() -> None:
    study = load(EXAMPLE)
    tables = compute_tables(study)
    told = {line.topic: line.text for line in headline(study, tables)}["Against the base"]
    assert told.startswith("qqp.head cosine -12.6 points (-16.2 to -9.1); sts.head concat -12.2 points")
    assert "and 2 more. Of 9 levels: 4 undecided, 3 better, 2 worse" in told
    unsure = tables.ablation.assign(verdict="undecided")  # type: ignore[union-attr]
    lines = headline(study, dataclasses.replace(tables, ablation=unsure))
    told = {line.topic: line.text for line in lines}["Against the base"]
    assert told.startswith("no level's difference is sure (13 undecided)")


def test_without_halves_nothing_is_said_as_if_there_were_two(new_study: Callable[..., Any]) -> None:
    writer = new_study(selection="dev")
    for head in ("concat", "cross", "cosine"):
        writer.add(TrialState.COMPLETE, {**PLAIN, "tasks.sts.head.kind": head}, config_id=head)
    for file in writer.path.glob("trials/*/predictions/*.parquet"):
        pd.read_parquet(file).assign(half=None).to_parquet(file)
    study = load(writer.path)
    tables = compute_tables(study)
    told = {line.topic: line.text for line in headline(study, tables)}
    for topic in ("By how much, how sure", "Ensemble"):
        assert "chosen and quoted on the same examples: optimistic" in told[topic]
    assert set(summary_tables(study, tables)["Ensemble"]["optimism"]) == {"–"}
    sections = {section.title: section for section in report_sections(study, tables)}
    front = sections["Pareto front of the tasks"]
    said = [front.note, sections["Ensemble"].note, *(picture.caption for picture in front.pictures)]
    assert front.table is not None
    assert not any("report" in text or "select half" in text for text in [*said, *front.table.columns])
    leaders = next(section for title, section in sections.items() if title.startswith("Top configurations"))
    assert "select minus report" not in leaders.note
    assert "papers did" in leaders.note


def test_with_halves_the_ensemble_is_not_called_optimistic(new_study: Callable[..., Any]) -> None:
    study = two_configurations(new_study, 1)
    tables = compute_tables(study)
    told = {line.topic: line.text for line in headline(study, tables)}
    assert told["Ensemble"].startswith("report score")
    assert not any("optimistic" in told[topic] for topic in ("By how much, how sure", "Ensemble"))
    assert "–" not in set(summary_tables(study, tables)["Ensemble"]["optimism"])


def test_one_trial_has_nothing_to_combine(new_study: Callable[..., Any]) -> None:
    writer = new_study()
    writer.add(TrialState.COMPLETE, {**PLAIN, "tasks.sts.head.kind": "cross"})
    study = load(writer.path)
    tables = compute_tables(study)
    lines = {line.topic: line.text for line in headline(study, tables)}
    assert lines["Ensemble"] == "only one trial has stored predictions, so there is nothing to combine."
    section = next(one for one in report_sections(study, tables) if one.title == "Ensemble")
    assert "nothing to combine" in section.note
    assert section.table is None


@pytest.mark.parametrize(
    ("best", "middle", "said"),
    [
        (0.05, 0.9, "5.0 points for the best-covered level, 90.0 for the middle one; read"),
        (
            *(0.273, 2.493),
            "27.3 points for the best-covered level, none for the middle one, where it would take more than the 100 points of the scale; read",
        ),
        (1.2, 2.493, "none, it would take more than the 100 points of the scale for every level; read"),
    ],
)
def test_an_effect_larger_than_the_scale_is_none_that_can_be_seen(
    new_study: Callable[..., Any], best: float, middle: float, said: str
) -> None:
    tables = compute_tables(two_configurations(new_study, 1))
    effects = tables.effects.assign(visible=np.nan, slope=False)
    effects.loc[effects.index[:3], "visible"] = [best, middle, 9.0]
    note = effects_note(dataclasses.replace(tables, effects=effects))
    assert f"(80% power after the correction): {said}" in note
    assert "249.3" not in note


@pytest.mark.parametrize(
    ("last", "said"), [(0.7, "1 of 3 complete trials is beaten"), (0.6, "2 of 3 complete trials are beaten")]
)
def test_a_front_of_one_is_told_in_the_singular(
    new_study: Callable[..., Any], last: float, said: str
) -> None:
    writer = new_study()
    for score in (0.5, 0.6, last):
        writer.add_curve(TrialState.COMPLETE, {}, [score])
    (section,) = pareto_sections(load(writer.path))
    assert section.note.startswith(said)


def test_of_many_settings_those_are_told_that_differ_from_the_first_levels() -> None:
    factors = [Factor(path=f"factor{place}", levels=("plain", "other")) for place in range(20)]
    levels = {factor.path: "other" if place in (3, 12) else "plain" for place, factor in enumerate(factors)}
    row = pd.Series({**levels, "factor5": None})
    assert telling_settings(row, factors) == "factor3=other, factor12=other and 17 more"
    others = pd.Series(dict.fromkeys(levels, "other"))
    assert telling_settings(others, factors).endswith("factor7=other and 12 more")
    assert telling_settings(row, factors[:4]) == "factor0=plain, factor1=plain, factor2=plain, factor3=other"
    base = {"factor1": "other", "factor3": "other"}
    assert telling_settings(row, factors, base) == "factor1=plain, factor12=other and 17 more"
