"""Settings of a command line: laid over a space together, checked once, and never passed over in silence."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from minbert.config import MultitaskStage
from minbert.errors import UserError
from trainables.spaces.fixing import Fixed, Setting, fix
from trainables.spaces.runs import RUN
from trainables.spaces.space import Space, load_space

FACTORS = """\
pooling: {choice: [mean, cls]}
stages:
  finetune:
    sampler: {kind: {choice: [concurrent, annealed]}}
    pcgrad: {choice: [false, true], when: {stages.finetune.sampler.kind: concurrent}}
"""
RUNS = """\
search: {design: listed}
runs:
  all: {}
  alone: {set: {stages.finetune.tasks: [sst]}}
  alone longer: {like: alone, set: {stages.finetune.epochs: 7}}
  all again: {like: all, set: {max_length: 64}}
"""


def load(folder: Path, content: str) -> Space:
    path = folder / "x.yaml"
    path.write_text(content)
    return load_space(str(path))


def laid(space: Space, *texts: str) -> Fixed:
    return fix(space, [Setting.parse(*text.split("=")) for text in texts])


def finetune(space: Space, run: str) -> MultitaskStage:
    stage = space.config({RUN: run}).stages["finetune"]
    assert isinstance(stage, MultitaskStage)
    return stage


def test_settings_that_only_go_together_may_come_in_any_order(tmp_path: Path) -> None:
    space = load(tmp_path, "pooling: {choice: [mean, cls]}\n")
    settings = ("tasks.sts.head.kind=cosine", "tasks.qqp.head.kind=dot", "stages.finetune.mnr.tasks=[sts]")
    with pytest.raises(UserError, match=r"mnr.tasks 'sts' does not go with tasks.sts.head.kind 'cross'"):
        laid(space, settings[2])
    found = [laid(space, *order).space for order in itertools.permutations(settings)]
    assert len({one.fingerprint() for one in found}) == 1
    assert found[0].example().tasks["qqp"].head.kind == "dot"


@pytest.mark.parametrize("content", [FACTORS, RUNS])
@pytest.mark.parametrize(
    ("one", "other"),
    [("pooling=pooler", "pooling=cls"), ("tasks.sts={targets: raw, weight: 2}", "tasks.sts.targets=scaled")],
)
def test_two_values_for_one_leaf_are_refused(tmp_path: Path, content: str, one: str, other: str) -> None:
    with pytest.raises(UserError) as caught:
        laid(load(tmp_path, content), one, other)
    path = other.partition("=")[0]
    assert str(caught.value) == f"--set {one} and --set {other}: {path} is set twice"


def test_a_section_is_the_same_as_its_leaves(tmp_path: Path) -> None:
    content = RUNS + "  the same: {same_as: alone longer}\n"
    section = laid(load(tmp_path, content), "stages.finetune={batch_size: 4, conflict_batches: 2}")
    single = laid(
        load(tmp_path, content), "stages.finetune.batch_size=4", "stages.finetune.conflict_batches=2"
    )
    assert section.space.runs == single.space.runs
    assert [run for _, run, _ in section.passed_over] == ["alone", "alone longer", "the same"]
    with pytest.raises(UserError, match="has no effect here"):
        laid(load(tmp_path, FACTORS), "stages.finetune={dropout: 0.3, smart: {radius: 0.5}}")


def test_a_run_that_two_settings_together_do_not_go_with_stays_as_it_is(tmp_path: Path) -> None:
    content = RUNS + "  ended: {set: {stages.finetune.sampler.end: smallest}}\n"
    sampler = "stages.finetune.sampler"
    fixed = laid(load(tmp_path, content), f"{sampler}.kind=random", f"{sampler}.weights={{sst: 2}}")
    assert [finetune(fixed.space, run).sampler.kind for run in ("all", "ended")] == ["random", "concurrent"]
    assert {run for _, run, _ in fixed.passed_over} == {"ended"}


def test_settings_that_exclude_each_other_are_refused_by_name(tmp_path: Path) -> None:
    space = load(tmp_path, "pooling: {choice: [mean, cls]}\n")
    with pytest.raises(
        UserError, match=r"^--set \S+, --set \S+: stages.finetune: pcgrad true does not go with sampler.kind"
    ):
        laid(space, "stages.finetune.pcgrad=true", "stages.finetune.sampler.kind=merged")


@pytest.mark.parametrize("first", [0, 1])
def test_a_value_whose_condition_another_setting_rules_out_is_refused(tmp_path: Path, first: int) -> None:
    settings = ["stages.finetune.pcgrad=true", "stages.finetune.sampler.kind=annealed"]
    with pytest.raises(
        UserError, match=r"^--set stages.finetune.pcgrad=true.* (has no effect here|is never)"
    ):
        laid(load(tmp_path, FACTORS), settings[first], settings[1 - first])
    fixed = laid(load(tmp_path, FACTORS), "stages.finetune.pcgrad=false", settings[1]).space
    assert [factor.path for factor in fixed.factors] == ["pooling"]


def test_a_mapping_can_be_the_value_of_a_leaf(tmp_path: Path) -> None:
    sampler = "stages.finetune.sampler"
    for content in (
        "pooling: {choice: [mean, cls]}\n",
        RUNS.replace("alone", "few").replace("[sst]", "[sst, qqp]"),
    ):
        settings = (f"{sampler}.kind=random", f"{sampler}.weights={{qqp: 4}}")
        stage = laid(load(tmp_path, content), *settings).space.example().stages["finetune"]
        assert isinstance(stage, MultitaskStage)
        assert stage.sampler.weights == {"qqp": 4}


def test_runs_that_a_setting_does_not_go_with_stay_as_they_are_and_are_named(tmp_path: Path) -> None:
    fixed = laid(load(tmp_path, RUNS), "stages.finetune.conflict_batches=3", "stages.finetune.epochs=2")
    runs = ("all", "alone", "alone longer", "all again")
    assert [finetune(fixed.space, run).conflict_batches for run in runs] == [3, 0, 0, 3]
    assert [finetune(fixed.space, run).epochs for run in runs] == [2, 2, 2, 2]
    assert [(setting, run) for setting, run, _ in fixed.passed_over] == [
        ("--set stages.finetune.conflict_batches=3", "alone"),
        ("--set stages.finetune.conflict_batches=3", "alone longer"),
    ]
    assert "the stage trains 'sst' alone" in fixed.passed_over[0][2]


def test_a_setting_that_goes_with_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--set stages.finetune.mnr.tasks=\[sts\]: run 'all': .* 'cross'"):
        laid(load(tmp_path, RUNS), "stages.finetune.mnr.tasks=[sts]")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("stages.finetune.smart.radius=0.1", "it needs a smart.weight above 0"),
        ("stages.finetune.mnr.share=0.5", "it needs mnr.tasks"),
        ("stages.simcse.temperature=0.1", "it needs 'simcse' in recipe with epochs above 0"),
        ("stages.finetune.micro_batch_size=1000", "it needs a batch_size above it"),
        ("tasks={}", "whatever is trained is trained the same without it"),
    ],
)
@pytest.mark.parametrize("content", ["max_length: {choice: [64, 128]}\n", RUNS])
def test_a_setting_that_changes_nothing_is_refused_with_the_reason(
    tmp_path: Path, content: str, setting: str, reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        laid(load(tmp_path, content), setting)
    path = setting.partition("=")[0]
    assert str(caught.value) == f"--set {setting}: {path} has no effect here: {reason}"


@pytest.mark.parametrize(
    "setting",
    ["pooling=mean", "stages.finetune.conflict_batches=2", "stages.finetune.dropout=0.1", "fidelity=1"],
)
def test_a_setting_that_says_what_holds_already_or_only_looks_is_taken(tmp_path: Path, setting: str) -> None:
    laid(load(tmp_path, "max_length: {choice: [64, 128]}\n"), setting)


def test_a_setting_that_another_one_switches_on_is_taken(tmp_path: Path) -> None:
    space = load(tmp_path, "max_length: {choice: [64, 128]}\n")
    stage = laid(space, "stages.finetune.smart.radius=0.1", "stages.finetune.smart.weight=1").space.example()
    assert stage.model_dump()["stages"]["finetune"]["smart"]["radius"] == 0.1


def test_a_setting_that_a_level_of_the_file_excludes_is_named_beside_the_level(tmp_path: Path) -> None:
    sampler = "stages: {finetune: {sampler: {kind: {choice: [concurrent, annealed]}}}}\n"
    with pytest.raises(UserError) as caught:
        laid(load(tmp_path, sampler), "stages.finetune.epochs=2", "stages.finetune.pcgrad=true")
    place = f"--set stages.finetune.pcgrad=true, {tmp_path / 'x.yaml'}:1: "
    assert str(caught.value).startswith(f"{place}stages.finetune.sampler.kind annealed is not possible: ")


@pytest.mark.parametrize("content", ["max_length: {choice: [64, 128]}\npooling: cls\n", RUNS])
def test_a_leaf_that_must_have_a_value_cannot_be_emptied(tmp_path: Path, content: str) -> None:
    with pytest.raises(
        UserError, match=r"^--set pooling=: pooling must have a value \(its default is mean\)"
    ):
        laid(load(tmp_path, content), "pooling=")


def test_a_leaf_that_may_be_unset_can_be_emptied(tmp_path: Path) -> None:
    content = "stages: {finetune: {epoch_steps: 9}}\nmax_length: {choice: [64, 128]}\n"
    fixed = laid(load(tmp_path, content), "stages.finetune.epoch_steps=")
    assert fixed.space.example().stages["finetune"].epoch_steps is None


def test_settings_that_exclude_each_other_are_refused_for_runs_too_whatever_their_order(
    tmp_path: Path,
) -> None:
    settings = ("stages.finetune.pcgrad=true", "stages.finetune.smart.weight=0.5")
    for order in (settings, settings[::-1]):
        with pytest.raises(UserError) as caught:
            laid(load(tmp_path, RUNS), *order)
        place = ", ".join(f"--set {setting}" for setting in order)
        message = "stages.finetune: smart.weight 0.5 does not go with pcgrad true"
        assert str(caught.value).startswith(f"{place}: run 'all': {message}")


@pytest.mark.parametrize(
    "content",
    [
        "stages: {finetune: {smart: {radius: {choice: [0.1, 1]}}}}\n",
        "pooling: {choice: [mean, cls]}\nstages: {simcse: {temperature: {choice: [0.05, 0.1]}}}\n",
        "stages: {finetune: {warmup_steps: 10, warmup_share: {choice: [0.1, 0.2]}}}\n",
        "stages: {finetune: {conflict_batches: {choice: [1, 2]}}}\n",
    ],
)
def test_a_factor_whose_levels_all_train_the_same_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"has no effect here: all its levels .* train the same"):
        load(tmp_path, content)


def test_a_factor_that_needs_two_others_to_have_its_effect_is_taken(tmp_path: Path) -> None:
    stages = "{simcse: {epochs: {choice: [0, 1]}}, supervised: {epochs: {choice: [0, 1]}, task: qqp}}"
    recipes = "[[simcse, supervised, finetune], [supervised, simcse, finetune]]"
    space = load(tmp_path, f"recipe: {{choice: {recipes}}}\nstages: {stages}\n")
    assert [factor.path for factor in space.factors] == [
        "recipe",
        "stages.simcse.epochs",
        "stages.supervised.epochs",
    ]


def test_a_fixed_factor_leaves_the_base_of_one_factor(tmp_path: Path) -> None:
    content = "search: {design: one_factor, base: {pooling: cls}}\n"
    space = load(tmp_path, f"{content}max_length: {{choice: [64, 128]}}\npooling: {{choice: [mean, cls]}}\n")
    fixed = laid(space, "pooling=pooler").space
    assert fixed.settings.base == {}
    assert fixed.example().pooling == "pooler"


def test_a_run_that_stands_before_the_one_it_is_like_inherits_the_setting(tmp_path: Path) -> None:
    content = "search: {design: listed}\nruns:\n  child: {like: parent, set: {pooling: cls}}\n"
    space = load(tmp_path, content + "  parent: {set: {max_length: 64, stages.finetune.batch_size: 8}}\n")
    fixed = laid(space, "stages.finetune.batch_size=4").space
    assert [finetune(fixed, run).batch_size for run in ("child", "parent")] == [4, 4]
    assert fixed.runs.rows["child"].set == {"pooling": "cls"}
