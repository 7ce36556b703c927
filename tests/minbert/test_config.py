"""Combinations that make no sense are refused, naming the settings and the reason."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from minbert.config import MultitaskStage, TrainConfig, build_config
from minbert.yaml_reader import problems


def refusal(partial: dict[str, Any]) -> str:
    with pytest.raises(pydantic.ValidationError) as caught:
        build_config(partial)
    return " | ".join(f"{problem.path}: {problem.text}" for problem in problems(caught.value))


def finetune(**leaves: Any) -> dict[str, Any]:
    return {"stages": {"finetune": leaves}}


def head(task: str, **leaves: Any) -> dict[str, Any]:
    return {"tasks": {task: {"head": leaves}}}


def stage(name: str, **leaves: Any) -> dict[str, Any]:
    return {"stages": {name: {"epochs": 1, **leaves}}}


REFUSED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (head("sst", kind="cross"), ("head.kind 'cross'", "1 text column")),
    (head("qqp", kind="linear"), ("head.kind 'linear'", "2 text column")),
    (
        {"tasks": {"qqp": {"kind": "classification", "head": {"kind": "dot"}}}},
        ("head.kind 'dot'", "one value", "classification"),
    ),
    (head("qqp", kind="cosine", hidden_layers=2), ("hidden_layers 2", "head.kind linear, cross or concat")),
    (head("qqp", kind="two_order", hidden_layers=1), ("hidden_layers 1", "linear, cross or concat")),
    (head("qqp", kind="cross", hidden_dropout=0.3), ("hidden_dropout 0.3", "head.hidden_layers")),
    (head("sts", kind="dot", activation="tanh"), ("activation 'tanh'", "dot")),
    (head("sts", kind="cross", difference="signed"), ("difference 'signed'", "concat or two_order")),
    (head("qqp", kind="concat", learned_scale=False), ("learned_scale False", "head.kind cosine")),
    (head("sts", kind="cosine", learned_scale=False), ("learned_scale False", "a binary task")),
    ({"tasks": {"sst": {"targets": "raw"}}}, ("targets 'raw'", "a regression task")),
    (finetune(sampler={"kind": "merged", "order": ["sst"]}), ("order ('sst',)", "sequential or round_robin")),
    (finetune(sampler={"kind": "sequential", "unit": "pass"}), ("unit 'pass'", "round_robin")),
    (finetune(sampler={"kind": "annealed", "end": "smallest"}), ("end 'smallest'", "concurrent")),
    (
        finetune(sampler={"kind": "round_robin", "unit": "pass", "end": "largest"}),
        ("end 'largest'", "sampler.unit batch"),
    ),
    (
        finetune(sampler={"kind": "proportional", "weights": {"qqp": 2}}),
        ("weights {'qqp': 2.0}", "sampler.kind random"),
    ),
    (
        finetune(sampler={"kind": "random", "weights": {"nope": 2}}),
        ("sampler.weights", "'nope'", "sst, qqp, sts"),
    ),
    (
        finetune(tasks=["sst"], sampler={"kind": "sequential", "order": ["sst", "qqp"]}),
        ("sampler.order", "'qqp'", "the stage's tasks (sst)"),
    ),
    (
        finetune(sampler={"kind": "concurrent", "end": "smallest"}, epoch_steps=5),
        ("epoch_steps 5", "sampler.end"),
    ),
    (
        finetune(sampler={"kind": "round_robin", "unit": "pass"}, epoch_examples=50),
        ("epoch_examples 50", "sampler.unit pass"),
    ),
    (finetune(epoch_steps=5, epoch_examples=50), ("epoch_steps 5", "epoch_examples 50")),
    (finetune(sampler={"kind": "sequential", "order": ["sst", "qqp"]}), ("sampler.order", "'sts'", "tasks")),
    (finetune(combine="mean", sampler={"kind": "merged"}), ("combine 'mean'", "sampler.kind concurrent")),
    (finetune(pcgrad=True, sampler={"kind": "random"}), ("pcgrad true", "sampler.kind 'random'")),
    (stage("supervised", task="sts"), ("stages.supervised.task 'sts'", "no binary pair task")),
    (stage("simcse", encoder_dropout=0, dropout=0), ("dropout 0", "encoder_dropout 0")),
    (
        {**head("sts", kind="concat"), **finetune(epochs=2, mnr={"tasks": ["sts"], "share": 1.0})},
        ("mnr.tasks 'sts'", "tasks.sts.head.kind 'concat'"),
    ),
    (
        finetune(epoch_steps=2, sampler={"kind": "round_robin"}),
        ("epoch_steps 2", "sampler.kind 'round_robin'", "3 steps"),
    ),
    (
        finetune(epoch_steps=3, sampler={"kind": "sequential", "order": ["sst", "qqp", "sst", "sts"]}),
        ("epoch_steps 3", "sampler.kind 'sequential'", "4 steps"),
    ),
    (
        {**head("qqp", kind="cosine"), **finetune(mnr={"tasks": ["qqp"]})},
        ("mnr.tasks 'qqp'", "tasks.qqp.head.learned_scale true"),
    ),
    (finetune(pcgrad=True, smart={"weight": 0.5}), ("smart.weight 0.5", "pcgrad true")),
    (finetune(freeze_encoder=True, smart={"bregman": 0.5}), ("smart.bregman 0.5", "freeze_encoder true")),
    (finetune(mnr={"tasks": ["sts"]}), ("mnr.tasks 'sts'", "tasks.sts.head.kind 'cross'", "own vectors")),
    (finetune(mnr={"tasks": ["nope"]}), ("mnr.tasks", "'nope'")),
    (
        {**head("sts", kind="cosine"), **finetune(mnr={"tasks": ["sts"]}, micro_batch_size=4)},
        ("micro_batch_size 4", "mnr.tasks", "whole batch"),
    ),
    (
        {
            "tasks": {"qqp": {"kind": "classification", "head": {"kind": "concat"}}},
            **finetune(mnr={"tasks": ["qqp"]}),
        },
        ("mnr.tasks 'qqp'", "classes"),
    ),
    (stage("supervised", task="sst"), ("stages.supervised.task 'sst'", "binary pair task")),
    (stage("supervised", task="nope"), ("stages.supervised.task", "'nope'")),
    (stage("supervised", task="qqp", triplets="nli.csv"), ("task 'qqp'", "triplets 'nli.csv'")),
    (stage("simcse", tasks=["nope"]), ("stages.simcse.tasks", "'nope'")),
    ({"shared_dropout": 0.2}, ("shared_dropout 0.2", "shared_layer")),
    (
        {"shared_layer": "pairs", **head("sts", kind="cosine")},
        ("shared_layer 'pairs'", "tasks.sts.head.kind cosine"),
    ),
    (
        {
            "shared_layer": "pairs",
            "tasks": {"qqp": {"head": {"kind": "two_order"}}, "sts": {"head": {"kind": "two_order"}}},
        },
        ("shared_layer 'pairs'", "two_order"),
    ),
    ({"shared_layer": "pairs", **head("qqp", kind="concat")}, ("shared_layer 'pairs'", "of one kind")),
    ({"tasks": {"sst": {"label_range": (0, 4)}}}, ("label_range", "a regression task")),
    ({"tasks": {"sts": {"classes": 7}}}, ("classes 7", "a classification task")),
    (finetune(tasks=["sst"], pcgrad=True), ("pcgrad True", "several tasks", "'sst'")),
    (finetune(tasks=["sst"], conflict_batches=2), ("conflict_batches 2", "several tasks")),
    (finetune(tasks=["sst"], combine="mean"), ("combine 'mean'", "several tasks")),
    (finetune(tasks=["sst"], weighting="adaptive"), ("weighting 'adaptive'", "several tasks")),
    (finetune(freeze_encoder=True, pcgrad=True), ("pcgrad True", "freeze_encoder true")),
    (
        {
            **head("sts", kind="cosine"),
            **finetune(tasks=["sst", "sts"], mnr={"tasks": ["sts"]}, conflict_batches=2),
        },
        ("conflict_batches 2", "mnr does not rank"),
    ),
    (
        {"shared_layer": "pairs", **finetune(freeze_encoder=True, tasks=["sst", "qqp"], pcgrad=True)},
        ("pcgrad True", "freeze_encoder true"),
    ),
    (
        {**head("sts", kind="dot"), **finetune(freeze_encoder=True, sampler={"kind": "merged"})},
        ("freeze_encoder true", "tasks.sts.head.kind 'dot'", "nothing to train"),
    ),
    (
        {**head("sts", kind="cosine"), **finetune(freeze_encoder=True, tasks=["sts"])},
        ("freeze_encoder true", "tasks.sts.head.kind 'cosine'", "nothing to train"),
    ),
    (
        {**head("sts", kind="cosine"), **finetune(freeze_encoder=True, mnr={"tasks": ["sts"]})},
        ("mnr.tasks", "freeze_encoder true"),
    ),
    (
        {**head("sts", kind="cosine"), **finetune(batch_size=1, mnr={"tasks": ["sts"]})},
        ("mnr.tasks 'sts'", "batch_size of 1"),
    ),
    (
        {
            **head("sts", kind="cosine"),
            **finetune(tasks=["sts"], mnr={"tasks": ["sts"]}, smart={"weight": 1}),
        },
        ("smart.weight 1.0", "mnr.share 1"),
    ),
    (finetune(tasks=["sst", "sst"]), ("stages.finetune.tasks", "'sst' twice")),
    (finetune(epochs=0), ("recipe", "multitask")),
    (finetune(epochs=0.0), ("recipe", "multitask")),
    ({"tasks": {"plain": TrainConfig().tasks["sst"].model_dump(exclude_none=True)}}, ("'plain'",)),
]


@pytest.mark.parametrize(("partial", "parts"), REFUSED, ids=[" ".join(parts) for _, parts in REFUSED])
def test_a_combination_that_makes_no_sense_is_refused_naming_both_settings(
    partial: dict[str, Any], parts: tuple[str, ...]
) -> None:
    message = refusal(partial)
    assert all(part in message for part in parts), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("epochs", "share", "ranked"),
    [(1, 0.5, 1), (100, 0.29, 29), (10, 0.5, 5), (5, 0.5, 2), (3, 0.5, 1), (3, 1.0, 3), (2.5, 1.0, 3)],
)
def test_the_first_share_of_the_epochs_is_rounded_down(epochs: float, share: float, ranked: int) -> None:
    stage = finetune(epochs=epochs, mnr={"tasks": ["sts"], "share": share})
    config = build_config({**head("sts", kind="cosine"), **stage})
    found = config.stages["finetune"]
    assert isinstance(found, MultitaskStage) and found.ranked_epochs == ranked


@pytest.mark.parametrize(
    "partial",
    [
        {**head("qqp", kind="cosine", learned_scale=False), **finetune(mnr={"tasks": ["qqp"]})},
        {**head("qqp", kind="cosine"), **finetune(epochs=2, mnr={"tasks": ["qqp"], "share": 0.5})},
        stage("simcse", epochs=0, encoder_dropout=0),
    ],
    ids=["nothing learned", "its own loss later", "a stage that does not run"],
)
def test_what_looks_like_a_senseless_combination_and_is_none_is_taken(partial: dict[str, Any]) -> None:
    build_config(partial)


def test_a_whole_number_of_epochs_has_one_spelling() -> None:
    epochs = build_config(finetune(epochs=3.0)).stages["finetune"].epochs
    assert epochs == 3 and isinstance(epochs, int)
    assert build_config(finetune(epochs=3.5)).stages["finetune"].last_epoch == 4


def test_the_difference_that_is_not_named_is_the_usual_one() -> None:
    tasks = build_config(
        {"tasks": {"qqp": {"head": {"kind": "concat"}}, "sts": {"head": {"kind": "two_order"}}}}
    ).tasks
    assert tasks["qqp"].head.compared_by == "absolute"
    assert tasks["sts"].head.compared_by == "none"


@pytest.mark.parametrize(
    ("partial", "message"),
    [
        ({"seed": True}, "seed: True is not allowed: a number is needed"),
        (finetune(epochs=True), "stages.finetune.epochs: True is not allowed: a number is needed"),
        (finetune(pcgrad=1), "stages.finetune.pcgrad: 1 is not allowed: true or false is needed"),
        (finetune(pcgrad="yes"), "stages.finetune.pcgrad: 'yes' is not allowed: true or false is needed"),
        (finetune(learning_rate=False), "stages.finetune.learning_rate: False is not allowed: a number"),
        (head("qqp", kind="cosine", learned_scale=1), "tasks.qqp.head.learned_scale: 1 is not allowed"),
        ({"threads": True}, "threads: True is not allowed: a number is needed"),
        (
            finetune(sampler={"kind": "random", "weights": {"qqp": True}}),
            "stages.finetune.sampler.weights.qqp: True is not allowed: a number is needed",
        ),
        (
            {"tasks": {"sts": {"label_range": [False, 5]}}},
            "tasks.sts.label_range.0: False is not allowed: a number is needed",
        ),
    ],
)
def test_truth_values_and_numbers_do_not_stand_in_for_each_other(
    partial: dict[str, Any], message: str
) -> None:
    assert refusal(partial).startswith(message)
