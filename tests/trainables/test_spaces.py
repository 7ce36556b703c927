"""Search spaces: what they draw, what they refuse, and how they are named, varied and stored."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.config import MultitaskStage, TrainConfig
from minbert.errors import UserError
from minbert.yaml_reader import dump_yaml, parse_value
from tests.trainables.commands import SPACE
from trainables.spaces.distribution_parsing import parse_factor
from trainables.spaces.distributions import Choice
from trainables.spaces.space import Space, available_spaces, load_space
from trainables.studies.study_description import described_factor

SAMPLER = "stages.finetune.sampler.kind"
PCGRAD = "stages.finetune.pcgrad"


def write(folder: Path, content: str, name: str = "x.yaml") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def load(folder: Path, content: str) -> Space:
    return load_space(str(write(folder, content)))


def refusal(folder: Path, content: str) -> str:
    """The message for a space file, without its folder."""
    with pytest.raises(UserError) as caught:
        load(folder, content)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/")


@pytest.fixture(scope="module")
def full() -> Space:
    return load_space(str(SPACE))


@pytest.fixture(autouse=True, scope="module")
def quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.mark.parametrize("make", [optuna.samplers.TPESampler, optuna.samplers.RandomSampler])
def test_a_space_draws_valid_configurations_under_optuna(make: Any, full: Space) -> None:
    study = optuna.create_study(sampler=make(seed=0))
    seen = set()
    for _ in range(50):
        trial = study.ask()
        params = full.ask(trial)
        assert params == trial.params
        config = full.config(params)
        finetune = config.stages["finetune"]
        assert isinstance(finetune, MultitaskStage)
        assert (PCGRAD in params) == (finetune.sampler.kind == "concurrent")
        assert finetune.pcgrad == params.get(PCGRAD, False)
        assert finetune.learning_rate == params["stages.finetune.learning_rate"]
        assert config.stages["simcse"].epochs == params["stages.simcse.epochs"]
        assert config.tasks["qqp"].head.kind == params["tasks.qqp.head.kind"]
        seen.add(finetune.sampler.kind)
        study.tell(trial, finetune.dropout)
    assert len(seen) >= 3


def test_a_space_has_the_factors_of_its_file(full: Space) -> None:
    levels = {factor.path: factor.levels() for factor in full.factors}
    assert levels == {
        "pooling": ["mean", "cls", "pooler"],
        "shared_layer": ["none", "all"],
        "tasks.qqp.head.kind": ["cosine", "concat", "cross"],
        "tasks.sts.head.kind": ["cosine", "concat", "cross"],
        "stages.simcse.epochs": ["0", "1", "2", "3"],
        "stages.finetune.learning_rate": ["1e-05", "0.0002"],
        "stages.finetune.dropout": ["0.0", "0.5"],
        SAMPLER: ["sequential", "round_robin", "proportional", "annealed", "concurrent"],
        PCGRAD: ["false", "true"],
    }
    assert full.combinations() is None
    assert full.settings.trials == 24


@pytest.mark.parametrize("name", available_spaces())
def test_every_packaged_space_passes_its_checks(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert space.description


def test_a_name_means_the_packaged_space_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "search_spaces").mkdir()
    write(tmp_path / "search_spaces", "pooling: cls", "full_ablation.yaml")
    write(tmp_path, "pooling: cls", "full_ablation")
    monkeypatch.chdir(tmp_path)
    assert load_space("full_ablation").source.parent.name == "search_spaces"
    assert load_space("full_ablation").factors
    assert load_space("search_spaces/full_ablation.yaml").base == {"pooling": "cls"}


@pytest.mark.parametrize(
    "name", ["ful_ablation", "../search_spaces/full_ablation", "papers", "/etc/passwd", ""]
)
def test_an_unknown_name_is_answered_with_all_names(name: str) -> None:
    with pytest.raises(UserError, match=r"there is no search space .* [Tt]he spaces are .*full_ablation"):
        load_space(name)


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'full_ablation'"):
        load_space("ful_ablation")


CONDITIONAL = """\
stages:
  finetune:
    sampler: {kind: {choice: [annealed, concurrent]}}
    pcgrad:
      choice: [false, true]
      when: {PATH: VALUE}
"""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "\npoling: {choice: [mean]}",
            "x.yaml:2: unknown key 'poling'; did you mean 'pooling'? The keys here are description, extends,",
        ),
        (
            "search:\n  trails: 3",
            "x.yaml:2: search.trails: unknown key 'trails'; did you mean 'trials'? The keys here are base,",
        ),
        (
            "learning_rate: 1",
            "x.yaml:1: unknown key 'learning_rate'; did you mean stages.finetune.learning_rate or ",
        ),
        ("trials: 3", "x.yaml:1: unknown key 'trials'; did you mean search.trials? The keys here are"),
        ("search: {replicates: -1}", "x.yaml:1: search.replicates: -1 is not allowed: it must be at least 1"),
        (
            "search:\n  sampler: tp",
            "x.yaml:2: search.sampler: 'tp' is not allowed: the values are tpe, random; did",
        ),
        ("search: {early_stopping:\n {reduction: 1}}", "x.yaml:2: search.early_stopping.reduction: 1 is not"),
        ("description: 3", "x.yaml:1: description: 3 is not a text"),
        (
            "pooling:\n  choice:\n    - mean\n    - maen",
            "x.yaml:4: pooling: 'maen' is not allowed: the values are mean, cls, pooler; did you mean 'mean'?",
        ),
        (
            "seed: 1\npooling: {chioce: [mean]}",
            "x.yaml:2: pooling: 'chioce' is no distribution: they are choice, int, uniform, log_uniform; "
            "did you mean 'choice'?",
        ),
        ("pooling: {choice: [mean, cls], whn: {}}", "x.yaml:1: pooling: unknown key 'whn' beside choice"),
        ("pooling: {choice: [mean], int: [0, 1]}", "x.yaml:1: pooling: choice and int exclude each other"),
        ("pooling: {choice: [mean,\n mean]}", "x.yaml:2: pooling: the level mean stands twice in choice"),
        ("max_length: {choice: [64,\n 64.0]}", "x.yaml:2: max_length: the levels 64 and 64.0 are the same"),
        ("pooling: {choice: []}", "x.yaml:1: pooling: choice needs a list of at least one level, not []"),
        (
            "pooling: {choice: mean}",
            "x.yaml:1: pooling: choice needs a list of at least one level, not 'mean'",
        ),
        ("max_length: {int: [9, 9]}", "x.yaml:1: max_length: int [9, 9] is empty: low must be below high"),
        ("max_length: {int: [8, 9.5]}", "x.yaml:1: max_length: int needs two integers [low, high]"),
        (
            "max_length: {int: [8, 1000]}",
            "x.yaml:1: max_length: 1000 is not allowed: it must be at most 512",
        ),
        (
            "stages:\n  finetune:\n    learning_rate:\n      log_uniform: [0, 1]",
            "x.yaml:4: stages.finetune.learning_rate: log_uniform [0, 1] must lie above 0",
        ),
        (
            "stages:\n  finetune:\n    dropout:\n      uniform: [0,\n        1.5]",
            "x.yaml:5: stages.finetune.dropout: 1.5 is not allowed: it must be below 1",
        ),
        (
            "stages:\n  finetune:\n    dropout: {uniform: [0, 0.5], step: 0.2}",
            "x.yaml:3: stages.finetune.dropout: step 0.2 is not allowed: a whole number of steps",
        ),
        (
            "max_length: {uniform: [8, 64]}",
            "x.yaml:1: max_length: 29.39",
        ),
        (
            "stages:\n  finetune:\n    dropuot: {uniform: [0, 0.5]}",
            "x.yaml:3: stages.finetune.dropuot: unknown key 'dropuot'; did you mean 'dropout'? The keys here are batch_size,",
        ),
        (
            CONDITIONAL.replace("PATH", SAMPLER).replace("VALUE", "concurent"),
            f"x.yaml:6: {PCGRAD}: when {SAMPLER}: concurent is never its value: it is annealed or concurrent; "
            "did you mean 'concurrent'?",
        ),
        (
            CONDITIONAL.replace("PATH", SAMPLER).replace("VALUE", "[concurrent, round_robin]"),
            f"x.yaml:6: {PCGRAD}: when {SAMPLER}: round_robin is never its value",
        ),
        (
            CONDITIONAL.replace("PATH", "stages.finetune.samper.kind").replace("VALUE", "concurrent"),
            f"x.yaml:6: {PCGRAD}: when stages.finetune.samper.kind: there is no such leaf; did you mean '{SAMPLER}'?",
        ),
        (
            CONDITIONAL.replace("PATH", "pooling").replace("VALUE", "cls"),
            f"x.yaml:6: {PCGRAD}: when pooling: cls is never its value: it is mean",
        ),
        (
            "shared_layer: {choice: [none, all], when: {stages.finetune.dropout: 0.1}}\n"
            "stages: {finetune: {dropout: {uniform: [0, 0.5]}}}",
            "x.yaml:1: shared_layer: when stages.finetune.dropout: it is drawn from a range of numbers",
        ),
        (
            "shared_layer: {choice: [all, none], when: {pooling: mean}}\n"
            "pooling: {choice: [mean, cls], when: {shared_layer: all}}",
            "x.yaml:2: conditions go in a circle: pooling -> shared_layer -> pooling",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_path_and_remedy(tmp_path: Path, content: str, message: str) -> None:
    assert refusal(tmp_path, content).startswith(message)


def test_a_pair_of_levels_that_excludes_each_other_is_refused_when_the_space_is_read(tmp_path: Path) -> None:
    content = (
        "stages:\n  finetune:\n    pcgrad: {choice: [false, true]}\n"
        "    sampler:\n      kind: {choice: [concurrent, round_robin]}\n"
    )
    message = refusal(tmp_path, content)
    assert message.startswith(f"x.yaml:5: {PCGRAD} true with {SAMPLER} round_robin is not possible: ")
    assert "a step must see several tasks" in message


@pytest.mark.parametrize("other", ["dropout: {uniform: [0, 0.5]}", "epochs: {int: [1, 3]}"])
def test_a_level_that_a_fixed_leaf_excludes_is_refused(tmp_path: Path, other: str) -> None:
    content = f"stages:\n  finetune:\n    {other}\n    pcgrad: {{choice: [false, true]}}\n    sampler: {{kind: annealed}}"
    assert refusal(tmp_path, content).startswith(f"x.yaml:4: {PCGRAD} true is not possible: ")


def test_a_head_that_does_not_fit_its_task_is_refused(tmp_path: Path) -> None:
    content = "pooling: {choice: [mean, cls]}\ntasks:\n  qqp:\n    head: {kind: {choice: [cross, linear]}}"
    message = refusal(tmp_path, content)
    assert message.startswith(
        "x.yaml:4: tasks.qqp.head.kind linear is not possible: head.kind 'linear' does not fit"
    )


def test_an_invalid_pair_that_conditions_keep_apart_is_fine(tmp_path: Path) -> None:
    space = load(tmp_path, CONDITIONAL.replace("PATH", SAMPLER).replace("VALUE", "concurrent"))
    assert [factor.path for factor in space.factors] == [SAMPLER, PCGRAD]
    assert space.combinations() == 3


def test_a_first_level_that_fits_nothing_fixed_does_not_hide_a_valid_rest(tmp_path: Path) -> None:
    message = refusal(
        tmp_path, "stages: {finetune: {pcgrad: true, sampler: {kind: {choice: [annealed, concurrent]}}}}"
    )
    assert message.startswith(f"x.yaml:1: {SAMPLER} annealed is not possible: pcgrad true does not go with")


def test_a_chain_of_conditions_is_followed(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        f"shared_layer: {{choice: [none, all], when: {{{PCGRAD}: true, pooling: [mean, cls]}}}}\n"
        "pooling: {choice: [mean, cls, pooler]}\n"
        + CONDITIONAL.replace("PATH", SAMPLER).replace("VALUE", "concurrent"),
    )
    order = [factor.path for factor in space.factors]
    assert order.index(SAMPLER) < order.index(PCGRAD) < order.index("shared_layer")
    # 3 poolings x (annealed, concurrent without pcgrad) + pooler with pcgrad + (mean, cls) with pcgrad x 2
    assert space.combinations() == 3 * 2 + 1 + 2 * 2
    drawn = {SAMPLER: "concurrent", PCGRAD: True, "pooling": "cls", "shared_layer": "all"}
    assert space.ask(optuna.trial.FixedTrial(drawn)) == drawn
    assert "shared_layer" not in space.ask(optuna.trial.FixedTrial(drawn | {"pooling": "pooler"}))
    assert space.config(drawn).shared_layer == "all"
    assert space.config(drawn | {"pooling": "pooler"}).shared_layer == "none"


def test_more_levels_than_anybody_means_are_refused_at_once(tmp_path: Path) -> None:
    levels = ", ".join(map(str, range(1, 60_001)))
    with pytest.raises(
        UserError, match=r"stages\.finetune\.epochs: 60000 levels are more than 1000; for a range"
    ):
        load(tmp_path, f"stages: {{finetune: {{epochs: {{choice: [{levels}]}}}}}}\n")


def test_levels_can_be_whole_mappings_and_lists(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        "recipe: {choice: [[finetune], [simcse, finetune]]}\n"
        "stages: {simcse: {epochs: 1, temperature: {log_uniform: [0.01, 1], when: {recipe: [[simcse, finetune]]}}}}\n"
        "tasks:\n  qqp:\n    head: {choice: [{kind: cross}, {kind: cosine}]}\n"
        "  sts: {weight: {uniform: [0.5, 2], step: 0.5, when: {tasks.qqp.head.kind: cosine}}}\n",
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        params = space.ask(trial)
        config = space.config(trial.params)
        assert params["tasks.qqp.head"] == f"{{kind: {config.tasks['qqp'].head.kind}}}"
        assert ("tasks.sts.weight" in params) == (config.tasks["qqp"].head.kind == "cosine")
        assert ("stages.simcse.temperature" in params) == (len(config.recipe) == 2)
        study.tell(trial, 0.0)


def test_the_order_of_keys_in_the_file_changes_nothing(tmp_path: Path) -> None:
    one = load(tmp_path, "pooling: {choice: [mean, cls]}\nshared_layer: {choice: [none, all]}")
    other = load(tmp_path, "shared_layer: {choice: [none, all]}\npooling: {choice: [mean, cls]}")
    assert one.factors == other.factors
    assert one.fingerprint() == other.fingerprint()


def test_extends_lays_a_file_over_another_and_replaces_distributions_whole(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        f"description: mine\nextends: {SPACE}\nsearch: {{trials: 3, early_stopping: null}}\npooling: mean\n"
        "stages:\n  simcse: {epochs: {choice: [0, 2]}}\n"
        "  finetune: {sampler: {kind: annealed}, learning_rate: {uniform: [1e-5, 3e-5]}}\n",
    )
    levels = {factor.path: factor.distribution.to_yaml() for factor in space.factors}
    assert (space.description, space.settings.trials, space.settings.startup_trials) == ("mine", 3, 10)
    assert space.settings.early_stopping is None
    assert space.base["pooling"] == "mean"
    assert levels["stages.simcse.epochs"] == {"choice": [0, 2]}
    assert levels["stages.finetune.learning_rate"] == {"uniform": [1e-5, 3e-5]}
    assert not {"pooling", SAMPLER, PCGRAD} & set(levels)  # pcgrad can no longer apply


def test_a_mistake_in_an_extended_file_is_named_in_that_file(tmp_path: Path) -> None:
    write(tmp_path, "seed: 1\npooling: {choice: [mean, maen]}\n", "base.yaml")
    assert refusal(tmp_path, "extends: base.yaml\nmax_length: 64\n").startswith(
        "base.yaml:2: pooling: 'maen' is not"
    )
    assert load(tmp_path, "extends: base.yaml\npooling: {choice: [mean, cls]}\n").combinations() == 2


def test_extends_refuses_circles_and_unknown_names(tmp_path: Path) -> None:
    write(tmp_path, "extends: x.yaml\n", "y.yaml")
    assert "y.yaml:1: extends: x.yaml extends this file itself" in refusal(tmp_path, "extends: y.yaml\n")
    assert refusal(tmp_path, "extends: full_ablaton").startswith(
        "x.yaml:1: extends: there is no search space"
    )
    assert "'y'; did you mean the file 'y.yaml'?" in refusal(tmp_path, "extends: y")
    assert refusal(tmp_path, "extends: z.yaml").startswith("x.yaml:1: extends: there is no file")
    assert refusal(tmp_path, "extends: [a]").startswith("x.yaml:1: extends: ['a'] is not the name")


def test_fix_sets_leaves_factors_and_search_settings(full: Space) -> None:
    fixed = (
        full.fix("pooling", "cls")
        .fix("seed", "7")
        .fix("search.trials", 5)
        .fix("search.early_stopping", "null")
    )
    assert "pooling" not in [factor.path for factor in fixed.factors]
    assert (fixed.config({}).pooling, fixed.config({}).seed) == ("cls", 7)
    assert (fixed.settings.trials, fixed.settings.early_stopping) == (5, None)
    assert full.settings.trials == 24
    assert full.fix("data.path", "some/folder").config({}).data.path == "some/folder"
    assert full.fix("tasks.sst.files.train", "a.csv").config({}).tasks["sst"].files == {"train": "a.csv"}


def test_a_factor_with_a_condition_is_fixed_where_it_applies(full: Space) -> None:
    fixed = full.fix(PCGRAD, "true")
    concurrent = fixed.config({SAMPLER: "concurrent", PCGRAD: True}).stages["finetune"]
    assert isinstance(concurrent, MultitaskStage)
    assert concurrent.pcgrad
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        trial = study.ask()
        params = fixed.ask(trial)
        assert params.get(PCGRAD, False) == (params[SAMPLER] == "concurrent")
        fixed.config(params)
        study.tell(trial, 0.0)
    assert PCGRAD not in [factor.path for factor in full.fix(SAMPLER, "annealed").factors]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "stages.finetune.dropuot",
            "0.1",
            "there is no setting 'stages.finetune.dropuot'; did you mean 'stages.fin",
        ),
        (
            "stages.finetune.dropout",
            "2",
            "stages.finetune.dropout: 2 is not allowed: it must be below 1",
        ),
        (
            "pooling",
            "maen",
            "pooling: 'maen' is not allowed: the values are mean, cls, pooler; did you mean 'mean'?",
        ),
        ("search.trials", "0", "search.trials: 0 is not allowed"),
        (
            "learning_rate",
            "1",
            "there is no setting 'learning_rate'; did you mean stages.finetune.learning_rate or ",
        ),
        ("search.trails", "1", "there is no setting 'search.trails'; did you mean 'search.trials'?"),
        ("seed", "[1", "not valid YAML"),
        ("tasks.sst.head.kind", "cross", "tasks.sst: head.kind 'cross' does not fit"),
        (SAMPLER, "{choice: [annealed, concurent]}", f"{SAMPLER}: 'concurent' is not allowed"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_own_text(full: Space, path: str, value: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        full.fix(path, value)
    assert str(caught.value).startswith(f"--set {path}={value}: {message}")


def test_config_refuses_paths_that_are_no_factors(full: Space) -> None:
    with pytest.raises(UserError, match="poling is not a factor of this space; did you mean 'pooling'"):
        full.config({"poling": "mean"})
    with pytest.raises(UserError, match="pooling: 'maen' is not allowed"):
        full.config({"pooling": "maen"})


def test_the_fingerprint_is_over_the_meaning_only(full: Space) -> None:
    assert full.fingerprint() == load_space(str(SPACE)).fingerprint()
    assert full.fingerprint() == full.fix("search.trials", 99).fix("search.replicates", 3).fingerprint()
    others = [full.fix("pooling", "cls"), full.fix("seed", "1"), full.fix("pooling", "{choice: [mean, cls]}")]
    assert len({full.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_a_resolved_space_round_trips_through_yaml(full: Space) -> None:
    fixed = full.fix("search.trials", 7).fix(PCGRAD, "true").fix("max_length", "64")
    text = dump_yaml(fixed.resolved())
    again = Space.from_resolved(parse_value(text, "study.yaml"))
    assert again == fixed
    assert again.fingerprint() == fixed.fingerprint()
    assert yaml.safe_load(text)["stages"]["finetune"]["learning_rate"] == {"log_uniform": [1e-5, 2e-4]}
    with pytest.raises(UserError, match="resolved space 'small_ablation': pooling: 'maen' is not allowed"):
        Space.from_resolved(fixed.resolved() | {"pooling": "maen"})


def test_a_space_can_be_sent_to_another_process(full: Space) -> None:
    assert pickle.loads(pickle.dumps(full)) == full


def test_a_range_of_integers_may_have_more_than_anybody_could_list(tmp_path: Path) -> None:
    space = load(tmp_path, "stages: {finetune: {epochs: 1, warmup_steps: {int: [1, 1000000000]}}}\n")
    assert space.combinations() == 10**9
    assert space.factors[0].levels() == ["1", "1000000000"]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=1))
    for _ in range(3):
        trial = study.ask()
        drawn = space.config(space.ask(trial)).stages["finetune"]
        assert isinstance(drawn, MultitaskStage) and 1 <= (drawn.warmup_steps or 0) <= 10**9
        study.tell(trial, 0.5)


def test_sixteen_factors_are_checked_by_pairs_of_levels_not_by_all_combinations(tmp_path: Path) -> None:
    task = (
        "  t{}: {{kind: binary, text: [a, b], label: l, head: {{kind: {{choice: [cross, concat, cosine]}}}}, "
    )
    tasks = "".join((task + "weight: {{choice: [0.5, 1, 2, 4]}}}}\n").format(n) for n in range(8))
    space = load(tmp_path, "tasks:\n" + tasks)
    assert space.combinations() == 12**8
    levels = 8 * (3 + 4)
    assert len(space.representatives) <= 1 + levels * (levels - 1) // 2


def test_a_level_keeps_its_type_on_the_way_through_optuna() -> None:
    factor = parse_factor("x", {"choice": [1, "1x", None, True, {"b": 1, "a": [2]}]})
    assert isinstance(factor.distribution, Choice)
    assert factor.levels() == ["1", "1x", "null", "true", "{a: [2], b: 1}"]
    assert factor.level(True) is True
    assert factor.level("{a: [2], b: 1}") == {"b": 1, "a": [2]}


words = st.sampled_from(
    [
        "choice",
        "int",
        "uniform",
        "log_uniform",
        "when",
        "step",
        "kind",
        "mean",
        "cosine",
        "finetune",
        "simcse",
        "sst",
    ]
)
scalars = words | st.integers(-2, 70) | st.floats(0, 1) | st.booleans() | st.none() | st.text(max_size=3)
names = words | st.sampled_from(
    [
        *TrainConfig.model_fields,
        "epochs",
        "dropout",
        "sampler",
        "pcgrad",
        "head",
        "search",
        "extends",
        SAMPLER,
    ]
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(tree=st.dictionaries(names, trees, max_size=4))
def test_any_tree_makes_a_space_or_is_the_users_mistake(tree: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), dump_yaml(tree))
        try:
            space = load_space(str(path))
        except UserError as error:
            assert "\n" not in str(error)
        else:
            space.config(space.ask(optuna.create_study().ask()))


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=100))
def test_any_bytes_are_an_empty_space_or_the_users_mistake(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_bytes(content)
        try:
            space = load_space(str(path))
        except UserError as error:
            assert str(error).startswith(f"{path}:")
        else:
            assert space.config({}) == TrainConfig()  # such as "{}"


def test_the_levels_in_study_yaml_are_the_values_that_trials_hold() -> None:
    """Also of levels that are lists or mappings."""
    space = load_space("full_ablation")
    levels = {factor.path: described_factor(factor).get("levels") for factor in space.factors}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen: dict[str, set[Any]] = {}
    for _ in range(40):
        for path, value in space.ask(study.ask()).items():
            seen.setdefault(path, set()).add(value)
    assert {"recipe", "stages.finetune.sampler.weights"} <= set(seen)
    for path, values in seen.items():
        listed = levels[path]
        assert listed is None or values <= set(listed)
