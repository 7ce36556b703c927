"""The commands that a report suggests are ones that the search takes."""

from __future__ import annotations

import itertools
import random
import shlex
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from analysis.interactions import confirm_command
from analysis.study import Study, load
from minbert.errors import UserError
from tests.analysis.conftest import StudyWriter
from trainables.chosen_space import Wish, choose
from trainables.designs.combinations import every_setting
from trainables.spaces.fixing import Setting, fix
from trainables.spaces.space import Space, load_space
from trainables.studies.study_description import described_factor

RECIPE = "recipe"
"""Without two of the stages that it orders it has no effect."""
NULL = "tasks.qqp.batch_size"


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("full_ablation")


@pytest.fixture(scope="module")
def study(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return sampled(space, tmp_path_factory.mktemp("confirmed") / "study", seed=1, count=25)


def sampled(space: Space, folder: Path, seed: int, count: int) -> Study:
    """A study of a packaged space: random configurations, the earlier the better."""
    writer = StudyWriter(
        folder,
        name=space.name,
        space=space.resolved(),
        factors=[described_factor(factor) for factor in space.factors],
        command=f"python -m trainables.search --space {space.name}",
    )
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for number in range(count):
        trial = drawn.ask()
        space.ask(trial)
        attributes = {"config_id": f"c{number}", "metrics": {"report/score": 0.5}}
        kinds = {"params": trial.params, "distributions": trial.distributions}
        writer.journal.add_trial(
            create_trial(state=TrialState.COMPLETE, value=1 - number / 100, user_attrs=attributes, **kinds)
        )
    return load(writer.path)


def settings(words: list[str]) -> list[str]:
    return [after for word, after in itertools.pairwise(words) if word == "--set"]


def pairs(study: Study, count: int) -> list[tuple[str, str]]:
    found = list(itertools.combinations([factor.path for factor in study.factors], 2))
    random.Random(0).shuffle(found)
    found = [pair for pair in found if any(both(study, pair))]
    named = {"stages.finetune.sampler.kind", "tasks.sts.head.kind", RECIPE}
    nested = [pair for pair in found if named & set(pair)]
    return [*found[:count], *nested[:count]]


def both(study: Study, pair: tuple[str, str]) -> Any:
    return study.trials[list(pair)].notna().all(axis=1)


def test_the_search_takes_the_settings_of_every_pair_and_varies_nothing_else(
    study: Study, space: Space
) -> None:
    grid = space.redesigned("grid", "--design grid")
    asked = pairs(study, 8)
    for pair in asked:
        words = shlex.split(confirm_command(study, *pair))
        given = [Setting.parse(*one.split("=", 1)) for one in settings(words)]
        fixed = fix(grid, [*given, Setting.parse("search.replicates", "5")]).space
        levels = {factor.path: factor.levels for factor in study.factors}
        if None not in (levels[pair[0]], levels[pair[1]]):
            runs = fixed.combinations()
            assert runs is not None
            assert 2 <= runs <= len(levels[pair[0]] or ()) * len(levels[pair[1]] or ()), pair
    assert len(asked) == 16


def test_the_whole_command_is_taken(study: Study, tmp_path: Path) -> None:
    """With a level null and a factor that another one of the pair switches on."""
    best = study.trials.iloc[0]
    assert best[NULL] == "null"
    words = shlex.split(confirm_command(study, "tasks.sts.head.kind", "pooling"))
    assert f"{NULL}=null" in settings(words)
    assert words[3:7] == ["--space", "full_ablation", "--design", "grid"]
    wish = Wish("full_ablation", "grid", None, tuple(settings(words)), {"replicates": 5, "trials": None}, 0)
    chosen = choose(wish, tmp_path / "none").space
    assert chosen.combinations() == 5 * 3
    assert chosen.settings.replicates == 5


def test_the_command_for_one_factor_names_only_what_applies(study: Study, space: Space) -> None:
    one = space.redesigned("one_factor", "--design one_factor")
    words = shlex.split(confirm_command(study, "pooling"))
    assert "--around" in words
    given = [Setting.parse(*each.split("=", 1)) for each in settings(words)]
    assert {factor.path for factor in fix(one, given).space.factors if factor.distribution.size() != 1} == {
        "pooling"
    }
    with pytest.raises(UserError, match="has no effect here"):  # so what is left out had to be
        fix(one, [*given, Setting.parse("stages.finetune.sampler.order", "[sst, qqp, sts, sts]")])


@pytest.mark.parametrize(
    ("name", "seed", "design"),
    [("contrastive", 3, "grid"), ("contrastive", 1, "one_factor"), ("full_ablation", 0, "grid")],
)
def test_an_order_of_stages_is_confirmed_where_two_of_them_run(
    tmp_path: Path, name: str, seed: int, design: str
) -> None:
    space = load_space(name)
    words = shlex.split(confirm_command(sampled(space, tmp_path / "study", seed, 12), RECIPE))
    assert words[words.index("--design") + 1] == design
    given = [Setting.parse(*each.split("=", 1)) for each in settings(words)]
    fixed = fix(space.redesigned(design, f"--design {design}"), given).space
    drawn = list(every_setting(fixed))
    varied = {path for path in drawn[0] if len({str(params.get(path)) for params in drawn}) > 1}
    assert varied == {RECIPE}


def test_an_order_of_stages_that_never_mattered_has_no_command(tmp_path: Path) -> None:
    space = load_space("contrastive")
    study = sampled(space, tmp_path / "study", 3, 1)
    with pytest.raises(
        UserError, match="in none of the best configurations do the levels of recipe train diff"
    ):
        confirm_command(study, RECIPE)
