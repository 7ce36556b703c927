"""A trial resumes bit for bit wherever it was cut, and never uses a damaged file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from minbert.canonical import stage_key
from minbert.choice import load_best
from minbert.config import TrainConfig
from minbert.corpora.batching import Batcher
from minbert.devices import compute
from minbert.errors import TrainingFailure, UserError
from minbert.evaluation import Evaluator, metric
from minbert.files.durable import read_json_lines
from minbert.history import LINE, Record, summarise
from minbert.model import build_model
from minbert.sources import resolve
from minbert.training import StageTrainer
from minbert.trial import Materials, Trial

MakeConfig = Callable[..., TrainConfig]
MakeMaterials = Callable[[Path], Materials]


def timeless(records: list[Record]) -> list[Record]:
    return [
        {
            key: value
            for key, value in record.items()
            if "seconds" not in key and key not in (LINE, "shared", "peak_memory_bytes")
        }
        for record in records
    ]


def history(folder: Path) -> list[Record]:
    return read_json_lines(folder / "history.jsonl")


def assert_same_outcome(one: Path, other: Path) -> None:
    assert timeless(history(one)) == timeless(history(other))
    assert_same_model(one, other)


def assert_same_model(one: Path, other: Path) -> None:
    names = [file.relative_to(one) for file in sorted((one / "best").rglob("*.safetensors"))]
    assert len(names) >= 2
    for name in names:
        left, right = load_file(one / name), load_file(other / name)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)
    for task in ("sst", "qqp", "sts"):
        pd.testing.assert_frame_equal(
            *(pd.read_parquet(folder / "predictions" / f"{task}.parquet") for folder in (one, other)),
            check_exact=True,
        )


FULL: dict[str, Any] = {"stages__simcse__epochs": 2, "stages__finetune__epochs": 3, "shared_layer": "all"}


@pytest.mark.parametrize(
    "leaves",
    [
        {**FULL, "stages__finetune__pcgrad": True},
        {**FULL, "stages__finetune__sampler": {"kind": "annealed"}, "stages__finetune__epoch_examples": 70},
        {**FULL, "stages__finetune__epochs": 2.5, "checkpoint": "task", "stages__simcse__mlm_weight": 0.5},
        {**FULL, "stages__finetune__weighting": "adaptive", "tasks__qqp__dev_examples": 5},
        {**FULL, "stages__finetune__weighting": "learned", "stages__finetune__micro_batch_size": 3},
        {**FULL, "stages__finetune__smart": {"weight": 0.5, "bregman": 0.5, "momentum": 0.9}},
        {
            **FULL,
            "tasks__sts__head__kind": "cosine",
            "stages__finetune__mnr": {"tasks": ["sts"], "share": 0.5},
        },
        {
            **FULL,
            "stages__simcse__epochs": 1,
            "stages__supervised": {"epochs": 1, "task": "qqp", "projection": True, "batch_size": 8},
        },
    ],
    ids=["pcgrad", "annealed", "by task", "adaptive", "learned", "smart", "ranking", "supervised"],
)
def test_a_trial_reopened_after_every_epoch_ends_the_same(
    leaves: dict[str, Any],
    configure: MakeConfig,
    materials: MakeMaterials,
    finish: Callable[..., Path],
    tmp_path: Path,
) -> None:
    config = configure(**leaves)
    whole = finish(config, "whole")
    pieces, folder = 0, tmp_path / "cut"
    while True:
        run = Trial(config, materials(tmp_path / "cut-store"), folder).run()
        records = []
        for record in run:
            records.append(record)
            if len(records) > pieces:
                break
        run.close()  # type: ignore[attr-defined]
        assert records == history(folder)
        if len(records) == pieces:
            break
        pieces += 1
    assert pieces == 5
    assert_same_outcome(whole, folder)


def answers(config: TrainConfig, made: Materials, folder: Path, task: str) -> np.ndarray:
    """What a kept model says of a task's test examples."""
    model = build_model(config, made.encoder.config, dict(made.weights)).on(compute(config))
    load_best(model, folder)
    inputs = {name: model.head(name).inputs for name in config.tasks}
    batcher = Batcher(made.corpus, inputs, config.max_length, torch.device("cpu"), model.token_multiple)
    evaluator = Evaluator(made.corpus, batcher, config.tasks, config.selection)
    return evaluator.predict(model, task, "test")


def test_every_task_keeps_its_own_best_epoch_where_that_is_asked_for(
    configure: MakeConfig, finish: Callable[..., Path], materials: MakeMaterials
) -> None:
    config = configure(checkpoint="task", stages__finetune__epochs=5, stages__finetune__learning_rate=5e-3)
    folder = finish(config, "by task")
    records = history(folder)
    chosen = records[-1]["chosen"]
    best = {}
    for task in config.tasks:
        scores = [record["select"][task] for record in records]
        best[task] = scores.index(max(scores)) + 1
        assert chosen["select"][task] == max(scores)
        assert json.loads((folder / "best" / task / "epoch.json").read_text())["epoch"] == best[task]
        assert chosen["dev"][task] == records[best[task] - 1]["dev"][task]
        frame = pd.read_parquet(folder / "predictions" / f"{task}.parquet")
        part = frame[(frame["split"] == "dev") & (frame["half"] == "select")]
        outputs = part.filter(like="output_").to_numpy()
        found = metric(config.tasks[task].kind, outputs, part["label"].to_numpy())
        assert found == pytest.approx(chosen["select"][task])
        assert set(frame["split"]) == {"dev", "test"}
        tested = frame[frame["split"] == "test"].filter(like="output_").to_numpy().squeeze()
        kept = answers(config, materials(folder.parent / "by task-store"), folder / "best" / task, task)
        np.testing.assert_allclose(tested, kept.squeeze(), rtol=1e-5, atol=1e-6)
    assert len(set(best.values())) > 1, "choose another learning rate: all tasks have one best epoch"
    assert chosen["epochs"] == best
    summary = summarise(records)
    mapped = [chosen["select"]["sst"], chosen["select"]["qqp"], (chosen["select"]["sts"] + 1) / 2]
    assert summary.metrics["select/score"] == pytest.approx(sum(mapped) / 3)
    assert summary.metrics["select/score"] > max(record["select"]["score"] for record in records)


def test_the_last_epoch_counts_where_nothing_is_chosen(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    leaves = {"stages__finetune__epochs": 5, "stages__finetune__learning_rate": 5e-3}
    chosen, last = (finish(configure(**leaves, checkpoint=rule), rule) for rule in ("score", "last"))
    assert summarise(history(chosen)).best_epoch < 5, "choose another learning rate"
    assert summarise(history(last)).best_epoch == 5
    assert json.loads((last / "best" / "epoch.json").read_text())["epoch"] == 5
    assert summarise(history(last)).metrics["dev/score"] == history(last)[-1]["dev"]["score"]


def test_half_an_epoch_is_the_first_half_of_its_steps(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    """120 examples at 16 a batch and task are three steps an epoch, two of which are half an epoch's."""
    leaves = {"stages__finetune__schedule": "constant", "stages__finetune__warmup_share": 0.0}
    half, whole = (
        history(finish(configure(**leaves, stages__finetune__epochs=epochs), str(epochs)))
        for epochs in (1.5, 2)
    )
    assert [record["step"] for record in whole] == [3, 6]
    assert [record["step"] for record in half] == [3, 5]
    assert half[0]["train_loss"] == whole[0]["train_loss"]
    assert 0 < half[1]["examples"] < whole[1]["examples"]


def test_tasks_are_scored_after_every_stage_once_heads_are_trained(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    """What a stage makes a task forget shows; but the score is the last stage's alone."""
    stage = {"kind": "multitask", "epochs": 2, "batch_size": 16, "learning_rate": 1e-3}
    config = configure(
        stages__simcse__epochs=1,
        stages__only_qqp={**stage, "tasks": ["qqp"]},
        stages__only_sst={**stage, "tasks": ["sst"]},
        recipe=["simcse", "only_qqp", "only_sst"],
    )
    folder = finish(config, "in turn")
    records = history(folder)
    scored = [(r["stage"], r["epoch"], "select" in r, bool(r.get("final_stage"))) for r in records]
    assert scored == [
        ("simcse", 1, False, False),
        ("only_qqp", 1, False, False),
        ("only_qqp", 2, True, False),
        ("only_sst", 1, True, True),
        ("only_sst", 2, True, True),
    ]
    assert all(("geometry" in r) == (r["epoch"] == config.stages[r["stage"]].epochs) for r in records)
    assert summarise(records).epochs == 2
    again = finish(config, "again", "in turn-store")
    assert [bool(r.get("shared")) for r in history(again)] == [True, True, False, False]
    assert history(again)[1]["dev"] == records[2]["dev"]
    assert_same_model(folder, again)


def test_the_order_of_the_stages_matters(configure: MakeConfig, finish: Callable[..., Path]) -> None:
    stage = {"kind": "multitask", "epochs": 1, "batch_size": 16, "learning_rate": 1e-3}
    outcomes = []
    for recipe in (["one", "two", "finetune"], ["two", "one", "finetune"]):
        stages = {"one": {**stage, "tasks": ["qqp"]}, "two": {**stage, "tasks": ["sst"]}}
        config = configure(stages__one=stages["one"], stages__two=stages["two"], recipe=recipe)
        outcomes.append(history(finish(config, recipe[0]))[-1]["train_loss"])
    assert outcomes[0] != outcomes[1]


def drop_last_line(folder: Path) -> None:
    lines = (folder / "history.jsonl").read_text().splitlines(keepends=True)
    (folder / "history.jsonl").write_text("".join(lines[:-1]))


def tear_last_line(folder: Path) -> None:
    text = (folder / "history.jsonl").read_text()
    (folder / "history.jsonl").write_text(text[:-20])


def move_checkpoint_aside(folder: Path) -> None:
    """What a crash between the two renames of a publication leaves."""
    (folder / "checkpoint").rename(folder / ".checkpoint.12345.old")


def truncate_checkpoint(folder: Path) -> None:
    state = folder / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40] ^= 0x40
    path.write_bytes(content)


def flip_a_bit(folder: Path) -> None:
    flip(folder / "checkpoint" / "state.safetensors")


def garble_manifest(folder: Path) -> None:
    (folder / "checkpoint" / "manifest.json").write_text("[]")


def change_a_digit(folder: Path) -> None:
    text = (folder / "history.jsonl").read_text()
    (folder / "history.jsonl").write_text(text.replace('"epoch": 1', '"epoch": 7', 1))


def flip_a_prediction(folder: Path) -> None:
    flip(folder / "predictions" / "sst.parquet")


def flip_a_head(folder: Path) -> None:
    flip(folder / "best" / "heads.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        drop_last_line,
        tear_last_line,
        change_a_digit,
        move_checkpoint_aside,
        truncate_checkpoint,
        flip_a_bit,
        garble_manifest,
        flip_a_prediction,
        flip_a_head,
    ],
)
@pytest.mark.parametrize("epochs_before", [1, 2])
def test_a_trial_goes_on_from_a_crash_or_damage_to_the_same_end(
    damage: Callable[[Path], None],
    epochs_before: int,
    configure: MakeConfig,
    materials: MakeMaterials,
    finish: Callable[..., Path],
) -> None:
    config = configure()
    whole = finish(config, "whole")
    folder = whole.parent / "cut"
    run = Trial(config, materials(whole.parent / "s"), folder).run()
    for _ in range(epochs_before):
        next(run)
    run.close()  # type: ignore[attr-defined]
    damage(folder)
    records = list(Trial(config, materials(whole.parent / "s"), folder).run())
    assert records == history(folder)
    assert [record["epoch"] for record in records] == [1, 2]
    assert_same_outcome(whole, folder)


def test_a_crash_in_the_middle_of_an_epoch_costs_that_epoch_alone(
    configure: MakeConfig,
    materials: MakeMaterials,
    finish: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configure()
    whole = finish(config, "whole")
    folder = tmp_path / "cut"
    trial = Trial(config, materials(tmp_path / "s"), folder)
    run = trial.run()
    next(run)
    monkeypatch.setattr(trial._log, "save", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(run)
    assert len(history(folder)) == 1
    list(Trial(config, materials(tmp_path / "s"), folder).run())
    assert_same_outcome(whole, folder)


def test_a_finished_trial_yields_its_history_and_changes_nothing(
    configure: MakeConfig, materials: MakeMaterials, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure()
    folder = finish(config, "whole")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}
    trial = Trial(config, materials(tmp_path / "s"), folder)
    assert list(trial.run()) == history(folder)
    assert trial.found == 2 and trial.finished
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}


def test_simcse_from_the_store_equals_simcse_trained(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    config = configure(stages__simcse__epochs=2, stages__finetune__epochs=1)
    trained = finish(config, "trained", "store")
    taken = finish(config, "taken", "store")
    assert [r.get("shared", False) for r in history(trained)] == [False, False, False]
    assert [(r["stage"], r["epoch"], r.get("shared", False)) for r in history(taken)] == [
        ("simcse", 2, True),
        ("finetune", 1, False),
    ]
    assert timeless(history(trained))[-1] == timeless(history(taken))[-1]
    assert_same_model(trained, taken)


def test_three_epochs_go_on_from_a_stored_one(configure: MakeConfig, finish: Callable[..., Path]) -> None:
    short = configure(stages__simcse__epochs=1, stages__finetune__epochs=1)
    long = configure(stages__simcse__epochs=3, stages__finetune__epochs=1)
    alone = finish(long, "alone")
    finish(short, "short", "store")
    continued = finish(long, "continued", "store")
    assert [(r["epoch"], r.get("shared", False)) for r in history(continued)][:3] == [
        (1, True),
        (2, False),
        (3, False),
    ]
    assert timeless(history(alone))[1:] == timeless(history(continued))[1:]
    assert_same_model(alone, continued)


_ALONE = {"tasks": ["sst"]}
_COSINE = {"tasks__sts__head__kind": "cosine"}


@pytest.mark.parametrize(
    ("one", "other", "leaves"),
    [
        ({"sampler": {"kind": "annealed"}, "epochs": 1}, {"sampler": {"kind": "proportional"}}, {}),
        (
            {**_ALONE, "sampler": {"kind": "annealed"}, "epochs": 2},
            {**_ALONE, "sampler": {"kind": "merged"}},
            {},
        ),
        ({**_ALONE, "sampler": {"kind": "random"}, "epochs": 1}, _ALONE, {}),
        ({"weighting": "adaptive", "epochs": 1}, {}, {}),
        ({"mnr": {"tasks": ["sts"], "share": 0.5}, "epochs": 1}, {"mnr": {"tasks": ["sts"]}}, _COSINE),
        (
            {"sampler": {"kind": "round_robin", "unit": "pass"}, "epochs": 2},
            {"sampler": {"kind": "sequential"}},
            {},
        ),
        ({"micro_batch_size": 16, "epochs": 1}, {}, {}),
    ],
    ids=["annealed once", "annealed alone", "random alone", "adaptive once", "ranked", "passes", "micro"],
)
def test_a_stage_goes_on_from_what_another_spelling_of_it_stored(
    one: dict[str, Any],
    other: dict[str, Any],
    leaves: dict[str, Any],
    configure: MakeConfig,
    finish: Callable[..., Path],
) -> None:
    """Equal keys mean equal weights and moments, whoever stored them."""

    def config(stage: dict[str, Any]) -> TrainConfig:
        first = {"kind": "multitask", "epochs": 3, "batch_size": 16, "learning_rate": 1e-3}
        return configure(
            stages__first={**first, "schedule": "constant", "warmup_share": 0, **stage},
            stages__finetune__epochs=1,
            recipe=["first", "finetune"],
            **leaves,
        )

    begun, longer = config(one), config(other)
    epochs = begun.stages["first"].epochs
    assert stage_key(begun, "first", epochs) == stage_key(longer, "first", epochs)
    finish(begun, "begun", "store")
    continued = finish(longer, "continued", "store")
    assert [r.get("shared", False) for r in history(continued)] == [True] + [False] * (4 - int(epochs))
    assert_same_model(finish(longer, "alone"), continued)


@pytest.mark.parametrize("name", ["state.safetensors", "manifest.json"])
def test_a_damaged_store_entry_is_trained_again(
    name: str, configure: MakeConfig, finish: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure(stages__simcse__epochs=1, stages__finetune__epochs=1)
    first = finish(config, "first", "store")
    entry = tmp_path / "store" / stage_key(config, "simcse", 1) / name
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 0x10
    entry.write_bytes(content)
    if name == "manifest.json":
        entry.write_text("[1]")
    second = finish(config, "second", "store")
    assert "shared" not in history(second)[0]
    assert_same_outcome(first, second)
    third = finish(config, "third", "store")
    assert history(third)[0]["shared"], "the damaged entry has been replaced"


def test_cost_alone_counts_every_stage_once(configure: MakeConfig, finish: Callable[..., Path]) -> None:
    stages = {
        "warm": {"kind": "multitask", "epochs": 1, "batch_size": 16},
        "simcse": {"epochs": 1, "batch_size": 32, "max_length": 12},
        "finetune": {"epochs": 1, "batch_size": 16},
    }
    config = configure(stages=stages, recipe=["warm", "simcse", "finetune"])
    paid = history(finish(config, "paid", "store"))
    taken = history(finish(config, "taken", "store"))
    assert [record.get("shared", False) for record in taken] == [True, True, False]
    spent = [record["train_seconds"] + record.get("eval_seconds", 0) for record in paid]
    assert summarise(paid).cost_paid == summarise(paid).cost_alone == pytest.approx(sum(spent))
    saved = summarise(taken).cost_alone - summarise(taken).cost_paid
    assert saved == pytest.approx(spent[0] + spent[1])


@pytest.mark.parametrize("steps", [40, 4], ids=["several steps an epoch", "one step an epoch"])
def test_a_learning_rate_that_explodes_is_a_failure_with_cause_nan(
    steps: int, configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    config = configure(
        stages__finetune__learning_rate=1e38,
        stages__finetune__warmup_share=0.0,
        stages__finetune__epoch_examples=steps,
    )
    trial = Trial(config, materials(tmp_path / "s"), tmp_path / "t")
    with pytest.raises(TrainingFailure) as caught:
        list(trial.run())
    assert caught.value.cause == "nan"
    assert "epoch 1" in str(caught.value)
    assert not (tmp_path / "t" / "history.jsonl").exists()


@pytest.mark.parametrize("pcgrad", [False, True])
def test_a_frozen_encoder_stays_bit_identical(
    pcgrad: bool, configure: MakeConfig, finish: Callable[..., Path], tiny_encoder: Path
) -> None:
    config = configure(
        stages__finetune__freeze_encoder=True, stages__finetune__pcgrad=pcgrad, shared_layer="all"
    )
    folder = finish(config, "frozen")
    before = load_file(tiny_encoder / "model.safetensors")
    after = load_file(folder / "best" / "encoder" / "model.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert history(folder)[0]["train_loss"] != history(folder)[1]["train_loss"]


def test_no_gradient_reaches_a_frozen_encoder(
    configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    config = configure(stages__finetune__freeze_encoder=True)
    given = materials(tmp_path)
    model = build_model(config, given.encoder.config, dict(given.weights))
    trainer = StageTrainer(model, config, "finetune", given.corpus, torch.device("cpu"))
    reached: set[str] = set()
    clear = model.clear_gradients
    model.clear_gradients = lambda: (  # type: ignore[method-assign]
        reached.update(name for name, p in model.named_parameters() if p.grad is not None) or clear()
    )
    trainer.step(1, 0)
    assert reached and not any(name.startswith("encoder.") for name in reached)


def test_of_equal_scores_the_first_counts(configure: MakeConfig, finish: Callable[..., Path]) -> None:
    still = {"stages__finetune__learning_rate": 1e-30, "stages__finetune__weight_decay": 0.0}
    for checkpoint in ("score", "task"):
        folder = finish(configure(**still, checkpoint=checkpoint), checkpoint)
        first, last = history(folder)
        assert first["select"] == last["select"]
        assert last["chosen"]["epoch"] == 1
        assert set(last["chosen"].get("epochs", {"all": 1}).values()) == {1}


def test_epochs_are_chosen_and_reported_by_what_was_scored_between_them(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    folder = finish(configure(tasks__qqp__dev_examples=5), "few")
    records = history(folder)
    chosen = records[-1]["chosen"]
    assert chosen["select"] == records[chosen["epoch"] - 1]["select"]
    assert chosen["select"]["qqp"] * 5 % 1 == pytest.approx(0)


def test_dropout_inside_a_frozen_encoder_has_its_effect(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    ends = []
    for rate in (0.0, 0.5):
        frozen = {"stages__finetune__freeze_encoder": True, "stages__finetune__encoder_dropout": rate}
        folder = finish(configure(**frozen, stages__finetune__epochs=1), f"{rate}")
        ends.append(load_file(folder / "best" / "heads.safetensors"))
    assert any(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_the_best_epoch_is_the_first_with_the_highest_select_score_and_predictions_are_its(
    configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    """Test rows appear at the end and come from the weights of the best epoch, not the last."""
    config = configure(stages__finetune__epochs=6, stages__finetune__learning_rate=3e-2)
    folder = tmp_path / "t"
    frames: dict[int, pd.DataFrame] = {}
    records = []
    for record in Trial(config, materials(tmp_path / "s"), folder).run():
        records.append(record)
        frames[record["epoch"]] = pd.read_parquet(folder / "predictions" / "sts.parquet")
    scores = [record["select"]["score"] for record in records]
    best = scores.index(max(scores)) + 1
    assert best < 6, "choose another learning rate: the last epoch is the best, and nothing is tested"
    assert json.loads((folder / "best" / "epoch.json").read_text())["epoch"] == best
    assert summarise(records).best_epoch == best
    final = frames[6]
    dev = final[final["split"] == "dev"].reset_index(drop=True)
    pd.testing.assert_frame_equal(dev, frames[best])
    assert set(frames[5]["split"]) == {"dev"} and set(final["split"]) == {"dev", "test"}
    stopped = configure(stages__finetune__epochs=6, stages__finetune__learning_rate=3e-2)
    test_rows = final[final["split"] == "test"]["output_0"].to_numpy()
    assert test_rows == pytest.approx(
        _predicted(stopped, materials(tmp_path / "s"), folder / "best"), rel=1e-6
    )


def _predicted(config: TrainConfig, materials: Materials, best: Path) -> Any:
    from minbert.choice import load_best  # noqa: PLC0415
    from minbert.corpora.batching import Batcher  # noqa: PLC0415 - only this test predicts by hand
    from minbert.evaluation import Evaluator  # noqa: PLC0415
    from minbert.model import build_model  # noqa: PLC0415

    model = build_model(config, materials.encoder.config, dict(materials.weights))
    load_best(model, best)
    inputs = {task: model.head(task).inputs for task in config.tasks}
    batcher = Batcher(materials.corpus, inputs, config.max_length, torch.device("cpu"))
    evaluator = Evaluator(materials.corpus, batcher, config.tasks, config.selection)
    return evaluator.predict(model, "sts", "test")[:, 0]


def test_seeds_change_results_and_replicates_share_nothing_random(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    one, two = finish(configure(seed=1), "one"), finish(configure(seed=2), "two")
    assert history(one)[0]["train_loss"] != history(two)[0]["train_loss"]


def test_the_end_of_a_stage_is_scored_also_where_the_store_holds_more_of_it(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    """Three epochs leave the first two without scores: they were no end there."""
    first = {
        "kind": "multitask",
        "batch_size": 16,
        "tasks": ["qqp"],
        "schedule": "constant",
        "warmup_share": 0.0,
    }
    two, three = (
        configure(stages__first={**first, "epochs": epochs}, recipe=["first", "finetune"])
        for epochs in (2, 3)
    )
    fresh = history(finish(two, "fresh"))
    finish(three, "longer", "common")
    taken = history(finish(two, "taken", "common"))
    assert taken[0]["shared"] and taken[0]["epoch"] == 2
    assert taken[0]["dev"] == fresh[1]["dev"] and taken[0]["geometry"] == fresh[1]["geometry"]
    assert taken[1]["dev"] == fresh[2]["dev"]


def test_the_geometry_is_that_of_the_trials_own_max_length(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    long, short = (configure(stages__simcse__epochs=1, max_length=length) for length in (24, 8))
    finish(long, "long", "common")
    taken, fresh = history(finish(short, "taken", "common")), history(finish(short, "fresh"))
    assert taken[0]["shared"] and taken[0]["geometry"] == fresh[0]["geometry"]


def test_adaptive_weights_see_the_select_examples_alone(
    configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    folder = finish(configure(stages__finetune__weighting="adaptive"), "adaptive")
    last = history(folder)[-1]
    stored = load_file(folder / "checkpoint" / "state.safetensors")["moment/objective/weighting/adapted"]

    def lacking(part: str) -> list[float]:
        scores = [last[part]["sst"], last[part]["qqp"], (last[part]["sts"] + 1) / 2]
        return [3 * (1 - score) / sum(1 - other for other in scores) for score in scores]

    assert stored.tolist() == pytest.approx(lacking("select"))
    assert stored.tolist() != pytest.approx(lacking("dev"))


def test_a_kept_model_of_one_task_can_be_started_from(
    configure: MakeConfig, finish: Callable[..., Path], corpus_folder: Path
) -> None:
    folder = finish(configure(checkpoint="task"), "by task")
    tasks = TrainConfig().tasks
    with pytest.raises(UserError, match=r"a model for every task; name one of .*best/qqp, .*best/sst"):
        resolve(str(corpus_folder), str(folder), tasks)
    with pytest.raises(UserError, match=r"a model for every task; name one of .*best/qqp, .*best/sst"):
        resolve(str(corpus_folder), str(folder / "best"), tasks)
    assert resolve(str(corpus_folder), str(folder / "best" / "sst"), tasks).encoder.folder.name == "encoder"


def test_a_beginning_that_fails_is_not_tried_again_by_other_trials(
    configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    exploding = {"stages__simcse__learning_rate": 1e30, "stages__simcse__max_grad_norm": None}
    store, told, steps = tmp_path / "store", [], []
    for number, epochs in enumerate((2, 3)):
        config = configure(stages__simcse__epochs=epochs, stages__finetune__epochs=number + 1, **exploding)
        trial = Trial(config, materials(store), tmp_path / str(number))
        trial.asked_to_end = lambda: bool(steps.append(1))  # type: ignore[func-returns-value]
        with pytest.raises(TrainingFailure) as failure:
            list(trial.run())
        told.append((failure.value.cause, str(failure.value), len(steps)))
    assert told[0] == told[1]  # no further step was taken
    assert told[0][0] == "nan" and told[0][2] > 0
    healthy = configure(stages__simcse__epochs=1)
    assert list(Trial(healthy, materials(store), tmp_path / "healthy").run())
