"""Interactions of sampled studies, and the command that confirms an effect."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState
from scipy import stats

from analysis.description import Factor
from analysis.interactions import confirm_command, interactions
from analysis.study import load
from minbert.errors import UserError
from tests.analysis.conftest import StudyWriter

A, B, C = "a", "b", "c"
AXES = [
    Factor(path=A, levels=("x", "y", "z")),
    Factor(path=B, levels=(False, True)),
    Factor(path=C, low=0.0, high=1.0),
]


def sampled(count: int, together: float, seed: int = 0) -> pd.DataFrame:
    """Trials in which level z and true give ``together`` beyond their own effects."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({A: random.choice(["x", "y", "z"], count)}, dtype=object)
    frame[B] = pd.Series([bool(one) for one in random.integers(0, 2, count)], dtype=object)
    frame[C] = random.uniform(size=count)
    z, true = frame[A].eq("z").astype(float), frame[B].eq(True).astype(float)
    frame["report/score"] = 0.1 * z + 0.05 * true - 0.1 * frame[C] + together * z * true
    frame["report/score"] += 0.01 * random.normal(size=count)
    return frame.assign(number=range(count), config_id=[f"c{place}" for place in range(count)])


def by_pair(table: pd.DataFrame, first: str, second: str) -> pd.Series:
    return table[(table["first"] == first) & (table["second"] == second)].iloc[0]


def test_the_f_test_and_the_effect_equal_those_of_nested_least_squares() -> None:
    frame = sampled(60, 0.02)
    y = frame["report/score"].to_numpy()
    dummies = [frame[A].eq("y"), frame[A].eq("z"), frame[B].eq(True)]
    main = np.column_stack([np.ones(60), *[one.to_numpy(float) for one in dummies], frame[C]])
    products = np.column_stack([main[:, 1] * main[:, 3], main[:, 2] * main[:, 3]])
    whole = np.column_stack([main, products])
    rss = [float(np.linalg.lstsq(design, y, rcond=None)[1][0]) for design in (main, whole)]
    f = (rss[0] - rss[1]) / 2 / (rss[1] / (60 - 7))
    found = by_pair(interactions(frame, AXES), A, B)
    assert (found["df"], found["df_residual"], found["n"]) == (2, 53, 60)
    assert found["f"] == pytest.approx(f)
    assert found["p"] == pytest.approx(stats.f.sf(f, 2, 53))
    coefficients = np.linalg.lstsq(whole, y, rcond=None)[0]
    errors = np.sqrt(np.diag(np.linalg.inv(whole.T @ whole)) * rss[1] / 53)
    assert (found["first_level"], found["second_level"]) == ("z", "true")
    assert found["effect"] == pytest.approx(coefficients[6])
    assert found["se"] == pytest.approx(errors[6])
    assert found["ci_low"] == pytest.approx(coefficients[6] - stats.t.isf(0.025, 53) * errors[6])
    assert found["together"] == (frame[A].eq("z") & frame[B].eq(True)).sum()


def test_a_pair_that_interacts_comes_first_and_the_others_are_unsure() -> None:
    table = interactions(sampled(80, 0.05), AXES)
    assert table["verdict"].tolist() == ["interact", "unsure", "unsure"]
    assert table.loc[0, ["first", "second"]].tolist() == [A, B]
    assert set(table["evidence"]) == {"observational"}


def test_without_interactions_5_studies_in_100_at_most_show_one() -> None:
    wrong = [
        interactions(sampled(40, 0.0, seed), AXES)["verdict"].eq("interact").any() for seed in range(300)
    ]
    assert np.mean(wrong) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_a_factor_that_is_active_at_one_level_of_another_cannot_interact_with_it() -> None:
    frame = sampled(60, 0.05)
    frame.loc[~frame[A].eq("z"), B] = None
    assert by_pair(interactions(frame, AXES), A, B)["verdict"] in ("inseparable", "too few")


def test_a_combination_that_only_one_configuration_has_is_not_judged() -> None:
    frame = sampled(60, 0.05)
    both = frame[A].eq("z") & frame[B].eq(True)
    once = frame[~both | (both & (both.cumsum() == 1))]
    found = by_pair(interactions(once, AXES), A, B)
    assert both.sum() > 2
    assert (found["df"], found["first_level"]) == (1, "y")


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_configurations_are_said_to_be_too_few(count: int) -> None:
    table = interactions(sampled(60, 0.05).head(count), AXES)
    assert len(table) == 3
    assert set(table["verdict"]) == {"too few"}


NewStudy = Callable[..., StudyWriter]
HEAD, SAMPLER = "tasks.sts.head.kind", "stages.finetune.sampler.kind"
BEST = {
    HEAD: "cross",
    SAMPLER: "annealed",
    "stages.finetune.dropout": 0.1234567,
    "stages.finetune.learning_rate": 3e-5,
    "stages.simcse.epochs": 1,
}


def settings(words: list[str]) -> dict[str, str]:
    given = [after for word, after in itertools.pairwise(words) if word == "--set"]
    return dict(one.split("=", 1) for one in given)


@pytest.fixture
def finished(new_study: NewStudy) -> StudyWriter:
    command = "python -m trainables.search --space my/space.yaml --data 'my data' --trials 9 --set search.sampler=random"
    writer = new_study(command=f"{command} --set fidelity=0.5 --set {SAMPLER}=annealed")
    writer.add(TrialState.COMPLETE, BEST)
    writer.add(TrialState.COMPLETE, BEST | {HEAD: "cosine"})
    return writer


def test_one_factor_is_confirmed_around_the_best_configuration(finished: StudyWriter) -> None:
    words = shlex.split(confirm_command(load(finished.path), HEAD))
    first = [
        "python",
        "-m",
        "trainables.search",
        "--space",
        "my/space.yaml",
        "--design",
        "one_factor",
        "--around",
    ]
    assert words[: len(first) + 1] == [*first, str(finished.path)]
    assert words[words.index("--data") + 1] == "my data"
    assert settings(words) == {
        "fidelity": "0.5",
        SAMPLER: "annealed",
        "stages.finetune.dropout": "0.1234567",
        "stages.finetune.learning_rate": "3e-05",
        "stages.simcse.epochs": "1",
    }


def test_an_interaction_is_confirmed_by_every_combination_of_the_two(finished: StudyWriter) -> None:
    words = shlex.split(confirm_command(load(finished.path), HEAD, "stages.simcse.epochs"))
    assert words[words.index("--design") + 1] == "grid"
    assert "--around" not in words
    assert settings(words) == {
        "fidelity": "0.5",
        SAMPLER: "annealed",
        "stages.finetune.dropout": "0.1234567",
        "stages.finetune.learning_rate": "3e-05",
    }
    assert words[words.index("--replicates") + 1] == "5"


def test_a_factor_that_the_best_configuration_lacks_is_run_around_the_best_that_has_it(
    finished: StudyWriter,
) -> None:
    pcgrad = "stages.finetune.pcgrad"
    with pytest.raises(UserError, match=f"no complete configuration has {pcgrad} active"):
        confirm_command(load(finished.path), pcgrad)
    other = {**BEST, SAMPLER: "concurrent", HEAD: "concat", pcgrad: True}
    finished.add(TrialState.COMPLETE, other)
    words = shlex.split(confirm_command(load(finished.path), pcgrad))
    assert words[words.index("--design") + 1] == "grid"
    assert settings(words)[HEAD] == "concat"
    assert pcgrad not in settings(words)


def test_what_cannot_be_confirmed_is_refused(finished: StudyWriter, new_study: NewStudy) -> None:
    with pytest.raises(UserError, match=r"no factor 'tasks.sts.head'; did you mean 'tasks.sts.head.kind'"):
        confirm_command(load(finished.path), "tasks.sts.head")
    with pytest.raises(UserError, match="no trial is complete"):
        confirm_command(load(new_study("empty").path), HEAD)
    study = load(finished.path)
    study.meta["command"] = "python -m trainables.search --space 'my space"
    with pytest.raises(UserError, match=r"study\.yaml: damaged at command: No closing quotation"):
        confirm_command(study, HEAD)
