"""Listed spaces: what their runs become, what is refused, and how they are varied."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.config import MultitaskStage, TrainConfig
from minbert.errors import UserError
from minbert.yaml_reader import dump_yaml, parse_value
from trainables.spaces.run_checks import coinciding, described_runs
from trainables.spaces.runs import RUN
from trainables.spaces.space import Space, load_space

HEAD = "description: d\nsearch: {design: listed}\npooling: cls\nstages: {finetune: {epochs: 2}}\nruns:\n"
TABLE = f"""\
{HEAD}  exp 1: {{reported: {{sst: .5, qqp: null, plain: .4, train: {{sts: -1}}}}}}
  exp 2:
    like: exp 1
    set: {{stages.finetune.dropout: 0.5, stages: {{finetune: {{batch_size: 8}}}}}}
    interpretation: one
  exp 3:
    like: exp 2
    set: {{stages: {{finetune: {{batch_size: 16}}}}}}
    note: [one, two]
  exp 4: {{same_as: exp 2}}
  FT:
    members: {{sst: exp 1, qqp: exp 4, sts: exp 3}}
"""


def load(folder: Path, content: str, name: str = "x.yaml") -> Space:
    path = folder / name
    path.write_text(content)
    return load_space(str(path))


def refusal(folder: Path, content: str) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, content)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/")


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return load(tmp_path, TABLE)


def config(space: Space, run: str) -> TrainConfig:
    return space.config({RUN: run})


def finetune(space: Space, run: str) -> MultitaskStage:
    stage = config(space, run).stages["finetune"]
    assert isinstance(stage, MultitaskStage)
    return stage


def test_a_run_lays_its_settings_over_the_run_that_it_is_like(space: Space) -> None:
    stages = [finetune(space, run) for run in ("exp 1", "exp 2", "exp 3", "exp 4")]
    assert [stage.epochs for stage in stages] == [2] * 4
    assert [stage.dropout for stage in stages] == [0.1, 0.5, 0.5, 0.5]
    assert [stage.batch_size for stage in stages] == [32, 8, 16, 8]
    assert config(space, "exp 3").pooling == "cls"


def test_what_is_trained_leaves_out_composite_rows_and_repeated_ones(space: Space) -> None:
    assert space.factors[0].levels() == ["exp 1", "exp 2", "exp 3"]
    assert list(space.runs.rows) == ["exp 1", "exp 2", "exp 3", "exp 4", "FT"]
    assert coinciding(space) == {"exp 4": "exp 2"}
    described = described_runs(space, {})
    assert described["exp 4"] == {"trained_as": "exp 2", "same_as": "exp 2"}
    assert described["FT"] == {"members": {"sst": "exp 1", "qqp": "exp 4", "sts": "exp 3"}}
    assert described["exp 1"]["reported"]["qqp"] is None
    assert described["exp 3"]["note"] == ["one", "two"]


def test_designed_runs_are_never_stopped_early(space: Space) -> None:
    assert space.settings.early_stopping is None


MISTAKES = {
    "runs:\n  a: {sett: {}}": "x.yaml:6: runs.a.sett: unknown key 'sett'; did you mean 'set'? The keys here are interpretation, like,",
    "  a: 3": "x.yaml:6: runs.a: 3 is not allowed: it must be a mapping",
    "  a: {like: b}\n  bb: {set: {max_length: 9}}": "x.yaml:6: run 'a': like: there is no run 'b'; did you mean 'bb'? The others are bb",
    "  a: {like: b, set: {max_length: 9}}\n  b: {like: a}": "x.yaml:7: runs go in a circle: a -> b -> a",
    "  a: {same_as: a}": "x.yaml:6: runs go in a circle: a -> a",
    "  a:\n    set:\n      poling: cls": "x.yaml:8: run 'a': poling: unknown key 'poling'",
    "  a:\n    set:\n      stages.finetune.dropout: 2": "x.yaml:8: run 'a': stages.finetune.dropout: 2 is not allowed",
    "  a: {set: {pooling: {choice: [cls]}}}": "x.yaml:6: run 'a': pooling: {'choice': ['cls']} is not allowed: a listed space draws nothing",
    "  a: {set: {poling: null}}": "x.yaml:6: run 'a': poling: unknown key 'poling'",
    "  a: {set: {seed: 3}}": "x.yaml:6: run 'a': seed is the same for all runs of a study",
    "  a: {}\n  b:\n    set: {tasks: {sst: {classes: 3}}}": "x.yaml:8: run 'b': tasks: the tasks, their kinds, columns and files must be those of run 'a'",
    "  a: {}\n  b: {set: {shared_layer: none}}": "x.yaml:7: run 'b' trains the same configuration as 'a'; write same_as: a if",
    "  a: {}\n  b: {same_as: a, set: {max_length: 9}}": "x.yaml:7: run 'b': same_as 'a', but they differ in max_length: 128 and 9",
    "  a: {set: {pooling: mean, max_length: 64}}\n  b: {same_as: a, set: {pooling: mean}}": "x.yaml:7: run 'b': same_as 'a', but they differ in max_length: 64 and 128",
    "  a: {}\n  b:\n    members: {sst: a}\n    like: a": "x.yaml:8: runs.b: members do not go with like",
    "  a: {}\n  b: {members: {stss: a}}": "x.yaml:7: run 'b': members.stss: unknown key 'stss'; did you mean 'sts'? The keys here are sst, qqp, sts",
    "  a: {}\n  b: {members: {sst: a}}\n  c: {like: b}": "x.yaml:8: run 'c': like: 'b' is a composite row",
    "  a: {reported: {ss: .5}}": "x.yaml:6: run 'a': reported.ss: unknown key 'ss'; did you mean 'sts'? The keys here are sst, qqp, sts, plain, overall, train, test",
    "  a: {reported: {sst: 51.2}}": "x.yaml:6: runs.a.reported.sst: 51.2 is not allowed",
    "  a: {reported: {train: .5}}": "x.yaml:6: run 'a': reported.train: 0.5 is not a mapping of tasks to scores",
    "  a: {set: {max_length: 9, stages.finetune.epochs: 1, stages: {finetune: {epochs: 2}}}}": "x.yaml:6: run 'a': stages.finetune.epochs is set twice, by dotted path and nested",
}


@pytest.mark.parametrize("content", MISTAKES)
def test_a_mistake_is_named_with_its_line_and_run(tmp_path: Path, content: str) -> None:
    text = HEAD.removesuffix("runs:\n") + content if content.startswith("runs:") else HEAD + content
    line = MISTAKES[content]
    assert refusal(tmp_path, text + "\n").startswith(line)


def test_a_combination_that_the_schema_refuses_names_run_line_and_both_settings(tmp_path: Path) -> None:
    content = (
        f"{HEAD}  a: {{set: {{stages.finetune.sampler.kind: annealed}}}}\n"
        "  b:\n    like: a\n    set:\n      stages.finetune.pcgrad: true\n"
    )
    message = refusal(tmp_path, content)
    assert message.startswith(
        "x.yaml:10: run 'b': stages.finetune: pcgrad true does not go with sampler.kind 'annealed'"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pooling: cls\nruns: {a: {}}", "x.yaml:2: runs: only the design listed has this, not optuna"),
        (
            "search:\n  design: grid\npaper: {name: p}",
            "x.yaml:2: paper: only the design listed has this, not grid",
        ),
        ("search:\n  design: listed", "x.yaml:2: search.design listed needs runs: there are none"),
        ("search: {design: listed}\nruns: {}", "x.yaml:2: runs: {} is not a mapping of at least one run"),
        (
            "search:\n  design: listed\n  trials: 3\nruns: {a: {}}",
            "x.yaml:3: search.trials: the design listed trains all its runs",
        ),
        (
            "search:\n  design: listed\n  early_stopping: {reduction: 2}\nruns: {a: {}}",
            "x.yaml:3: search: early_stopping does not go with design 'listed'",
        ),
        (
            "search: {design: listed}\nruns: {a: {}}\npooling:\n  choice: [cls, mean]",
            "x.yaml:3: pooling: {'choice': ['cls', 'mean']} is not allowed: a listed space draws nothing",
        ),
        (
            "search: {design: listed}\nruns: {a: {}}\npaper:\n  name: p\n  titel: q",
            "x.yaml:5: paper.titel: unknown key 'titel'; did you mean 'title'? The keys here are average, name,",
        ),
    ],
)
def test_runs_and_designs_that_do_not_fit_are_refused(tmp_path: Path, content: str, message: str) -> None:
    assert refusal(tmp_path, content + "\n").startswith(message)


def test_a_setting_replaces_what_base_and_runs_say(space: Space) -> None:
    fixed = space.fix("stages.finetune.batch_size", "4")
    assert [finetune(fixed, run).batch_size for run in ("exp 1", "exp 2", "exp 3", "exp 4")] == [4] * 4
    assert [finetune(fixed, run).dropout for run in ("exp 1", "exp 2", "exp 3")] == [0.1, 0.5, 0.5]
    assert coinciding(fixed) == {"exp 3": "exp 2", "exp 4": "exp 2"}


def test_a_setting_that_runs_inherit_is_not_repeated_in_them(space: Space) -> None:
    fixed = space.fix("fidelity", "0.05")
    assert config(fixed, "exp 3").fidelity == 0.05
    assert fixed.runs == space.runs


def test_a_setting_of_a_stage_that_only_some_runs_have_leaves_the_others_alone(tmp_path: Path) -> None:
    content = (
        HEAD + "  a: {}\n  b:\n    set: {recipe: [first, finetune], "
        "stages: {first: {kind: multitask, tasks: [qqp], epochs: 3}}}\n  c: {like: b, set: {max_length: 9}}\n"
    )
    fixed = load(tmp_path, content).fix("stages.first.epochs", "1")
    assert "first" not in config(fixed, "a").stages
    assert config(fixed, "b").stages["first"].epochs == 1
    assert config(fixed, "c").stages["first"].epochs == 1
    with pytest.raises(UserError, match=r"--set stages.second.epochs=1: there is no setting"):
        fixed.fix("stages.second.epochs", "1")


def test_a_wrong_setting_is_refused_by_its_own_text(space: Space) -> None:
    with pytest.raises(UserError, match=r"^--set pooling=maen: run 'exp 1': pooling: 'maen' is not allowed"):
        space.fix("pooling", "maen")
    with pytest.raises(UserError, match=r"^--set pooling={choice: \[cls\]}: pooling: .* draws nothing"):
        space.fix("pooling", "{choice: [cls]}")


def test_a_listed_space_extends_another_and_adds_runs(tmp_path: Path, space: Space) -> None:
    more = load(
        tmp_path,
        "extends: x.yaml\nruns:\n  exp 3: {set: {max_length: 64}}\n  exp 5: {like: exp 3, set: {pooling: mean}}\n",
        "y.yaml",
    )
    assert list(more.runs.rows) == [*space.runs.rows, "exp 5"]
    assert (config(more, "exp 5").max_length, finetune(more, "exp 5").batch_size) == (64, 16)
    assert more.description == ""


def test_a_listed_space_round_trips_through_yaml(space: Space) -> None:
    fixed = space.fix("stages.finetune.batch_size", "4").fix("search.trials", "2")
    again = Space.from_resolved(parse_value(dump_yaml(fixed.resolved()), "study.yaml"))
    assert again == fixed
    assert again.fingerprint() == fixed.fingerprint()


def test_the_fingerprint_is_over_what_runs_train(tmp_path: Path, space: Space) -> None:
    told = load(tmp_path, TABLE.replace("sst: .5", "sst: .6").replace("note: [one, two]", "note: x"))
    assert told.fingerprint() == space.fingerprint()
    assert (
        load(tmp_path, TABLE.replace("batch_size: 16", "batch_size: 17")).fingerprint() != space.fingerprint()
    )
