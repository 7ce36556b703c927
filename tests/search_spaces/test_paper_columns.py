"""The columns of the papers' tables, walked against the leaves of the configurations."""

from __future__ import annotations

import pytest

from minbert.config import MultitaskStage, StageConfig, SupervisedSimCSEStage, TrainConfig
from tests.search_spaces.listed_papers import config, last, run_of, stages, trained_for
from tests.search_spaces.paper_tables import FROZEN, MULTI_BERT, MULTITASK, ROBUST, SIMPLE, TASKS, Row

# 000


@pytest.mark.parametrize("row", ROBUST, ids=lambda row: row.name)
def test_robust_embeddings_columns(row: Row) -> None:
    method, order, epochs, batch, dropout, _ = row.cells
    found = config("robust_embeddings", row.name)
    stage = last(found)
    parts = method.split("+")
    assert found.pooling == "pooler"
    assert stage.learning_rate == 1e-5
    assert stage.epochs == float(epochs)
    assert stage.batch_size == int(batch)
    assert stage.dropout == float(dropout)
    assert (found.shared_layer == "all") == any(part.startswith("CL") for part in parts)
    assert found.shared_dropout == (0.5 if "CL(Dropout)" in parts else 0)
    assert stage.pcgrad == ("GS" in parts)
    assert stage.freeze_encoder == (parts == ["VM"])
    check_heads_of_robust_embeddings(found, parts)
    check_order(found, stage, parts, order)
    if "SimCSE" in parts:
        contrastive = found.stages["supervised"]
        assert stages(found) == ["supervised", "finetune"]
        assert contrastive.epochs == 100
        assert isinstance(contrastive, SupervisedSimCSEStage) and contrastive.task is None
    else:
        assert stages(found) == ["finetune"]


def check_heads_of_robust_embeddings(found: TrainConfig, parts: list[str]) -> None:
    letters = next(part for part in parts if part.startswith(("VM", "PH", "DPH")))
    for task in ("qqp", "sts"):
        head = found.tasks[task].head
        own = "PH" if letters.endswith("(PD)") and task == "sts" else letters.removesuffix("(PD)")
        assert head.kind == ("concat" if own == "VM" else "two_order")
        assert head.compared_by == ("signed" if own.startswith("DPH") else "none")
        assert head.activation == ("tanh" if own == "DPHA" else "none")
        assert head.hidden_layers == 0


def check_order(found: TrainConfig, stage: MultitaskStage, parts: list[str], order: str) -> None:
    sampler = stage.sampler
    twice = order == "QQP x2"
    assert found.tasks["qqp"].weight == (2 if twice and "GS" in parts else 1)
    assert found.tasks["sst"].weight == found.tasks["sts"].weight == 1
    if "RR" in parts:
        assert (sampler.kind, sampler.unit) == ("round_robin", "pass")
        assert sampler.order == tuple(order.lower().split(","))
    elif "GS" in parts:
        assert sampler.kind == "concurrent" and stage.combine == "mean"
    elif "MT-DNN" in parts:
        assert sampler.kind == "random"
        assert sampler.weights == ({"qqp": 2} if twice else None)
    else:
        assert (order, stage.tasks) == ("SST only", ("sst",))


# 001


@pytest.mark.parametrize("row", MULTITASK, ids=lambda row: row.name)
def test_multitask_embeddings_columns(row: Row) -> None:
    first, pooling, joint, smart, unsupervised, supervised = row.cells
    baseline = row.name in ("PT", "FT")
    for task, name in trained_for("multitask_embeddings", row):
        found = config("multitask_embeddings", name)
        stage = last(found)
        columns = {"simcse": unsupervised, "supervised": supervised, "qqp_first": first, "finetune": "y"}
        assert stages(found) == [each for each, ticked in columns.items() if ticked == "y"]
        assert found.pooling == pooling
        assert stage.smart.weight == (0.5 if smart == "y" else 0)
        assert stage.epochs == (10 if baseline else 20)
        assert stage.tasks == ((task,) if baseline else None)
        assert stage.freeze_encoder == (row.name == "PT")
        assert (stage.learning_rate, stage.batch_size, stage.dropout) == (1e-5, 8, 0.3)
        assert (stage.combine, stage.pcgrad) == ("sum", False)
        if not baseline:
            assert stage.sampler.kind == ("concurrent" if joint == "y" else "round_robin")
            assert stage.sampler.unit in (None, "batch") and stage.sampler.end == "smallest"
        for pair in ("qqp", "sts"):
            head = found.tasks[pair].head
            assert (head.kind, head.compared_by, head.hidden_layers) == ("concat", "absolute", 0)


def test_multitask_embeddings_earlier_stages_have_the_papers_lengths_and_rates() -> None:
    found = config("multitask_embeddings", "run 1")
    first, unsupervised, supervised = (found.stages[name] for name in ("qqp_first", "simcse", "supervised"))
    assert isinstance(first, MultitaskStage) and first.tasks == ("qqp",) and first.smart.weight == 0
    assert (first.epochs, first.epoch_steps, first.batch_size) == (10, 1000, 8)
    assert (first.learning_rate, first.dropout) == (1e-5, 0.3)
    for stage, batch in ((unsupervised, 64), (supervised, 16)):
        settings = stage.model_dump()
        assert (settings["epochs"], settings["batch_size"], settings["learning_rate"]) == (1, batch, 3e-5)
        assert (settings["dropout"], settings["temperature"]) == (0.3, 0.05)
    assert isinstance(supervised, SupervisedSimCSEStage)
    assert supervised.hard_negative_weight == 1 and supervised.task is None
    assert unsupervised.model_dump()["text"] == "sentences"


# 002


@pytest.mark.parametrize("row", FROZEN, ids=lambda row: row.name)
def test_frozen_simcse_columns(row: Row) -> None:
    contrastive, encoder, heads, *_ = row.cells
    kind, qqp_layers, sts_layers = heads.split()
    epochs = {"sst": 10, "sts": 20, "qqp": 5}
    for task, name in trained_for("frozen_simcse", row):
        found = config("frozen_simcse", name)
        multitask = [(each, stage) for each, stage in found.running_stages() if each.startswith("train_")]
        before = [each for each in stages(found) if not each.startswith("train_")]
        assert before == ([] if contrastive == "none" else [contrastive])
        for _, stage in multitask:
            assert isinstance(stage, MultitaskStage) and stage.tasks is not None
            (only,) = stage.tasks
            assert stage.epochs == epochs[only] and stage.batch_size == 64
            assert stage.freeze_encoder == (encoder == "frozen")
            assert stage.learning_rate == (1e-3 if encoder == "frozen" else 1e-5)
        if row.name == "Finetuned on all tasks":
            assert [each for each, _ in multitask] == ["train_sst", "train_sts", "train_qqp"]
        elif task in row.scores:
            assert [each for each, _ in multitask] == [f"train_{task}"]
        if (row.name, task) != ("BERT-cross-encoder", "sst"):
            check_frozen_heads(found, kind, {"qqp": int(qqp_layers), "sts": int(sts_layers)})
        sst = found.tasks["sst"].head
        assert found.pooling == "cls"
        assert (sst.hidden_layers, sst.dropout_of_hidden) == (1, 0.1)


def check_frozen_heads(found: TrainConfig, kind: str, layers: dict[str, int]) -> None:
    for task, count in layers.items():
        head = found.tasks[task].head
        assert (head.kind, head.hidden_layers, head.compared_by) == (kind, count, "none")


def test_frozen_simcse_contrastive_stages_have_the_papers_settings() -> None:
    found = config("frozen_simcse", "SimCSE-supervised sst")
    wanted = {"simcse": (1, 64, 3e-5), "supervised": (3, 128, 5e-5)}
    for name, settings in wanted.items():
        stage = found.stages[name].model_dump()
        assert (stage["epochs"], stage["batch_size"], stage["learning_rate"]) == settings
        assert (stage["dropout"], stage["temperature"], stage["max_length"]) == (0, 0.05, 32)
        assert not stage["projection"]
    assert found.stages["simcse"].model_dump()["mlm_weight"] == 0


# 003


@pytest.mark.parametrize("row", MULTI_BERT, ids=lambda row: row.name)
def test_multi_bert_columns(row: Row) -> None:
    sampler, head, ranking = row.cells
    found = config("multi_bert", row.name)
    stage = last(found)
    sts = found.tasks["sts"].head
    assert stages(found) == ["finetune"] and found.pooling == "cls"
    assert (stage.sampler.kind, sts.kind) == (sampler, head)
    assert sts.activation == ("tanh" if head == "cross" else "none")
    assert (stage.mnr.tasks, stage.mnr.share) == ((("sts",), 0.5) if ranking == "y" else ((), 1))
    assert (stage.epochs, stage.batch_size, stage.learning_rate, stage.dropout) == (10, 32, 1e-5, 0.3)
    assert found.tasks["qqp"].head.kind == "cross" and found.tasks["qqp"].head.activation == "none"
    assert found.tasks["qqp"].dev_examples == 32 * 1000
    if sampler == "round_robin":
        assert (stage.sampler.end, stage.sampler.unit, stage.epoch_steps) == ("smallest", None, None)
    else:
        assert stage.epoch_steps == 3000


# 004

SINGLES = [row for row in SIMPLE if row.name != "Ensemble"]


@pytest.mark.parametrize("row", SINGLES, ids=lambda row: row.name)
def test_simple_contrastive_columns(row: Row) -> None:
    contrastive, tuning, heads, change = row.cells
    found = config("simple_contrastive", row.name)
    stage = last(found)
    rate = float(change.removeprefix("lr ")) if change.startswith("lr") else 1e-5
    dropout = float(change.removeprefix("dropout ")) if change.startswith("dropout") else 0.3
    assert contrastive_stages(found) == ("" if contrastive == "-" else contrastive)
    assert all(each.learning_rate == rate and each.dropout == dropout for _, each in found.running_stages())
    assert stage.epochs == 10 and found.pooling == "pooler" and stage.combine == "sum"
    assert stage.tasks == (("sst",) if tuning == "single" else None)
    assert stage.pcgrad == (tuning == "surgery")
    assert stage.sampler.kind == ("sequential" if tuning == "sequential" else "concurrent")
    assert stage.sampler.end == (None if tuning == "sequential" else "smallest")
    for task, head in zip(("qqp", "sts"), heads.split(), strict=True):
        settings = found.tasks[task].head
        assert settings.kind == ("concat" if head == "linear" else "cosine")
        assert settings.compared_by == "none" and settings.hidden_layers == 0
        assert settings.learned_scale == (False if head == "cosine" and task == "qqp" else None)


def contrastive_stages(found: TrainConfig) -> str:
    """The contrastive stages of a run, written as in the table."""
    told = []
    for _, stage in found.running_stages()[:-1]:
        assert isinstance(stage, StageConfig)
        if isinstance(stage, SupervisedSimCSEStage):
            assert stage.task == "qqp"
            told.append(f"S {stage.epochs}")
        else:
            sets = stage.model_dump()["tasks"]
            told.append(f"U {'all' if set(sets) == {*TASKS} else '+'.join(sets)} {stage.epochs}")
    return ", ".join(told)


def test_the_ensemble_takes_each_task_from_the_model_that_is_best_at_it() -> None:
    members = run_of("simple_contrastive", "Ensemble").members
    assert members == {"sst": "UCL 2 sets", "qqp": "Sup. 3 epochs", "sts": "Sup. 10 epochs, no head"}
    best = {row.name: row.scores for row in SIMPLE if row.name in members.values()}
    for task, name in members.items():
        assert best[name][task] == max(scores[task] for scores in best.values())
