"""Claims of a source judged in synthetic listed studies: differences, intervals, verdicts, and what is not measured."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial
from scipy import stats
from scipy.optimize import brentq

from analysis.claim_forms import Contrast
from analysis.claim_measures import measure
from analysis.claim_pages import claims_page
from analysis.claims import claim_table, main, verdict
from analysis.paper_setting import other_setting
from analysis.report import main as write_page
from analysis.study import Study, load
from minbert.command_line import run as run_command
from minbert.errors import UserError

EXAMPLES = 400
TASKS = {
    "sst": {"kind": "classification", "classes": 3},
    "qqp": {"kind": "binary"},
    "sts": {"kind": "regression"},
}
RANDOM = np.random.default_rng(5)
EASE = {task: RANDOM.uniform(size=EXAMPLES) for task in TASKS}
NOISE = RANDOM.normal(size=EXAMPLES)
LABELS = {
    "sst": RANDOM.integers(0, 3, EXAMPLES).astype(float),
    "qqp": RANDOM.integers(0, 2, EXAMPLES).astype(float),
    "sts": RANDOM.uniform(0, 5, EXAMPLES),
}
SETTING = {"encoder": "big"}
SIZES = {task: {"train": 9, "dev": 400} for task in ("sst", "qqp", "sts")}
COUNTS = {task: {"train": 9, "dev": 400} for task in TASKS}
"""Those of the paper's setting."""


def outputs(task: str, skill: float) -> np.ndarray:
    """Predictions that are right on the easiest ``skill`` share of the examples, or as noisy as that."""
    labels, right = LABELS[task], EASE[task] < skill
    if task == "sst":
        return np.eye(3)[np.where(right, labels, (labels + 1) % 3).astype(int)]
    if task == "qqp":
        return np.where(right, labels, 1 - labels)[:, None]
    return (skill * labels + 2 * (1 - skill) * NOISE)[:, None]


def metric(task: str, skill: float) -> float:
    if task == "sts":
        return float(np.corrcoef(outputs(task, skill)[:, 0], LABELS[task])[0, 1])
    return float(np.mean(EASE[task] < skill))


def write_study(
    folder: Path,
    skills: Mapping[str, Sequence[float | None]],
    contrasts: Sequence[Mapping[str, Any]] = (),
    runs: Mapping[str, Any] | None = None,
    predictions: bool = True,
    train: float | None = None,
    **meta: Any,
) -> Study:
    """A listed study: a run's skill in each replicate (None: still running), one claim with these contrasts."""
    name = meta.pop("name", "papers/here")
    claim = {"says": "a is better", "section": "4.2", "contrasts": list(contrasts)}
    content = {
        "schema_version": 1,
        "name": name,
        "factors": [{"path": "run", "levels": list(skills)}],
        "tasks": TASKS,
        "runs": runs or {run: {"trained_as": run} for run in skills},
        "paper": {"name": "999", "average": "plain", "setting": SETTING, "sizes": SIZES},
        "claims": {"1.1": claim} if contrasts else {},
        "encoder": {"name": "big"},
        "data": {"examples": COUNTS},
        **meta,
    }
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = optuna.create_study(storage=storage, study_name="study", direction="maximize")
    every = [(run, at, skill) for run, own in skills.items() for at, skill in enumerate(own)]
    for number, (run, replicate, skill) in enumerate(every):
        trial = folder / "trials" / f"{number:05d}"
        trial.mkdir(parents=True)
        (trial / "config.yaml").write_text("seed: 11\n")
        if skill is not None:
            _write_trial(trial, skill, predictions, train)
        journal.add_trial(_trial(run, list(skills), replicate, skill))
    return load(folder)


def _trial(run: str, levels: list[str], replicate: int, skill: float | None) -> optuna.trial.FrozenTrial:
    metrics = {f"dev/{task}": metric(task, skill) for task in TASKS} if skill is not None else {}
    return create_trial(
        state=TrialState.RUNNING if skill is None else TrialState.COMPLETE,
        params={"run": run},
        distributions={"run": CategoricalDistribution(levels)},
        value=None if skill is None else 0.5,
        user_attrs={
            "config_id": run,
            "replicate": replicate,
            "best_epoch": 1,
            "metrics": metrics,
            "cost_alone": 100 * (skill or 0) + replicate,
        },
    )


def _write_trial(trial: Path, skill: float, predictions: bool, train: float | None) -> None:
    line: dict[str, Any] = {"stage": "last", "epoch": 1, "final_stage": True, "select": {"score": 0.5}}
    line["dev"] = {task: metric(task, skill) for task in TASKS}
    line["constant"] = ["qqp"] if skill == 0 else []
    if train is not None:
        line["train"] = {task: line["dev"][task] + train * skill for task in TASKS}
    (trial / "history.jsonl").write_text(json.dumps(line) + "\n")
    (trial / "predictions").mkdir()
    for task in TASKS if predictions else ():
        frame = pd.DataFrame({"split": "dev", "half": "select", "id": [f"e{at}" for at in range(EXAMPLES)]})
        frame["label"] = LABELS[task]
        for column, values in enumerate(outputs(task, skill).T):
            frame[f"output_{column}"] = values
        frame.to_parquet(trial / "predictions" / f"{task}.parquet")


NEXT = float(np.sort(EASE["sst"][EASE["sst"] > 0.5])[0]) + 1e-9
"""A skill that gets one example more of sst right than .5 does."""
GOOD, SAME, BAD = [0.71, 0.70, 0.72], [0.505, 0.50, 0.507], [0.50, 0.50, 0.50]


def contrast(direction: str = "up", metric: str = "sst", **more: Any) -> dict[str, Any]:
    runs = {} if "pairs" in more else {"a": ["a"], "b": ["b"]}
    return {**runs, "metric": metric, "direction": direction, **more}


def judged(folder: Path, skills: Mapping[str, Sequence[float | None]], **more: Any) -> dict[Any, Any]:
    """The first row of the table of a study with one contrast."""
    wanted = more.pop("contrast", None) or contrast()
    return claim_table([write_study(folder / "s", skills, [wanted], **more)]).to_dict("records")[0]


@pytest.mark.parametrize(
    ("direction", "supported", "refuted", "undecided"),
    [
        ("up", (0.01, 0.02), (-0.02, -0.01), (-0.001, 0.02)),
        ("down", (-0.02, -0.01), (0.01, 0.02), (-0.02, 0.001)),
        ("equal", (-0.009, 0.009), (0.011, 0.02), (0.001, 0.011)),
        ("equal", (0.001, 0.009), (-0.02, -0.011), (-0.011, 0.009)),
        ("not_up", (-0.2, 0.009), (0.011, 0.02), (-0.2, 0.011)),
        ("not_down", (-0.009, 0.2), (-0.02, -0.011), (-0.011, 0.2)),
    ],
)
def test_an_interval_within_what_is_said_supports_it_and_one_wholly_outside_refutes_it(
    direction: Any,
    supported: tuple[float, float],
    refuted: tuple[float, float],
    undecided: tuple[float, float],
) -> None:
    region = Contrast(metric="sst", direction=direction).region
    assert verdict(region, *supported) == "supported"
    assert verdict(region, *refuted) == "refuted"
    assert verdict(region, *undecided) == "undecided"
    assert verdict(region, math.nan, math.nan) == "undecided"


@pytest.mark.parametrize(
    ("direction", "low", "high"),
    [
        ("up", 0.0, 0.1),
        ("up", -0.1, 0.0),
        ("down", -0.1, 0.0),
        ("down", 0.0, 0.1),
        ("equal", -0.01, 0.005),
        ("equal", -0.005, 0.01),
        ("equal", 0.01, 0.02),
        ("equal", -0.02, -0.01),
    ],
)
def test_an_interval_that_ends_on_the_border_of_what_is_said_decides_nothing(
    direction: Any, low: float, high: float
) -> None:
    assert verdict(Contrast(metric="sst", direction=direction).region, low, high) == "undecided"


@pytest.mark.parametrize("direction", ["equal", "not_up", "not_down"])
def test_no_difference_without_any_spread_decides_nothing(direction: Any) -> None:
    assert verdict(Contrast(metric="sst", direction=direction).region, 0.0, 0.0) == "undecided"
    assert verdict(Contrast(metric="sst", direction=direction).region, 0.0, 1e-4) == "supported"


def test_a_claim_may_allow_for_another_margin() -> None:
    wide = Contrast(metric="sst", direction="equal", margin=0.05)
    assert verdict(wide.region, -0.04, 0.04) == "supported"
    assert wide.expected == "equal within ±0.05"


def test_run_against_run_is_a_paired_difference_with_seeds_and_examples_in_its_interval(
    tmp_path: Path,
) -> None:
    row = judged(tmp_path, {"a": GOOD, "b": BAD}, contrast=contrast(size=0.2))
    differences = [metric("sst", one) - metric("sst", other) for one, other in zip(GOOD, BAD, strict=True)]
    table = [
        [(ease < one) - float(ease < other) for ease in EASE["sst"]]
        for one, other in zip(GOOD, BAD, strict=True)
    ]
    seeds, examples = parts(table)
    se, share = math.sqrt(seeds + examples), seeds / (seeds + examples)

    def beyond(ratio: float) -> float:
        return float(share * stats.t.sf(ratio, 2) + (1 - share) * stats.t.sf(ratio, EXAMPLES - 1) - 0.025)

    half = brentq(beyond, 0, 50) * se
    assert row["measured"] == pytest.approx(np.mean(differences))
    assert (row["low"], row["high"]) == pytest.approx(
        (np.mean(differences) - half, np.mean(differences) + half), rel=1e-9
    )
    assert (row["verdict"], row["claim_verdict"], row["replicates"]) == ("supported", "supported", 3)
    assert row["reported"] == 0.2


def parts(table: list[list[float]]) -> tuple[float, float]:
    """Variances of a mean over (replicates, examples) that come from the seeds and from the examples."""
    replicates, examples = len(table), len(table[0])
    rows = [sum(row) / examples for row in table]
    columns = [sum(row[at] for row in table) / replicates for at in range(examples)]
    middle = sum(rows) / replicates
    both = sum(
        (table[r][i] - rows[r] - columns[i] + middle) ** 2 for r in range(replicates) for i in range(examples)
    )
    both /= (replicates - 1) * (examples - 1) * replicates * examples
    own = sum((one - middle) ** 2 for one in columns) / (examples - 1) / examples
    return sum((one - middle) ** 2 for one in rows) / (replicates - 1) / replicates, max(own - both, 0.0)


def test_pearsons_examples_part_is_the_jackknifes(tmp_path: Path) -> None:
    row = judged(tmp_path, {"a": [0.8], "b": [0.6]}, contrast=contrast(metric="sts"))
    one, other = outputs("sts", 0.8)[:, 0], outputs("sts", 0.6)[:, 0]
    kept = [np.arange(EXAMPLES) != at for at in range(EXAMPLES)]
    left_out = [
        np.corrcoef(one[rows], LABELS["sts"][rows])[0, 1]
        - np.corrcoef(other[rows], LABELS["sts"][rows])[0, 1]
        for rows in kept
    ]
    error = math.sqrt((EXAMPLES - 1) * np.var(left_out))
    width = stats.t.ppf(0.975, EXAMPLES - 1) * error
    assert row["measured"] == pytest.approx(metric("sts", 0.8) - metric("sts", 0.6))
    assert row["high"] - row["low"] == pytest.approx(2 * width, rel=0.02)


@pytest.mark.parametrize(("average", "share"), [("plain", 1.0), ("overall", 0.5)])
def test_averages_are_the_papers_own(tmp_path: Path, average: str, share: float) -> None:
    row = judged(tmp_path, {"a": [0.8], "b": [0.6]}, contrast=contrast(metric=average))
    own = {task: metric(task, 0.8) - metric(task, 0.6) for task in TASKS}
    assert row["measured"] == pytest.approx((own["sst"] + own["qqp"] + share * own["sts"]) / 3)
    alone = [
        judged(tmp_path / task, {"a": [0.8], "b": [0.6]}, contrast=contrast(metric=task)) for task in TASKS
    ]
    halves = np.array([(one["high"] - one["low"]) / 2 for one in alone]) * [1, 1, share]
    # The t quantiles differ by their degrees of freedom only.
    assert (row["high"] - row["low"]) / 2 == pytest.approx(np.linalg.norm(halves) / 3, rel=0.01)


def test_groups_pairs_and_interactions_are_differences_of_means(tmp_path: Path) -> None:
    skills = {"a": 0.8, "b": 0.6, "c": 0.55, "d": 0.5}
    wanted = [
        {"a": ["a", "b"], "b": ["c"], "metric": "sst", "direction": "up"},
        contrast(pairs=[["a", "b"], ["c", "d"]]),
        contrast(pairs=[["a", "b"]], than=[["c", "d"]]),
    ]
    found = claim_table([write_study(tmp_path / "s", {run: [one] for run, one in skills.items()}, wanted)])
    a, b, c, d = (metric("sst", one) for one in skills.values())
    assert found["measured"].tolist() == pytest.approx(
        [(a + b) / 2 - c, (a - b + c - d) / 2, a - b - (c - d)]
    )
    assert found["compared"].tolist() == [
        "sst: mean of a, b − c",
        "sst: mean of 2 pairs (a − b, c − d)",
        "sst: a − b; more than c − d",
    ]


@pytest.mark.parametrize(
    ("skills", "direction", "expected"),
    [
        ({"a": GOOD, "b": BAD}, "up", "supported"),
        ({"a": BAD, "b": GOOD}, "up", "refuted"),
        ({"a": BAD, "b": GOOD}, "down", "supported"),
        ({"a": GOOD, "b": BAD}, "equal", "refuted"),
        ({"a": [NEXT, 0.5, 0.5], "b": BAD}, "equal", "supported"),
        ({"a": GOOD, "b": BAD}, "not_up", "refuted"),
        ({"a": BAD, "b": GOOD}, "not_up", "supported"),
        ({"a": [0.9, 0.4, 0.6], "b": BAD}, "up", "undecided"),
        ({"a": SAME, "b": BAD}, "equal", "undecided"),
    ],
)
def test_verdicts_follow_what_the_runs_did(
    tmp_path: Path, skills: Mapping[str, Sequence[float]], direction: str, expected: str
) -> None:
    assert judged(tmp_path, skills, contrast=contrast(direction))["verdict"] == expected


def test_with_one_run_each_nothing_is_decided(tmp_path: Path) -> None:
    row = judged(tmp_path, {"a": [0.9], "b": [0.1]})
    assert row["low"] > 0.5
    assert (row["verdict"], row["reason"]) == ("undecided", "one run each: seed noise unknown")


def test_without_stored_predictions_there_is_no_interval_and_nothing_is_decided(tmp_path: Path) -> None:
    row = judged(tmp_path, {"a": GOOD, "b": BAD}, predictions=False)
    assert row["measured"] > 0.15 and math.isnan(row["low"])
    assert (row["verdict"], row["reason"]) == ("undecided", "no stored predictions")


def cut(study: Study, number: int, task: str = "sst") -> None:
    """Leave five examples out of a trial's predictions."""
    file = study.trial_folder(number) / "predictions" / f"{task}.parquet"
    pd.read_parquet(file).iloc[5:].to_parquet(file)


def test_a_replicate_whose_predictions_cannot_be_used_is_left_out_and_not_the_interval(
    tmp_path: Path,
) -> None:
    study = write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, [contrast()])
    cut(study, 1)
    row = claim_table([load(study.path)]).iloc[0]
    two = write_study(tmp_path / "two", {"a": [GOOD[0], GOOD[2]], "b": BAD[:2]}, [contrast()])
    without = claim_table([two]).iloc[0]
    figures = ["measured", "low", "high", "replicates"]
    assert row[figures].tolist() == without[figures].tolist() and not math.isnan(row["low"])
    assert row["reason"] == "1 replicate left out (trial 1: other examples)"
    (study.trial_folder(1) / "predictions" / "sst.parquet").write_bytes(b"junk")
    row = claim_table([load(study.path)]).iloc[0]
    assert row["reason"] == "1 replicate left out (trial 1: a damaged file)"


def test_of_a_run_repeated_the_later_trial_counts(tmp_path: Path) -> None:
    skills = {"a": [0.9], "b": [0.5]}
    study = write_study(tmp_path / "s", skills, [contrast()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = JournalStorage(JournalFileBackend(str(study.path / "journal.log")))
    folder = study.trial_folder(2)
    folder.mkdir()
    _write_trial(folder, 0.6, True, None)
    optuna.load_study(study_name="study", storage=storage).add_trial(_trial("a", ["a", "b"], 0, 0.6))
    row = claim_table([load(study.path)]).iloc[0]
    assert row["measured"] == pytest.approx(metric("sst", 0.6) - metric("sst", 0.5))
    assert row["low"] < row["measured"] < row["high"]


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"runs": ["a", "b"]}, "damaged at runs: Input should be a valid dictionary"),
        ({"runs": {"a": {}, "b": {"trained_as": "b"}}}, "damaged at runs.a: it has neither trained_as nor"),
        (
            {"runs": {"a": {"members": {"sst": "c"}}, "b": {"trained_as": "b"}}},
            "damaged at runs.a.members.sst: there is no run 'c'",
        ),
        ({"paper": "003"}, "damaged at paper: it should hold a mapping"),
        ({"command": "python 'unbalanced"}, "damaged at command: No closing quotation"),
        (
            {"factors": [{"path": "pooling", "levels": ["a", "b"]}]},
            "damaged at factors: it lists runs and has",
        ),
    ],
)
def test_a_damaged_study_yaml_is_named_by_claims_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], meta: dict[str, Any], message: str
) -> None:
    path = write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, [contrast()], **meta).path
    for command in (main, write_page):
        assert run_command(partial(command, [str(path)])) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {path / 'study.yaml'}: {message}") and said.count("\n") == 1


def test_replicates_count_where_all_runs_have_them(tmp_path: Path) -> None:
    row = judged(tmp_path, {"a": [0.7, 0.9, 0.8], "b": [0.5, None, 0.4]})
    assert row["replicates"] == 2
    expected = np.mean([metric("sst", 0.7) - metric("sst", 0.5), metric("sst", 0.8) - metric("sst", 0.4)])
    assert row["measured"] == pytest.approx(expected)


def test_what_is_not_complete_is_not_measured(tmp_path: Path) -> None:
    running = judged(tmp_path / "1", {"a": GOOD, "b": [None]})
    assert (running["verdict"], running["reason"]) == ("not measured", "not complete: b (1 begun)")
    waiting = judged(tmp_path / "2", {"a": [], "b": []})
    assert waiting["reason"] == "not complete: a, b (not started)"
    apart = judged(tmp_path / "3", {"a": [0.5, None], "b": [None, 0.5]})
    assert apart["reason"] == "no replicate is complete for all its runs"


def test_runs_that_are_trained_as_one_are_not_compared(tmp_path: Path) -> None:
    runs = {"a": {"trained_as": "a"}, "b": {"trained_as": "a", "same_as": "a"}}
    row = judged(tmp_path, {"a": GOOD}, runs=runs)
    assert (row["verdict"], row["reason"]) == ("not measured", "both sides are the same run in this study")


def test_a_composite_row_is_made_of_its_members_and_costs_what_they_do(tmp_path: Path) -> None:
    runs = {
        **{run: {"trained_as": run} for run in "abc"},
        "both": {"members": {"sst": "a", "qqp": "c", "sts": "c"}},
        "part": {"members": {"sst": "a"}},
    }
    wanted = [
        {"a": ["both"], "b": ["b"], "metric": name, "direction": "up"} for name in ("sst", "plain", "seconds")
    ]
    wanted.append({"a": ["part"], "b": ["b"], "metric": "plain", "direction": "up"})
    skills = {"a": [0.8], "b": [0.5], "c": [0.6]}
    table = claim_table([write_study(tmp_path / "s", skills, wanted, runs=runs)])
    gains = [metric(task, one) - metric(task, 0.5) for task, one in zip(TASKS, (0.8, 0.6, 0.6), strict=True)]
    assert table["measured"].tolist()[:3] == pytest.approx([gains[0], np.mean(gains), 80 + 60 - 50])
    assert table["reason"].iloc[3] == "part has no qqp"


def test_gaps_between_train_and_dev_need_scores_on_train(tmp_path: Path) -> None:
    wanted = contrast("up", gap=True)
    absent = judged(tmp_path / "1", {"a": GOOD, "b": BAD}, contrast=wanted)
    assert (absent["verdict"], absent["reason"]) == ("not measured", "scores on train are not recorded")
    present = judged(tmp_path / "2", {"a": GOOD, "b": BAD}, contrast=wanted, train=0.5)
    assert present["measured"] == pytest.approx(0.5 * (np.mean(GOOD) - np.mean(BAD)))
    alone = {"a": ["a"], "metric": "sts", "direction": "up", "gap": True}
    row = judged(tmp_path / "3", {"a": GOOD}, contrast=alone, train=0.5)
    assert row["measured"] == pytest.approx(0.5 * np.mean(GOOD))
    assert (row["verdict"], row["compared"]) == ("supported", "sts, train minus dev: a")


def test_seconds_have_seeds_only_and_memory_nothing(tmp_path: Path) -> None:
    wanted = [contrast("up", "seconds"), contrast("up", "memory")]
    table = claim_table([write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, wanted)])
    assert table["measured"].iloc[0] == pytest.approx(100 * (np.mean(GOOD) - 0.5))
    differences = 100 * (np.array(GOOD) - 0.5)
    low, high = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    assert (table["low"].iloc[0], table["high"].iloc[0]) == pytest.approx((low, high))
    assert table["verdict"].tolist() == ["supported", "not measured"]
    assert table["reason"].iloc[1] == "memory is not recorded"
    assert table["claim_verdict"].tolist() == ["undecided", "undecided"]
    once = judged(tmp_path / "1", {"a": [0.9], "b": [0.1]}, contrast=contrast("up", "seconds"))
    assert math.isnan(once["low"]) and once["verdict"] == "undecided"


def test_memory_is_the_largest_peak_of_all_epochs_where_it_is_recorded(tmp_path: Path) -> None:
    runs = {
        "a": {"trained_as": "a"},
        "b": {"trained_as": "b"},
        "both": {"members": {"sst": "a", "qqp": "b", "sts": "b"}},
    }
    wanted = [contrast("up", "memory"), {**contrast("up", "memory"), "a": ["both"]}]
    study = write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, wanted, runs=runs)
    for number in range(6):
        own = (500 if number < 3 else 300) + number
        epochs = [("first", own), ("last", 100)]
        lines = [
            json.dumps({"stage": stage, "epoch": 1, "peak_memory_bytes": mib * 2**20})
            for stage, mib in epochs
        ]
        (study.path / "trials" / f"{number:05d}" / "history.jsonl").write_text("\n".join(lines) + "\n")
    table = claim_table([load(study.path)])
    assert table["measured"].iloc[0] == pytest.approx(200 - 3)
    assert table["verdict"].tolist() == ["supported", "not measured"]
    assert table["reason"].iloc[1] == "both is several runs, whose memory does not add up"
    assert "measured +197.0 MiB" in claims_page(table)


def test_a_claim_across_papers_is_measured_in_the_other_study(tmp_path: Path) -> None:
    wanted = [contrast(space="papers/there")]
    here = write_study(tmp_path / "here", {"x": [0.5]}, wanted)
    there = write_study(
        tmp_path / "there", {"a": GOOD, "b": BAD}, name="papers/there", encoder={"name": "tiny"}
    )
    alone = claim_table([here]).iloc[0]
    assert (alone["verdict"], alone["reason"]) == ("not measured", "give a study of papers/there too")
    both = claim_table([here, there])
    assert len(both) == 1
    assert (both["study"].iloc[0], both["verdict"].iloc[0]) == ("papers/here", "supported")
    assert both["other_setting"].iloc[0] == 'the encoder "tiny" instead of big'
    assert f"a − b (runs of papers/there) in {tmp_path / 'there'}: expected up" in claims_page(both)


def test_studies_of_one_space_have_a_chapter_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path / "first", {"a": GOOD, "b": BAD}, [contrast()])
    write_study(tmp_path / "second", {"a": BAD, "b": GOOD}, [contrast()], space={"fidelity": 0.5})
    folders = [str(tmp_path / name) for name in ("first", "second")]
    assert main([folders[0] + "/../first", *folders]) == 0
    first, second = capsys.readouterr().out.split("# Claims of paper 999 (papers/here), in ")[1:]
    assert first.startswith(f"{folders[0]}\n") and second.startswith(f"{folders[1]}\n")
    assert "## 1.1: supported\n" in first and "## 1.1: refuted, not the paper's setting\n" in second
    assert [chapter.count("- sst: a − b: expected up") for chapter in (first, second)] == [1, 1]


def test_a_study_without_claims_and_a_damaged_file_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, [contrast()])
    write_study(tmp_path / "none", {"a": GOOD})
    file = study.trial_folder(1) / "predictions" / "sst.parquet"
    file.write_bytes(b"junk")
    assert main([str(tmp_path / "none"), str(tmp_path / "s")]) == 0
    warnings = capsys.readouterr().err.splitlines()
    assert warnings[0] == f"warning: {tmp_path / 'none'}: holds no claims"
    assert warnings[1].startswith(f"warning: {file}: cannot be read as Parquet")
    (study.path / "journal.log").unlink()
    assert main([str(tmp_path / "s")]) == 0
    said = "6 trial folders are there, but journal.log is gone"
    assert capsys.readouterr().err == f"warning: {tmp_path / 's'}: {said}\n"


def test_a_claim_holds_when_all_its_contrasts_do(tmp_path: Path) -> None:
    skills = {"a": GOOD, "b": BAD, "c": [0.9, 0.4, 0.6]}
    up, down, unsure = contrast("up"), contrast("down"), {**contrast("up"), "a": ["c"]}

    def of(name: str, *wanted: Mapping[str, Any]) -> str:
        table = claim_table([write_study(tmp_path / name, skills, wanted)])
        assert table["claim_verdict"].nunique() == 1
        return str(table["claim_verdict"].iloc[0])

    assert of("1", up, contrast("up", "qqp")) == "supported"
    assert of("2", up, down) == "refuted"
    assert of("3", up, unsure) == "undecided"
    assert of("4", contrast("up", "memory"), contrast("up", gap=True)) == "not measured"


def test_many_contrasts_make_no_refutation_by_chance(tmp_path: Path) -> None:
    barely = {"a": [0.535, 0.565, 0.55], "b": BAD}
    study = write_study(tmp_path / "s", barely, [contrast("down")])
    row = claim_table([study]).iloc[0]
    assert (row["verdict"], row["claim_verdict"]) == ("refuted", "refuted")
    low, _ = measure(study, Contrast.model_validate(contrast("down"))).interval(1 - 0.05 / 8)
    assert low < 0
    many = write_study(tmp_path / "m", barely, [contrast("down"), *[contrast("up", "memory")] * 7])
    row = claim_table([many]).iloc[0]
    assert (row["verdict"], row["claim_verdict"]) == ("refuted", "undecided")


def test_constant_answers_are_named(tmp_path: Path) -> None:
    row = judged(tmp_path, {"a": GOOD, "b": [0.0, 0.0, 0.0]}, contrast=contrast(metric="plain"))
    assert row["reason"] == "constant answers: b (qqp)"
    other = judged(tmp_path / "sst", {"a": GOOD, "b": [0.0, 0.0, 0.0]})
    assert other["reason"] == ""


NONE = [0.0, 0.0, 0.0]
"""The skill of runs that say one thing of every qqp example."""


@pytest.mark.parametrize("direction", ["equal", "not_up", "not_down"])
def test_runs_with_one_answer_for_everything_on_both_sides_decide_nothing(
    tmp_path: Path, direction: str
) -> None:
    row = judged(tmp_path, {"a": NONE, "b": NONE}, contrast=contrast(direction, "qqp"))
    assert (row["low"], row["high"], row["verdict"]) == (0.0, 0.0, "undecided")
    assert row["reason"] == "one answer for everything; constant answers: a (qqp), b (qqp)"


def test_two_different_answers_for_everything_decide_nothing_either(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, [contrast("up"), contrast("up", "qqp")])
    for file in study.path.glob("trials/*/history.jsonl"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"constant": ["qqp"]}) + "\n")
    table = claim_table([load(study.path)])
    assert table["verdict"].tolist() == ["supported", "undecided"]
    assert table["low"].iloc[1] > 0
    assert table["reason"].iloc[1].startswith("one answer for everything;")


def test_one_answer_for_everything_in_one_run_of_three_leaves_the_verdict(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, [contrast("up", "qqp")])
    for number in (0, 3):
        file = study.trial_folder(number) / "history.jsonl"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"constant": ["qqp"]}) + "\n")
    row = claim_table([load(study.path)]).iloc[0]
    assert (row["verdict"], row["reason"]) == ("supported", "constant answers: a (qqp), b (qqp)")


def test_a_run_that_collapsed_on_one_side_alone_is_judged(tmp_path: Path) -> None:
    row = judged(tmp_path, {"a": GOOD, "b": NONE}, contrast=contrast("up", "qqp"))
    assert (row["verdict"], row["reason"]) == ("supported", "constant answers: b (qqp)")


def test_a_difference_without_any_spread_decides_nothing(tmp_path: Path) -> None:
    alike = judged(tmp_path / "1", {"a": BAD, "b": BAD}, contrast=contrast("equal"))
    assert (alike["verdict"], alike["reason"]) == ("undecided", "no spread over examples and seeds")
    apart = judged(tmp_path / "2", {"a": [1.0] * 3, "b": NONE})
    assert (apart["low"], apart["high"], apart["verdict"]) == (1.0, 1.0, "undecided")


@pytest.mark.parametrize(
    ("a", "b", "within"),
    [
        ([NEXT, 0.5, 0.5], BAD, (True, True)),
        ([0.51, 0.505, 0.505], BAD, (True, False)),
        (BAD, [0.51, 0.505, 0.505], (False, True)),
    ],
)
def test_undecided_runs_are_about_the_same_only_where_both_ends_are_within_the_margin(
    tmp_path: Path, a: list[float], b: list[float], within: tuple[bool, bool]
) -> None:
    row = judged(tmp_path, {"a": a, "b": b})
    assert (row["low"] > -0.01, row["high"] < 0.01) == within
    assert row["verdict"] == "undecided"
    assert row["reason"] == ("about the same, within ±0.01" if all(within) else "")


@pytest.mark.parametrize(
    ("meta", "optimistic"),
    [
        ({"selection": "dev"}, True),
        ({"selection": "dev", "space": {"checkpoint": "task"}}, True),
        ({"selection": "dev", "space": {"checkpoint": "last"}}, False),
        ({"selection": "dev_half"}, False),
        ({"selection": "train_tenth"}, False),
        ({}, False),
        ({"selection": "dev", "space": {"runs": {"a": {"set": {"checkpoint": "last"}}}}}, False),
        ({"selection": "dev", "space": {"runs": {"a": {"set": {"checkpoint": "last"}}, "b": {}}}}, True),
        (
            {
                "selection": "dev",
                "space": {"checkpoint": "last", "runs": {"a": {"set": {"checkpoint": "task"}}, "b": {}}},
            },
            True,
        ),
    ],
)
def test_the_page_says_where_epochs_are_chosen_on_what_is_scored(
    tmp_path: Path, meta: dict[str, Any], optimistic: bool
) -> None:
    table = claim_table([write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, [contrast()], **meta)])
    assert table["chosen_on_dev"].tolist() == [optimistic]
    assert claims_page(table).count("optimistic, on both sides of a contrast") == optimistic


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, []),
        ({"encoder": {"name": "tiny"}}, ['the encoder "tiny" instead of big']),
        (
            {"encoder": {"path": "/models/tiny/model", "name": "model"}},
            ['the encoder "tiny/model" instead of big'],
        ),
        ({"encoder": {"path": "/models/big", "name": "big"}}, []),
        ({"encoder": {"path": "/hub/models--org--big/snapshots/86b5", "name": "86b5"}}, []),
        ({"encoder": {"name": "x", "bundled": True}}, ["the bundled miniature encoder instead of big"]),
        ({"data": {"bundled": True}}, ["the bundled miniature data"]),
        ({"space": {"fidelity": 0.01}}, ["fidelity 0.01"]),
        ({"space": {"fidelity": 1}}, []),
        (
            {"command": "python -m trainables.search --set max_length=64 --set search.replicates=3"},
            ["set for all runs: max_length=64"],
        ),
        (
            {
                "paper": {
                    "name": "9",
                    "sizes": {"sst": {"train": 8544, "dev": 1101}, "qqp": {"train": 9, "dev": 401}},
                }
            },
            [
                "sst of 9 train and 400 dev examples instead of 8,544 and 1,101",
                "qqp of 400 dev examples instead of 401",
            ],
        ),
        (  # a tenth of train with all of dev
            {"data": {"examples": COUNTS | {"sst": {"train": 1, "dev": 400, "test": 9}}}},
            ["sst of 1 train examples instead of 9"],
        ),
        (  # of 9,999 rows a few were skipped when they were read
            {
                "data": {"examples": {"sst": {"train": 9_990, "dev": 400}}},
                "paper": {"name": "9", "sizes": {"sst": {"train": 9_999, "dev": 400}}},
            },
            [],
        ),
        (  # a study that does not count its examples: those that it predicted
            {
                "data": {},
                "paper": {
                    "name": "9",
                    "sizes": {"sst": {"train": 7, "dev": 401}, "sts": {"train": 7, "dev": 400}},
                },
            },
            ["sst of 400 dev examples instead of 401"],
        ),
        (
            {
                "data": {},
                "space": {"tasks": {"sst": {"dev_examples": 5}}},
                "paper": {"name": "9", "sizes": {"sst": {"train": 7, "dev": 401}}},
            },
            ["sst of 400 dev examples instead of 401"],
        ),
        ({"paper": {"name": "9"}}, []),
        ({"name": "mine"}, ["a space of its own (mine)"]),
        (
            {
                "encoder": {"path": "/models/bert-base-uncased", "layers": 6, "hidden_size": 384},
                "paper": {"name": "9", "setting": {"encoder": "bert-base-uncased"}},
            },
            ['the encoder "models/bert-base-uncased" of 6 layers, 384 wide instead of bert-base-uncased'],
        ),
    ],
)
def test_another_setting_than_the_papers_is_named(
    tmp_path: Path, meta: dict[str, Any], expected: list[str]
) -> None:
    assert other_setting(write_study(tmp_path / "s", {"a": [0.5]}, **meta)) == expected


def test_the_page_marks_each_verdict_and_gives_the_reason_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claims = {
        "1.1": {
            "says": "a wins",
            "section": "4.2",
            "contrasts": [contrast(size=0.2)],
            "note": ["one", "two"],
        },
        "1.2": {"says": "it is nice", "section": "abstract", "not_measured": "no run"},
    }
    write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, claims=claims, space={"fidelity": 0.5})
    assert main([str(tmp_path / "s")]) == 0
    page = capsys.readouterr().out
    title = f"# Claims of paper 999 (papers/here), in {tmp_path / 's'}"
    assert page.startswith(f"{title}\n\n2 claims: 1 supported, 1 not measured.\n")
    assert page.count("fidelity 0.5") == 1
    assert "## 1.1: supported, not the paper's setting\n\n> a wins (section 4.2)\n" in page
    assert "- sst: a − b: expected up; reported +0.200; measured +0." in page
    assert ", n = 3: **supported**\n\nNote: one; two.\n" in page
    assert "## 1.2: not measured\n\n> it is nice (abstract)\n\n- **not measured** (no run)\n" in page
    assert main([str(tmp_path / "s"), "--out", str(tmp_path / "claims.md")]) == 0
    assert (tmp_path / "claims.md").read_text(encoding="utf-8") == page


def test_in_the_papers_setting_nothing_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, [contrast()])
    assert main([str(tmp_path / "s")]) == 0
    page = capsys.readouterr().out
    assert "## 1.1: supported\n" in page and "paper's setting" not in page and "checked" not in page


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"data": {}}, "the study does not count sst train, qqp train, sts train"),
        (
            {"paper": {"name": "9", "sizes": SIZES | {"qqp": {"train": 9}}}},
            "the paper gives no sizes of qqp dev",
        ),
        (
            {"data": {"examples": COUNTS, "texts": {"triplets": "5ab1"}}},
            "the content of triplets is not compared",
        ),
        (
            {
                "data": {},
                "paper": {"name": "9", "setting": {"encoder": "big"}, "sizes": {"sst": SIZES["sst"]}},
            },
            "the paper gives no sizes of qqp train, qqp dev, sts train, sts dev; the study does not count sst train, qqp train, sts train",
        ),
    ],
)
def test_data_that_cannot_be_compared_mark_the_verdicts(
    tmp_path: Path, meta: dict[str, Any], expected: str
) -> None:
    page = claims_page(
        claim_table([write_study(tmp_path / "s", {"a": GOOD, "b": BAD}, [contrast()], **meta)])
    )
    assert "## 1.1: supported, data not checked\n" in page
    assert f"\n*Data not checked*: {expected}.\n" in page


def test_the_page_explains_why_a_claim_beside_a_refuted_contrast_is_undecided(tmp_path: Path) -> None:
    barely = {"a": [0.535, 0.565, 0.55], "b": BAD}
    wanted = [contrast("down"), *[contrast("up", "memory")] * 7]
    page = claims_page(claim_table([write_study(tmp_path / "s", barely, wanted)]))
    assert "## 1.1: undecided" in page and "**refuted**" in page
    assert "refuted even by its (100 − 5/m)% interval" in page
    assert "so a claim may stay undecided beside a contrast that its 95% interval refutes" in page
    assert '"Equal" needs the whole 95% interval within the margin' in page


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path / "none", {"a": [0.5]})
    write_study(tmp_path / "torn", {"a": [0.5]}, claims={"1": {"says": "x", "section": 3}})
    write_study(tmp_path / "fine", {"a": [0.5], "b": [0.5]}, [contrast()])
    for arguments, message in {
        (): "the following arguments are required: STUDY",
        ("absent",): "absent: no such folder",
        ("none",): "none: holds no claims",
        ("torn",): "study.yaml: damaged at claims.1.section",
        ("fine", "--out", str(tmp_path)): f"{tmp_path}: cannot be written",
    }.items():
        paths = [str(tmp_path / each) if each in ("none", "torn", "fine") else each for each in arguments]
        assert run_command(lambda paths=paths: main(paths)) == 2  # type: ignore[misc]
        error = capsys.readouterr().err
        assert message in error and error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (".", "cannot be written: it is a folder"),
        ("there/claims.md/page.md", "cannot be written: .* is not a folder"),
        ("/proc/self/page.md", "cannot be written: No such file"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, said: str
) -> None:
    write_study(tmp_path / "fine", {"a": [0.5], "b": [0.5]}, [contrast()])
    monkeypatch.setattr("analysis.claims.claim_table", None)
    with pytest.raises(UserError, match=said):
        main([str(tmp_path / "fine"), "--out", str(tmp_path / out)])


def test_a_claim_of_no_loss_is_refuted_only_beyond_its_margin() -> None:
    region = Contrast.model_validate(contrast("not_down")).region
    assert verdict(region, -0.02, -0.005) == "undecided"
    assert verdict(region, -0.04, -0.02) == "refuted"
    assert verdict(region, -0.005, 0.3) == "supported"
