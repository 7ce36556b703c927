"""One factor at a time: which configurations, in which order, from which base."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich.console import Console

from minbert.canonical import config_id
from minbert.errors import UserError
from tests.trainables.commands import SPACE, CommandLine
from tests.trainables.test_designs import Killed, counted, load, run_out
from tests.trainables.test_ledger import PINNED, complete, open_ledger
from trainables.dry_run.comparison_table import folded
from trainables.dry_run.plan import show_plan
from trainables.spaces.one_factor import base_setting, comparisons, described_design, level_values, not_varied
from trainables.spaces.space import Space, load_space
from trainables.studies.study_description import described_plan

HEADS = """\
search: {design: one_factor, replicates: 2}
pooling: {choice: [mean, cls, pooler]}
tasks:
  sts:
    head:
      kind: {choice: [cosine, concat, cross]}
      hidden_layers: {choice: [0, 2], when: {tasks.sts.head.kind: [concat, cross]}}
stages:
  finetune:
    epochs: 1
"""
KIND, HIDDEN = "tasks.sts.head.kind", "tasks.sts.head.hidden_layers"


def with_base(base: str) -> str:
    return HEADS.replace("replicates: 2", f"base: {base}")


def settings(space: Space) -> list[dict[str, Any]]:
    return [comparison.params for comparison in comparisons(space)]


def dry_run(space: Space) -> str:
    written = io.StringIO()
    show_plan(Console(file=written, width=200), space)
    return written.getvalue()


def test_each_level_of_each_factor_is_tried_from_the_base_and_nothing_else(tmp_path: Path) -> None:
    assert settings(load(tmp_path, HEADS)) == [
        {"pooling": "mean", KIND: "cosine"},
        {"pooling": "cls", KIND: "cosine"},
        {"pooling": "pooler", KIND: "cosine"},
        {"pooling": "mean", KIND: "concat", HIDDEN: 0},
        {"pooling": "mean", KIND: "cross", HIDDEN: 0},
    ]


def test_another_base_moves_every_comparison_and_drops_what_a_level_makes_inapplicable(
    tmp_path: Path,
) -> None:
    space = load(tmp_path, with_base(f"{{pooling: cls, {KIND}: concat, {HIDDEN}: 2}}"))
    assert settings(space) == [
        {"pooling": "cls", KIND: "concat", HIDDEN: 2},
        {"pooling": "mean", KIND: "concat", HIDDEN: 2},
        {"pooling": "pooler", KIND: "concat", HIDDEN: 2},
        {"pooling": "cls", KIND: "cosine"},
        {"pooling": "cls", KIND: "cross", HIDDEN: 2},
        {"pooling": "cls", KIND: "concat", HIDDEN: 0},
    ]


def test_what_does_not_apply_at_the_base_is_named_as_not_varied(tmp_path: Path) -> None:
    space = load(tmp_path, HEADS)
    assert not_varied(space) == {HIDDEN: f"inactive at the base ({KIND} cosine)"}
    fixed = space.fix("pooling", {"choice": ["cls"]})
    assert not_varied(fixed)["pooling"] == "its only level is cls"


@pytest.mark.parametrize(
    ("distribution", "levels", "base"),
    [
        ("{uniform: [0, 0.5]}", (0, 0.25, 0.5), 0.25),
        ("{uniform: [0.1, 0.3], step: 0.1}", (0.1, 0.2, 0.3), 0.1),
        ("{uniform: [0, 0.9], step: 0.01}", (0, 0.45, 0.9), 0),
    ],
)
def test_a_range_stands_for_its_ends_and_its_middle_unless_its_values_are_few(
    tmp_path: Path, distribution: str, levels: tuple[float, ...], base: float
) -> None:
    content = f"search: {{design: one_factor}}\nstages: {{finetune: {{dropout: {distribution}}}}}\n"
    space = load(tmp_path, content)
    assert level_values(space, space.factors[0]) == levels
    assert base_setting(space) == {"stages.finetune.dropout": base}


def test_a_log_range_has_its_geometric_middle_and_a_base_within_it_is_a_level_more(tmp_path: Path) -> None:
    content = (
        "search: {design: one_factor}\nstages: {finetune: {learning_rate: {log_uniform: [1e-5, 1e-3]}}}\n"
    )
    space = load(tmp_path, content)
    assert level_values(space, space.factors[0]) == (1e-5, 1e-4, 1e-3)
    assert "1e-05, 0.0001, 0.001 stand for log_uniform [1e-05, 0.001]" in dry_run(space)
    nearer = space.fix("search.base", "{stages.finetune.learning_rate: 2e-4}")
    assert level_values(nearer, nearer.factors[0]) == (1e-5, 1e-4, 2e-4, 1e-3)
    assert len(run_out(open_ledger(tmp_path, nearer, None))) == 4


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            "{poling: cls}",
            r"x.yaml:1: search.base: poling is no factor of this space; did you mean 'pooling'\?",
        ),
        (
            "{pooling: clss}",
            r"x.yaml:1: search.base: pooling: clss is no level of it: its levels are mean, cls",
        ),
        ("{max_length: 64}", r"x.yaml:1: search.base: max_length is no factor"),
    ],
)
def test_a_base_that_the_space_does_not_have_is_refused_with_its_line(
    tmp_path: Path, base: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, with_base(base))


def test_a_factor_that_the_command_line_fixes_leaves_the_base(tmp_path: Path) -> None:
    space = load(tmp_path, with_base("{pooling: cls}")).fix("pooling", "mean")
    assert space.settings.base == {}
    assert {space.config(setting).pooling for setting in settings(space)} == {"mean"}


def test_a_level_that_the_base_excludes_is_refused_with_its_line(tmp_path: Path) -> None:
    content = """\
search: {design: one_factor, base: {stages.finetune.sampler.kind: concurrent, stages.finetune.pcgrad: true}}
stages:
  finetune:
    sampler: {kind: {choice: [concurrent, merged]}}
    pcgrad: {choice: [false, true], when: {stages.finetune.sampler.kind: concurrent}}
    weighting: {choice: [fixed, learned]}
"""
    assert len(comparisons(load(tmp_path, content))) == 4
    three = """\
search: {design: one_factor, base: {shared_layer: all, shared_dropout: 0.3}}
shared_layer: {choice: [none, all]}
shared_dropout: {choice: [0, 0.3]}
"""
    with pytest.raises(UserError, match=r"x.yaml:[23]: .*shared_dropout 0.3.*needs shared_layer all"):
        load(tmp_path, three)
    stages = "".join(f"  {name}: {{kind: multitask, epochs: {{choice: [1, 0]}}}}\n" for name in "abc")
    content = "search: {design: one_factor, base: BASE}\nrecipe: [a, b, c]\nstages:\n" + stages
    one = load(tmp_path, content.replace("BASE", "{stages.b.epochs: 0, stages.c.epochs: 0}"))
    with pytest.raises(
        UserError, match=r"x.yaml:4: stages.a.epochs 0 does not go with the base: recipe must"
    ):
        comparisons(one)
    none = "{stages.a.epochs: 0, stages.b.epochs: 0, stages.c.epochs: 0}"
    with pytest.raises(UserError, match=r"x.yaml:1: the base is not possible: recipe must end with"):
        load(tmp_path, content.replace("BASE", none)).example()


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{design: one_factor, early_stopping: {}}", "early_stopping does not go with design 'one_factor'"),
        ("{design: one_factor, startup_trials: 3}", "startup_trials 3 has no effect here"),
        (
            "{design: grid, base: {pooling: cls}}",
            "base .* has no effect here: it needs search.design one_factor",
        ),
    ],
)
def test_settings_of_other_designs_are_refused(tmp_path: Path, search: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, f"search: {search}\npooling: {{choice: [mean, cls]}}\n")


def test_the_last_epoch_counts_unless_the_space_says_otherwise(tmp_path: Path) -> None:
    space = load(tmp_path, HEADS)
    assert space.example().checkpoint == "last"
    assert load(tmp_path, HEADS + "checkpoint: score\n").example().checkpoint == "score"
    assert Space.from_resolved(space.resolved()).example().checkpoint == "last"
    assert load(tmp_path, HEADS.replace("one_factor", "grid")).example().checkpoint == "score"


def test_five_replicates_are_usual_and_another_design_leaves_the_files_search_section_out() -> None:
    space = load_space(str(SPACE))
    assert (space.settings.trials, space.settings.early_stopping is None) == (24, False)
    moved = space.redesigned("one_factor", "--design one_factor")
    assert (moved.settings.replicates, moved.settings.trials, moved.settings.early_stopping) == (
        5,
        None,
        None,
    )
    assert moved.fingerprint() != space.fingerprint()


def test_a_replicate_of_all_configurations_comes_before_the_next_with_the_same_seeds(tmp_path: Path) -> None:
    issues = run_out(open_ledger(tmp_path, load(tmp_path, HEADS), None, replicates=3))
    names = [config_id(issue.config) for issue in issues]
    assert [issue.replicate for issue in issues] == [0] * 5 + [1] * 5 + [2] * 5
    assert names[:5] == names[5:10] == names[10:]
    seeds = [
        [issue.config.seed for issue in issues if issue.replicate == replicate] for replicate in range(3)
    ]
    assert [len(set(each)) for each in seeds] == [1, 1, 1]
    assert len({seed for each in seeds for seed in each}) == 3


def test_levels_that_train_the_same_way_run_once_and_are_named(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        "search: {design: one_factor}\npooling: {choice: [mean, cls]}\n"
        "stages: {simcse: {epochs: {choice: [0, 1]}, temperature: {choice: [0.05, 0.1]}}}\n",
    )
    assert len(run_out(open_ledger(tmp_path, space, None))) == 3  # the base does not run the stage
    assert "trains the same as the base" in dry_run(space)
    names = described_design(space, PINNED, chosen=False)
    assert [row["config_id"] == names["baseline"] for row in names["comparisons"]] == [False, False, True]


def test_a_driver_killed_at_any_write_leaves_no_run_skipped_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, left = load(tmp_path, HEADS), 0
    write = JournalFileBackend.append_logs

    def dying(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        write(self, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", dying)
    for life in range(1, 40):
        left = life + 2
        try:
            run_out(open_ledger(tmp_path, space, None, replicates=2))
        except Killed:
            continue
    left = 10_000
    last = open_ledger(tmp_path, space, None, replicates=2)
    run_out(last)
    assert len(set(counted(last))) == len(counted(last)) == 10
    assert [replicate for _, replicate in counted(last)] == [0] * 5 + [1] * 5
    assert {trial.state for trial in last.trials()} == {TrialState.COMPLETE}


def test_the_study_says_its_base_and_which_configuration_each_comparison_is(tmp_path: Path) -> None:
    space = load(tmp_path, HEADS)
    spec = described_plan(space, PINNED)
    assert (spec["design"], spec["trials"], spec["quote"]) == ("one_factor", 10, "dev")
    assert spec["base"] == {"pooling": "mean", KIND: "cosine", HIDDEN: None}
    ledger = open_ledger(tmp_path, space, None)
    ran = {}
    while (issue := ledger.next()) is not None:
        complete(ledger, issue.number, 0.5)
    for trial in ledger.trials():
        ran[trial.user_attrs["config_id"]] = trial.params
    assert ran[spec["baseline"]] == {"pooling": "mean", KIND: "cosine"}
    for row in spec["comparisons"]:
        assert ran[row["config_id"]][row["factor"]] == row["level"]
    assert described_design(space.fix("checkpoint", "score"), PINNED, chosen=False)["quote"] == "report"


def test_a_dry_run_shows_the_base_then_each_level_and_what_is_not_varied(tmp_path: Path) -> None:
    lines = [line.split() for line in dry_run(load(tmp_path, HEADS)).splitlines()]
    assert ["pooling", "mean", "base"] in lines
    assert ["cls"] in lines
    assert ["concat", "with", "sts.head.hidden_layers", "0"] in lines
    assert ["not", "varied:", f"{HIDDEN}:", "inactive", "at", "the", "base", f"({KIND}", "cosine)"] in lines
    assert ["configurations:", "5,", "each", "with", "2", "replicates"] in lines


NUMERICS = {"device": "cpu", "precision": "fp32", "threads": 1}


def test_another_base_or_design_than_the_studys_is_refused_naming_it(
    search_command: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import yaml  # noqa: PLC0415

    from minbert.bundled import CORPUS, ENCODER  # noqa: PLC0415
    from minbert.sources import resolve  # noqa: PLC0415
    from trainables.studies.study import identity  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("study")
    space = load(tmp_path_factory.mktemp("space"), HEADS)
    sources = resolve(str(CORPUS), str(ENCODER), space.example().tasks)
    (folder / "study.yaml").write_text(yaml.safe_dump({**identity(space, sources, 0), **NUMERICS}))
    command = ("--space", str(space.source), "--study", str(folder))
    code, errors = search_command(*command, "--set", "search.base={pooling: cls}")
    assert (code, "search.base.pooling: absent there, cls now" in errors) == (2, True), errors
    code, errors = search_command(*command, "--design", "grid")
    assert (code, "search.design: one_factor there, grid now" in errors) == (2, True), errors


def test_a_listed_space_is_refused_as_one_factor(search_command: CommandLine) -> None:
    code, errors = search_command("--space", "papers/multi_bert", "--design", "one_factor")
    assert code == 2
    assert errors.startswith(
        "error: --design one_factor: runs: only the design listed has this, not one_factor"
    )


def test_a_narrow_terminal_breaks_paths_at_their_dots() -> None:
    text = "with finetune.sampler.weights {qqp: 1}, supervised.hard_negative_weight 0.5"
    assert folded(text, 22) == [
        "with finetune.sampler.",
        "weights {qqp: 1},",
        "supervised.hard_",
        "negative_weight 0.5",
    ]
    assert folded(text, 100) == [text] and folded("", 9) == []
    written = io.StringIO()
    show_plan(Console(file=written, width=80), load_space("full_ablation"))
    words = {word for line in written.getvalue().splitlines() for word in line.split()}
    assert {"stages.finetune.", "sampler.kind", "concurrent"} <= words and "stages.finetune.sam" not in words


def test_a_space_without_a_description_is_its_name(tmp_path: Path) -> None:
    assert dry_run(load(tmp_path, HEADS)).startswith("space x\n")
