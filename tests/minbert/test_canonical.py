"""Keys change with what has an effect, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minbert.canonical import config_id, extends_itself, stage_key, stream_name
from minbert.config import TaskConfig, TrainConfig, build_config

MakeConfig = Callable[..., TrainConfig]
ON: dict[str, Any] = {"stages__simcse__epochs": 1}

WITHOUT_EFFECT: list[dict[str, Any]] = [
    {"seed": 7},
    {"data__path": "elsewhere", "encoder__path": "there"},
    {"stages__simcse__batch_size": 48},  # the stage does not run
    {"stages__other": {"kind": "simcse", "epochs": 3}},  # not in the recipe
    {"tasks__sst__files": {"dev": "sst-dev.csv"}},
    {"stages__finetune__tasks": ["sts", "sst", "qqp"]},  # all of them
    {"stages__finetune__conflict_batches": 2},  # looks only
    {"stages__finetune__epochs": 2.0},
    {"stages__finetune__smart": {"radius": 0.5, "steps": 3, "momentum": 0.9}},  # of weight 0
    {"stages__finetune__mnr": {"share": 0.5}},  # of no task
    {"stages__supervised__hard_negative_weight": 2.0},  # the stage does not run
    {"stages__finetune__micro_batch_size": 16},  # the whole batch
    {"tasks__sst__batch_size": 16},  # the stage's
]
WITH_EFFECT: list[dict[str, Any]] = [
    {"data__fingerprint": "other"},
    {"encoder__fingerprint": "other"},
    {"selection": "dev"},
    {"threads": 2},
    {"precision": "bf16"},
    {"pooling": "cls"},
    {"shared_layer": "all"},
    {"max_length": 20},
    {"tasks__qqp__head__kind": "cosine"},
    {"tasks__sst__weight": 2.0},
    {"tasks__sts__label_range": (0.0, 9.0)},
    {"stages__simcse__epochs": 1},
    {"stages__finetune__epochs": 3},
    {"stages__finetune__learning_rate": 2e-3},
    {"stages__finetune__pcgrad": True},
    {"stages__finetune__sampler": {"kind": "annealed"}},
    {"stages__finetune__encoder_dropout": 0.2},
    {"stages__finetune__warmup_share": 0.2},
    {"stages__finetune__warmup_steps": 3},
    {"stages__finetune__tasks": ["sst"]},
    {"checkpoint": "task"},
    {"checkpoint": "last"},
    {"fidelity": 0.5},
    {"shared_layer": "all", "shared_dropout": 0.1},
    {"tasks__sst__head__hidden_layers": 1},
    {"tasks__sst__head__activation": "tanh"},
    {"tasks__qqp__head__kind": "two_order"},
    {"tasks__qqp__head": {"kind": "concat", "difference": "none"}},
    {"tasks__sts__head__kind": "dot"},
    {"tasks__sts__targets": "raw"},
    {"tasks__sts__batch_size": 4},
    {"tasks__qqp__dev_examples": 5},
    {"stages__finetune__epochs": 2.5},
    {"stages__finetune__epoch_steps": 2},
    {"stages__finetune__combine": "mean"},
    {"stages__finetune__weighting": "adaptive"},
    {"stages__finetune__weighting": "learned"},
    {"stages__finetune__micro_batch_size": 4},
    {"stages__finetune__max_grad_norm": 0.0},
    {"stages__finetune__smart__weight": 0.5},
    {"stages__finetune__smart__bregman": 0.5},
    {"stages__finetune__sampler__end": "smallest"},
    {"stages__finetune__sampler": {"kind": "merged"}},
    {"stages__finetune__sampler": {"kind": "random", "weights": {"qqp": 2.0}}},
    {"stages__finetune__sampler": {"kind": "round_robin", "unit": "pass"}},
    {"stages__finetune__sampler": {"kind": "round_robin", "order": ["sst", "sts", "sst", "qqp"]}},
    {"stages__supervised": {"epochs": 1, "task": "qqp"}},
    {"shared_layer": "all", "shared_dropout": 0.2},
]


@pytest.mark.parametrize("leaves", WITHOUT_EFFECT, ids=str)
def test_what_has_no_effect_does_not_change_the_config_id(
    leaves: dict[str, Any], configure: MakeConfig
) -> None:
    assert config_id(configure(**leaves)) == config_id(configure())


@pytest.mark.parametrize("leaves", WITH_EFFECT, ids=str)
def test_what_has_an_effect_changes_the_config_id(leaves: dict[str, Any], configure: MakeConfig) -> None:
    assert config_id(configure(**leaves)) != config_id(configure())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"stages__finetune__warmup_steps": 3},
            {"stages__finetune__warmup_steps": 3, "stages__finetune__warmup_share": 0.4},
        ),
        ({"stages__finetune__warmup_steps": 0}, {"stages__finetune__warmup_share": 0.0}),
        (
            {"stages__finetune__tasks": ["sst"]},
            {"stages__finetune__tasks": ["sst"], "stages__finetune__sampler": {"kind": "merged"}},
        ),
        (
            {"tasks__qqp__head": {"kind": "concat"}},
            {"tasks__qqp__head": {"kind": "concat", "difference": "absolute"}},
        ),
        (
            {"tasks__sst__head__hidden_layers": 1},
            {"tasks__sst__head__hidden_layers": 1, "tasks__sst__head__hidden_dropout": 0.1},
        ),
        (
            {"tasks__qqp__head": {"kind": "cosine"}},
            {"tasks__qqp__head": {"kind": "cosine", "learned_scale": True}},
        ),
        (
            {"stages__finetune__sampler": {"kind": "random"}},
            {"stages__finetune__sampler": {"kind": "random", "weights": {"sst": 3, "qqp": 3, "sts": 3}}},
        ),
        (
            {"stages__finetune__sampler": {"kind": "round_robin"}},
            {
                "stages__finetune__sampler": {
                    "kind": "round_robin",
                    "order": ["sst", "qqp", "sts"],
                    "unit": "batch",
                }
            },
        ),
        (
            {"stages__finetune__sampler": {"kind": "sequential", "order": ["qqp", "sst", "sts"]}},
            {
                "stages__finetune__sampler": {
                    "kind": "round_robin",
                    "order": ["qqp", "sst", "sts"],
                    "unit": "pass",
                }
            },
        ),
        (
            {"stages__finetune__epochs": 1, "stages__finetune__sampler": {"kind": "proportional"}},
            {"stages__finetune__epochs": 1, "stages__finetune__sampler": {"kind": "annealed"}},
        ),
        (
            {"stages__finetune__epochs": 1, "stages__finetune__weighting": "adaptive"},
            {"stages__finetune__epochs": 0.5 + 0.5},
        ),
        (
            {"stages__finetune__tasks": ["sst", "qqp"]},
            {
                "stages__finetune__tasks": ["sst", "qqp"],
                "tasks__sts__weight": 3.0,
                "tasks__sts__batch_size": 5,
            },
        ),
        (
            {"tasks__sst__batch_size": 4, "tasks__qqp__batch_size": 4, "tasks__sts__batch_size": 4},
            {"stages__finetune__batch_size": 4},
        ),
        (
            {"tasks__sts__head__kind": "cosine", "stages__finetune__mnr": {"tasks": ["sts"], "share": 0.5}},
            {"tasks__sts__head__kind": "cosine", "stages__finetune__mnr": {"tasks": ["sts"], "share": 0.9}},
        ),
        (
            {"stages__simcse": {"epochs": 1, "mlm_share": 0.3}},
            {"stages__simcse": {"epochs": 1}},
        ),
    ],
    ids=str,
)
def test_leaves_that_others_switch_off_do_not_count(
    one: dict[str, Any], other: dict[str, Any], configure: MakeConfig
) -> None:
    assert config_id(configure(**one)) == config_id(configure(**other))


@pytest.mark.parametrize(
    ("common", "path", "values"),
    [
        ({"shared_layer": "all"}, "shared_dropout", (0.1, 0.2)),
        ({"tasks__sst__head__hidden_layers": 1}, "tasks__sst__head__hidden_dropout", (0.1, 0.3)),
        ({"stages__finetune__smart__bregman": 1.0}, "stages__finetune__smart__momentum", (0.0, 0.9)),
        ({"stages__finetune__smart__weight": 1.0}, "stages__finetune__smart__steps", (1, 2)),
        ({"stages__finetune__freeze_encoder": True}, "stages__finetune__encoder_dropout", (0.0, 0.3)),
        ({"stages__simcse__epochs": 1}, "stages__simcse__mlm_weight", (0.0, 0.1)),
    ],
    ids=str,
)
def test_leaves_that_others_switch_on_count(
    common: dict[str, Any], path: str, values: tuple[Any, Any], configure: MakeConfig
) -> None:
    assert len({config_id(configure(**{**common, path: value})) for value in values}) == 2


def test_the_order_of_ranked_tasks_does_not_count(configure: MakeConfig) -> None:
    heads = {"tasks__qqp__head__kind": "cosine", "tasks__sts__head__kind": "dot"}
    orders = (["qqp", "sts"], ["sts", "qqp"])
    ranked = [{"tasks": tasks, "share": 0.5} for tasks in orders]
    ids = {config_id(configure(**heads, stages__finetune__mnr=mnr)) for mnr in ranked}
    assert len(ids) == 1


def test_a_stage_trained_without_a_tenth_of_train_is_another_one(configure: MakeConfig) -> None:
    keys = {
        stage_key(configure(**ON, selection=selection), "simcse", 1) for selection in ("dev", "train_holdout")
    }
    assert len(keys) == 2


def test_the_order_of_tasks_counts_because_samplers_follow_it() -> None:
    tasks = build_config({}).tasks
    turned: dict[str, TaskConfig] = dict(reversed(tasks.items()))
    one, two = TrainConfig(tasks=tasks), TrainConfig(tasks=turned)
    assert config_id(one) != config_id(two)
    assert stage_key(one, "finetune", 3) != stage_key(two, "finetune", 3)


@pytest.mark.parametrize(
    "leaves",
    [
        {"stages__finetune__learning_rate": 2e-3},
        {"stages__finetune__epochs": 5},
        {"stages__finetune__pcgrad": True},
        {"tasks__qqp__head__kind": "cosine"},
        {"shared_layer": "all"},
        {"max_length": 20},
        {"stages__simcse__epochs": 3},
    ],
    ids=str,
)
def test_the_key_of_simcse_does_not_depend_on_what_comes_later(
    leaves: dict[str, Any], configure: MakeConfig
) -> None:
    assert stage_key(configure(**{**ON, **leaves}), "simcse", 1) == stage_key(configure(**ON), "simcse", 1)


@pytest.mark.parametrize(
    "leaves",
    [
        {"seed": 7},
        {"pooling": "cls"},
        {"encoder__fingerprint": "other"},
        {"precision": "bf16"},
        {"stages__simcse__temperature": 0.1},
        {"stages__simcse__tasks": ["sst"]},
        {"stages__simcse__batch_size": 16},
    ],
    ids=str,
)
def test_the_key_of_simcse_depends_on_what_it_sees(leaves: dict[str, Any], configure: MakeConfig) -> None:
    assert stage_key(configure(**{**ON, **leaves}), "simcse", 1) != stage_key(configure(**ON), "simcse", 1)


def test_texts_are_named_by_their_content(configure: MakeConfig) -> None:
    on = {"stages__simcse": {"epochs": 1, "text": "sentences"}}
    texts = [{"sentences": "a"}, {"sentences": "b"}, {"wiki.txt": "a"}]
    first, other, renamed = (configure(data__texts=named, **on) for named in texts)
    by_name = configure(data__texts=texts[2], stages__simcse={"epochs": 1, "text": "wiki.txt"})
    assert config_id(first) != config_id(other)
    assert config_id(first) == config_id(by_name) != config_id(renamed)
    assert stage_key(first, "simcse", 1) == stage_key(by_name, "simcse", 1) != stage_key(other, "simcse", 1)


def test_what_a_stage_looks_for_is_part_of_its_key_and_not_of_the_configuration(
    configure: MakeConfig,
) -> None:
    """A stored stage brings the facts of its epochs along."""
    plain, looking = configure(), configure(stages__finetune__conflict_batches=2)
    assert config_id(plain) == config_id(looking)
    assert stage_key(plain, "finetune", 1) != stage_key(looking, "finetune", 1)


def test_the_key_of_a_later_stage_depends_on_earlier_ones_and_epochs_differ(configure: MakeConfig) -> None:
    keys = {
        stage_key(configure(stages__simcse__epochs=epochs), "finetune", count)
        for epochs in (0, 1, 2)
        for count in (1, 2)
    }
    assert len(keys) == 6


def test_three_epochs_contain_one_and_two(configure: MakeConfig) -> None:
    three = configure(stages__simcse__epochs=3)
    for epochs in (1, 2):
        shorter = configure(stages__simcse__epochs=epochs)
        assert stage_key(three, "simcse", epochs) == stage_key(shorter, "simcse", epochs)


@pytest.mark.parametrize(
    ("leaves", "extends"),
    [
        ({}, True),
        ({"schedule": "linear"}, False),
        ({"schedule": "cosine"}, False),
        ({"warmup_share": 0.1}, False),
        ({"warmup_share": 0.1, "warmup_steps": 5}, True),
        ({"sampler": {"kind": "annealed"}}, False),
        ({"sampler": {"kind": "annealed"}, "epochs": 1}, True),
        ({"sampler": {"kind": "annealed"}, "tasks": ["sst"]}, True),
        ({"sampler": {"kind": "proportional"}}, True),
        ({"mnr": {"tasks": ["sts"], "share": 0.5}}, False),
        ({"mnr": {"tasks": ["sts"], "share": 0.5}, "epochs": 1}, True),
        ({"mnr": {"tasks": ["sts"]}}, True),
    ],
    ids=str,
)
def test_only_a_stage_that_does_not_know_its_end_extends_itself(
    leaves: dict[str, Any], extends: bool, configure: MakeConfig
) -> None:
    stage = {"epochs": 3, "schedule": "constant", "warmup_share": 0, **leaves}
    config = configure(stages__finetune=stage, tasks__sts__head__kind="cosine")
    assert extends_itself(config, "finetune") == extends


def test_contrastive_stages_extend_themselves_as_they_are(configure: MakeConfig) -> None:
    assert extends_itself(configure(**ON), "simcse")
    assert not extends_itself(configure(**ON, stages__simcse__schedule="linear"), "simcse")


def test_ranking_all_the_time_is_the_same_however_long_the_stage_is(configure: MakeConfig) -> None:
    ranking = {"tasks__sts__head__kind": "cosine", "stages__finetune__mnr": {"tasks": ["sts"]}}
    keys = {stage_key(configure(**ranking, stages__finetune__epochs=e), "finetune", 1) for e in (1, 2, 3)}
    assert len(keys) == 1


def test_stream_names_count_stages_of_a_kind_so_that_an_absent_stage_shifts_nothing(
    configure: MakeConfig,
) -> None:
    assert stream_name(configure(), "finetune") == stream_name(configure(**ON), "finetune") == "multitask-0"
    again = configure(stages__more={"kind": "multitask"}, recipe=["simcse", "finetune", "more"], **ON)
    assert [stream_name(again, name) for name in ("simcse", "finetune", "more")] == [
        "simcse-0",
        "multitask-0",
        "multitask-1",
    ]
