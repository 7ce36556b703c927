"""The best configuration of a study as the base of a one_factor space."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from minbert.canonical import canonical
from minbert.command_line import run
from minbert.errors import UserError
from minbert.yaml_reader import dump_yaml, sealed_yaml
from tests.trainables.test_designs import load
from tests.trainables.test_ledger import PINNED, complete, open_ledger
from trainables import search
from trainables.chosen_space import Wish, best_of, choose
from trainables.spaces.around import centred, refuse_other_sources
from trainables.spaces.one_factor import base_setting, comparisons
from trainables.spaces.runs import RUN
from trainables.spaces.space import Space
from trainables.studies.study_description import described_plan

STUDY = """\
search: {design: grid}
fidelity: 0.5
pooling: {choice: [mean, cls]}
tasks:
  qqp:
    head:
      kind: {choice: [concat]}
      hidden_layers: {choice: [1], when: {tasks.qqp.head.kind: concat}}
stages:
  finetune:
    epochs: 2
    dropout: {choice: [0.15]}
    learning_rate: {uniform: [1e-4, 2e-4], step: 1e-4}
    sampler: {kind: {choice: [concurrent]}}
    pcgrad: {choice: [true], when: {stages.finetune.sampler.kind: concurrent}}
"""
OTHER = """\
search: {design: one_factor}
pooling: {choice: [mean, pooler]}
tasks: {qqp: {head: {kind: {choice: [cross, two_order]}}}}
stages:
  finetune:
    epochs: 7
    schedule: {choice: [cosine, linear]}
    dropout: {uniform: [0.2, 0.4]}
    sampler: {kind: {choice: [merged, concurrent]}}
    pcgrad: {choice: [false, true], when: {stages.finetune.sampler.kind: concurrent}}
"""


def write_study(folder: Path, content: str, scores: dict[tuple[int, int], float]) -> Space:
    """A finished study: of the i-th configuration and the r-th replicate, the score ``scores[i, r]``."""
    folder.mkdir()
    space = load(folder, content)
    replicates = 1 + max(replicate for _, replicate in scores)
    ledger = open_ledger(folder, space, None, replicates)
    seen: list[Any] = []
    while (issue := ledger.next()) is not None:
        name = canonical(issue.config)
        seen += [] if name in seen else [name]
        trial = folder / "trials" / f"{issue.number:05d}"
        trial.mkdir(parents=True)
        dumped = issue.config.model_dump(mode="json", exclude_none=True)
        (trial / "config.yaml").write_text(sealed_yaml(dumped))
        score = scores.get((seen.index(name), issue.replicate))
        if score is None:
            ledger.finish(issue.number, "failed", f"cause {issue.number}")
        else:
            complete(ledger, issue.number, score)
    tasks = space.example().tasks
    spec = {
        "schema_version": 1,
        "name": "x",
        "seed": 4,
        "space": space.resolved(),
        "factors": [{"path": factor.path, "levels": factor.levels()} for factor in space.factors],
        "tasks": {name: {"kind": task.kind} for name, task in tasks.items()},
        "data": {"fingerprint": PINNED["data"].fingerprint},
        "encoder": {"fingerprint": PINNED["encoder"].fingerprint},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(spec))
    return space


SCORES = {(0, 0): 0.9, (0, 1): 0.1, (1, 0): 0.3, (1, 1): 0.2, (2, 0): 0.6, (2, 1): 0.5, (3, 0): 0.54}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    write_study(folder, STUDY, SCORES)
    return folder


def test_the_best_has_the_highest_mean_over_its_complete_replicates(study: Path) -> None:
    best = best_of(str(study))
    assert (best.trials, best.score) == ((2, 6), pytest.approx(0.55))  # not trial 0 with its single 0.9
    assert best.config["pooling"] == "cls"
    assert best.config["stages"]["finetune"]["learning_rate"] == 1e-4


def test_the_base_is_that_configuration_and_what_is_no_level_becomes_one(study: Path, tmp_path: Path) -> None:
    around = best_of(str(study))
    space = centred(load(tmp_path, OTHER), around).space
    base = space.config(base_setting(space))
    assert (base.fidelity, base.stages["finetune"].epochs) == (0.5, 2)
    levels: dict[str, Any] = {factor.path: factor.distribution.levels() for factor in space.factors}
    assert levels["pooling"] == ("mean", "pooler", "cls")
    assert levels["tasks.qqp.head.kind"] == ("cross", "two_order", "concat")
    assert levels["stages.finetune.dropout"] == (0.2, 0.3, 0.4, 0.15)
    assert levels["stages.finetune.schedule"] == ("cosine", "linear")
    assert base_setting(space) == {
        "pooling": "cls",
        "tasks.qqp.head.kind": "concat",
        "tasks.qqp.head.hidden_layers": 1,
        "stages.finetune.schedule": "linear",
        "stages.finetune.dropout": 0.15,
        "stages.finetune.sampler.kind": "concurrent",
        "stages.finetune.pcgrad": True,
    }


def test_nothing_but_checkpoint_differs_from_the_studys_configuration(study: Path, tmp_path: Path) -> None:
    space = centred(load(tmp_path, OTHER), best_of(str(study))).space
    base = space.config(base_setting(space)).model_dump(mode="json")
    best = yaml.safe_load((study / "trials" / "00002" / "config.yaml").read_text())
    differs = {key for key in best if base.get(key) != best[key] and key not in ("tasks", "stages")}
    assert differs == {"data", "encoder", "seed", "checkpoint", "device", "precision", "threads"}
    for name, stage in best["stages"].items():
        assert {key: base["stages"][name][key] for key in stage if key != "sampler"} == {
            key: value for key, value in stage.items() if key != "sampler"
        }


def test_what_the_study_drew_under_a_condition_is_dropped_where_the_condition_fails(
    study: Path, tmp_path: Path
) -> None:
    space = centred(load(tmp_path, OTHER), best_of(str(study))).space
    heads = {
        run.params["tasks.qqp.head.kind"]: space.config(run.params).tasks["qqp"].head.hidden_layers
        for run in comparisons(space)
    }
    assert heads == {"concat": 1, "cross": 0, "two_order": 0}  # two_order has no hidden layers to carry


def test_settings_of_the_command_line_stand_above_the_studys(study: Path, tmp_path: Path) -> None:
    space = (
        load(tmp_path, OTHER)
        .fix("fidelity", "1")
        .fix("pooling", "mean")
        .fix("stages.finetune.pcgrad", "false")
    )
    moved = centred(space, best_of(str(study)), ["fidelity", "pooling", "stages.finetune.pcgrad"]).space
    configs = [moved.config(run.params) for run in comparisons(moved)]
    assert {(config.fidelity, config.pooling, config.stages["finetune"].pcgrad) for config in configs} == {
        (1.0, "mean", False)
    }


def test_a_leaf_that_the_space_has_only_elsewhere_cannot_be_carried_over(study: Path, tmp_path: Path) -> None:
    content = (
        OTHER.replace("merged, concurrent", "concurrent, merged")
        .replace("when: {stages.finetune.sampler.kind: concurrent}", "when: {pooling: mean}")
        .replace("pcgrad: {choice: [false, true]", "pcgrad: {choice: [false]")
    )
    with pytest.raises(
        UserError,
        match=r"--around .*study: its best configuration has stages.finetune.pcgrad True.*--set stages",
    ):
        centred(load(tmp_path, content), best_of(str(study)))


def test_a_level_that_does_not_go_with_the_configuration_is_left_out_and_named(
    study: Path, tmp_path: Path
) -> None:
    content = OTHER + "    smart: {weight: {choice: [0, 0.5]}}\n"
    content = content.replace(
        "    pcgrad: {choice: [false, true], when: {stages.finetune.sampler.kind: concurrent}}\n", ""
    )
    found = centred(load(tmp_path, content), best_of(str(study)))
    ((path, level, reason),) = found.left_out
    assert (path, level) == ("stages.finetune.smart.weight", "0.5")
    assert "smart.weight 0.5 does not go with pcgrad true" in reason
    levels = {factor.path: factor.distribution.levels() for factor in found.space.factors}
    assert levels["stages.finetune.smart.weight"] == (0,)
    assert "stages.finetune.pcgrad" in levels  # the study's, under its condition
    assert len(comparisons(found.space)) == 1 + 2 + 2 + 1 + 3 + 1


def test_a_listed_studys_best_run_is_a_base_too(tmp_path: Path) -> None:
    listed = "search: {design: listed}\nruns:\n  a: {}\n  b: {set: {pooling: cls, max_length: 64}}\n"
    write_study(tmp_path / "listed", listed, {(0, 0): 0.4, (1, 0): 0.6})
    space = centred(load(tmp_path, OTHER), best_of(str(tmp_path / "listed"))).space
    base = space.config(base_setting(space))
    assert (base.pooling, base.max_length) == ("cls", 64)
    assert RUN not in base_setting(space)


def test_other_tasks_data_and_encoders_are_refused(study: Path, tmp_path: Path) -> None:
    from minbert.bundled import CORPUS, ENCODER  # noqa: PLC0415
    from minbert.sources import resolve  # noqa: PLC0415

    around = best_of(str(study))
    with pytest.raises(
        UserError, match=r"made with other tasks \(sst, qqp, sts there, sst, sts in the space x\)"
    ):
        centred(
            load(
                tmp_path, "search: {design: one_factor}\ntasks: {qqp: null}\npooling: {choice: [mean, cls]}\n"
            ),
            around,
        )
    with pytest.raises(
        UserError, match=r"made with another task 'qqp' \(label: 'is_duplicate' there, 'same' in"
    ):
        centred(load(tmp_path, OTHER + "\n").fix("tasks.qqp.label", "same"), around)
    sources = resolve(str(CORPUS), str(ENCODER), load(tmp_path, OTHER).example().tasks)
    with pytest.raises(UserError, match=r"made with another data \(a there, .* give the study's with --data"):
        refuse_other_sources(around, sources)
    known = around.model_copy(update={"data": sources.corpus.fingerprint})
    with pytest.raises(UserError, match="made with another encoder"):
        refuse_other_sources(known, sources)


def test_a_study_without_a_complete_trial_or_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        best_of(str(tmp_path / "nowhere"))
    write_study(tmp_path / "failed", STUDY, {(9, 0): 0.1})
    with pytest.raises(UserError, match=r"--around .*failed: no trial is complete yet"):
        best_of(str(tmp_path / "failed"))


def unsealed(file: Path) -> str:
    return file.read_text().partition("\n")[2]


CONFIGS: dict[str, tuple[Callable[[Path], str], str]] = {
    "a changed digit": (
        lambda file: file.read_text().replace("epochs: 2", "epochs: 3"),
        r"config\.yaml: damaged: ",
    ),
    "cut": (
        lambda file: file.read_text()[:-300],
        r"config\.yaml: damaged: its first line says another content; ",
    ),
    "another one, without its first line": (
        lambda file: unsealed(file).replace("pooling: cls", "pooling: mean"),
        "--around .*study: trial 2: its config.yaml does not give the name that its study has for it, as those of other trials do",
    ),
    "another seed": (
        lambda file: re.sub(r"\nseed: \d+", "\nseed: 5", unsealed(file)),
        "trial 2: its config.yaml does not",
    ),
    "no configuration": (lambda file: "poling: cls\n", r"config\.yaml: is no configuration of this version"),
}


@pytest.mark.parametrize("damage", CONFIGS)
def test_a_configuration_that_is_not_the_one_of_the_journal_is_no_base(study: Path, damage: str) -> None:
    change, says = CONFIGS[damage]
    file = study / "trials" / "00002" / "config.yaml"
    spoilt = change(file)
    assert spoilt != file.read_text()
    file.write_text(spoilt)
    with pytest.raises(UserError, match=says):
        best_of(str(study))


def test_the_search_around_a_study_with_a_damaged_configuration_ends_in_one_line(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study / "trials" / "00002" / "config.yaml"
    file.write_text(file.read_text()[:-300])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.yaml").write_text(OTHER)
    monkeypatch.setattr(sys, "argv", ["search", "--space", "./other.yaml", "--around", str(study)])
    assert run(search.main) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {file}: damaged: ") and said.count("\n") == 1
    assert not (tmp_path / "results").exists()


def wish(tmp_path: Path, study: Path, **changes: Any) -> Wish:
    (tmp_path / "other.yaml").write_text(OTHER.replace("one_factor", "grid"))
    counts = {"trials": None, "replicates": None}
    return replace(Wish(str(tmp_path / "other.yaml"), None, str(study), (), counts, None), **changes)


def test_the_command_line_takes_another_seed_than_the_studys_and_refuses_that_one(
    study: Path, tmp_path: Path
) -> None:
    chosen = choose(wish(tmp_path, study), tmp_path / "results")
    assert (chosen.seed, chosen.space.settings.design, chosen.space.settings.replicates) == (
        5,
        "one_factor",
        5,
    )
    assert wish(tmp_path, study).name == "other-around-study"
    with pytest.raises(UserError, match=r"--seed 4: .* has this seed"):
        choose(wish(tmp_path, study, seed=4), tmp_path / "results")
    with pytest.raises(UserError, match="--around goes with --design one_factor, not grid"):
        choose(wish(tmp_path, study, design="grid"), tmp_path / "results")


def test_a_study_goes_on_around_the_same_configuration_when_the_other_study_is_gone(
    study: Path, tmp_path: Path
) -> None:
    first = choose(wish(tmp_path, study), tmp_path / "results")
    spec = described_plan(first.space, PINNED, first.around)
    assert spec["quote"] == "report"  # the select half chose the base
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "study.yaml").write_text(dump_yaml({"schema_version": 1, **spec}))
    shutil.rmtree(study)
    again = choose(wish(tmp_path, study), folder)
    assert (again.seed, again.space.fingerprint()) == (first.seed, first.space.fingerprint())
    with pytest.raises(UserError, match="no such folder"):
        choose(wish(tmp_path, study), tmp_path / "elsewhere")
