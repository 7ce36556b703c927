"""What a multitask step minimises, against plain sums of each task's own loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minbert.checkpoint import EncoderFiles
from minbert.config import TrainConfig
from minbert.corpora.batching import Batcher
from minbert.corpora.tokenised import TokenisedCorpus, TokenTable
from minbert.draws import Draws, positives
from minbert.losses import task_loss
from minbert.model import build_model
from minbert.multitask import MultitaskObjective
from minbert.training import StageTrainer

MakeConfig = Callable[..., TrainConfig]
STILL: dict[str, Any] = {"stages__finetune__dropout": 0.0, "stages__finetune__encoder_dropout": 0.0}
CPU = torch.device("cpu")


class Bench:
    """A model, the objective of its fine-tuning stage, and the same losses computed one by one."""

    def __init__(self, config: TrainConfig, corpus: TokenisedCorpus, files: EncoderFiles) -> None:
        self.config, self.corpus = config, corpus
        self.model = build_model(config, files.config, files.weights())
        self.batcher = Batcher(
            corpus, {task: self.model.head(task).inputs for task in config.tasks}, config.max_length, CPU
        )
        self.objective = MultitaskObjective(self.model, config, "finetune", self.batcher, corpus)
        stage = config.stages["finetune"]
        names = config.trained_tasks(stage)  # type: ignore[arg-type]
        self.draws = Draws(config, stage, "multitask-0", names, corpus)  # type: ignore[arg-type]

    def gradients(self) -> dict[str, torch.Tensor]:
        return {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in self.model.named_parameters()
        }

    def step(self, epoch: int = 1, index: int = 0) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        self.model.clear_gradients()
        losses = self.objective.backward(epoch, index).losses
        return {name: float(loss) for name, loss in losses.items()}, self.gradients()

    def alone(self, task: str, factor: float, epoch: int = 1, index: int = 0) -> dict[str, torch.Tensor]:
        """Gradients of one task's loss of a step, times a factor; without dropout."""
        self.model.clear_gradients()
        self.model.dropout.stop()
        rows = dict(self.draws.requests(epoch, index))[task]
        batch = self.batcher.batch("train", [(task, rows)])
        labels = batch.parts[0].labels
        assert labels is not None
        (factor * task_loss(self.config.tasks[task], self.model(batch)[task], labels)).backward()
        return self.gradients()


@pytest.fixture
def bench(
    configure: MakeConfig, small_corpus: TokenisedCorpus, encoder_files: EncoderFiles
) -> Callable[..., Bench]:
    return lambda **leaves: Bench(configure(**leaves), small_corpus, encoder_files)


def assert_sum(found: dict[str, torch.Tensor], *parts: dict[str, torch.Tensor]) -> None:
    for name, gradient in found.items():
        total = torch.stack([part[name] for part in parts if name in part]).sum(0)
        torch.testing.assert_close(gradient, total, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(("combine", "share"), [("sum", 1.0), ("mean", 1 / 3)])
def test_a_concurrent_step_adds_or_averages_the_tasks_weighted_losses(
    combine: str, share: float, bench: Callable[..., Bench]
) -> None:
    b = bench(**STILL, stages__finetune__combine=combine, tasks__qqp__weight=2.0)
    _, found = b.step()
    assert_sum(found, b.alone("sst", share), b.alone("qqp", 2 * share), b.alone("sts", share))


@pytest.mark.parametrize("pcgrad", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_micro_batches_have_the_gradient_of_the_whole_batch(
    size: int, pcgrad: bool, bench: Callable[..., Bench]
) -> None:
    """Also where the batches of the tasks are of different sizes and the last piece is smaller."""
    leaves = {**STILL, "stages__finetune__pcgrad": pcgrad, "tasks__sst__batch_size": 7}
    whole, pieces = bench(**leaves), bench(**leaves, stages__finetune__micro_batch_size=size)
    for index in (0, 1):
        losses, found = whole.step(index=index)
        small_losses, small = pieces.step(index=index)
        assert small_losses == pytest.approx(losses, rel=1e-5)
        assert_sum(small, found)


def test_no_pass_holds_more_than_a_micro_batch(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    make = Batcher.batch

    def watched(self: Batcher, split: str, requests: Any) -> Any:
        seen.append([len(rows) for _, rows in requests])
        return make(self, split, requests)

    monkeypatch.setattr(Batcher, "batch", watched)
    bench(stages__finetune__micro_batch_size=6, tasks__sst__batch_size=7).step()
    assert seen == [[6, 6, 6], [1, 6, 6], [4, 4]]


def test_learned_weights_get_the_gradient_of_their_formula(bench: Callable[..., Bench]) -> None:
    """d/ds (exp(−s)·L + s) = 1 − exp(−s)·L, and the encoder sees exp(−s)·L."""
    b = bench(**STILL, stages__finetune__weighting="learned")
    with torch.no_grad():
        for number, parameter in enumerate(b.model.auxiliary.parameters()):
            parameter.fill_(0.3 * number)
    losses, found = b.step()
    names = {name: p for name, p in b.model.named_parameters() if name.startswith("auxiliary.")}
    assert len(names) == 3
    for name, parameter in names.items():
        task = name.rpartition("s_")[2]
        expected = 1 - float(torch.exp(-parameter.detach())) * losses[task]
        assert float(found[name]) == pytest.approx(expected, rel=1e-4)
    factors = {name.rpartition("s_")[2]: float(torch.exp(-p.detach())) for name, p in names.items()}
    shared = {name: g for name, g in found.items() if name.startswith("encoder.")}
    assert_sum(shared, *(b.alone(task, factor) for task, factor in factors.items()))


def test_adaptive_weights_follow_the_last_scores(bench: Callable[..., Bench]) -> None:
    b = bench(**STILL, stages__finetune__weighting="adaptive")
    _, before = b.step()
    assert_sum(before, *(b.alone(task, 1.0) for task in b.config.tasks))
    b.objective.after_epoch({"sst": 0.5, "qqp": 0.8, "sts": 0.9})
    _, found = b.step()
    weights = {"sst": 3 * 0.5 / 0.8, "qqp": 3 * 0.2 / 0.8, "sts": 3 * 0.1 / 0.8}
    assert_sum(found, *(b.alone(task, weight) for task, weight in weights.items()))


def ranking_by_hand(b: Bench, rows: np.ndarray) -> float:
    """−log softmax of each first vector's dot products with the second ones that are wrong, pair by pair."""
    b.model.dropout.stop()
    with torch.no_grad():
        batch = b.batcher.batch("train", [("sts", rows)])
        vectors = b.model.embed(batch.packed, 0.0).double()
        first, second = (vectors[where] for where in batch.parts[0].sequences)
    total = 0.0
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i and not _in_common(b, rows[i], rows[j])]
        products = torch.stack([first[i] @ second[j] for j in (i, *others)])
        total -= float(F.log_softmax(products, dim=0)[0])
    return total / len(rows)


def _in_common(b: Bench, one: int, other: int) -> bool:
    """Whether the first pair's question is the second one's, or its answer, or their answers are the same."""
    first, second = b.corpus.splits["sts"]["train"].columns
    question, answer = first[one].tolist(), second[one].tolist()
    return question in (first[other].tolist(), second[other].tolist()) or answer == second[other].tolist()


def test_pairs_with_a_sentence_in_common_are_no_negatives_of_each_other(
    configure: MakeConfig, small_corpus: TokenisedCorpus, encoder_files: EncoderFiles
) -> None:
    """And a batch holds no more than the positive pairs there are, each once."""
    train = small_corpus.splits["sts"]["train"]
    firsts, seconds = (
        table(rows) for rows in ([[5], [6], [6], [7], [12], [9]], [[10], [11], [12], [13], [13], [10]])
    )
    changed = dataclasses.replace(
        train, columns=(firsts, seconds), ids=tuple("abcdef"), labels=np.full(6, 5.0), selected=None
    )
    splits = {**small_corpus.splits, "sts": {**small_corpus.splits["sts"], "train": changed}}
    config = configure(**STILL, tasks__sts__head__kind="cosine", stages__finetune__mnr={"tasks": ["sts"]})
    b = Bench(config, dataclasses.replace(small_corpus, splits=splits), encoder_files)
    rows = dict(b.draws.requests(1, 0))["sts"]
    assert sorted(rows) == [0, 1, 2, 3, 4, 5]
    assert b.step()[0]["sts"] == pytest.approx(ranking_by_hand(b, rows), rel=1e-4)


def table(rows: list[list[int]]) -> TokenTable:
    flat = np.array([token for row in rows for token in row], dtype=np.int32)
    return TokenTable(flat, np.cumsum([0, *map(len, rows)]))


def test_ranking_replaces_a_tasks_loss_for_the_first_epochs_on_positive_pairs(
    bench: Callable[..., Bench],
) -> None:
    b = bench(
        **STILL,
        tasks__sts__head__kind="cosine",
        tasks__sts__batch_size=4,
        stages__finetune__epochs=4,
        stages__finetune__mnr={"tasks": ["sts"], "share": 0.5},
    )
    labels = b.corpus.splits["sts"]["train"].labels
    assert labels is not None
    for epoch in (1, 2, 3, 4):
        rows = dict(b.draws.requests(epoch, 0))["sts"]
        losses, _ = b.step(epoch)
        if epoch <= 2:
            assert (labels[rows] >= 4).all()
            assert losses["sts"] == pytest.approx(ranking_by_hand(b, rows), rel=1e-4)
        else:
            assert (labels[rows] < 4).any()
            assert losses["sts"] != pytest.approx(ranking_by_hand(b, rows), rel=1e-2)


def test_pairs_from_four_fifths_of_the_range_on_are_positive(
    small_corpus: TokenisedCorpus, configure: MakeConfig
) -> None:
    train = small_corpus.splits["sts"]["train"]
    labels = np.where(np.arange(len(train)) % 2, np.float32(4.0), np.float32(3.8))
    splits = {"sts": {"train": dataclasses.replace(train, labels=labels)}}
    rows = np.arange(len(train))
    found = positives(dataclasses.replace(small_corpus, splits=splits), "sts", configure().tasks["sts"], rows)
    assert (found % 2 == 1).all() and len(found) == len(train) // 2


def test_looking_for_conflicts_changes_nothing_and_reports_cosines(
    configure: MakeConfig, small_corpus: TokenisedCorpus, encoder_files: EncoderFiles
) -> None:
    outcomes = []
    for batches in (0, 2):
        leaves = {"stages__finetune__conflict_batches": batches}
        config = configure(**leaves, stages__finetune__sampler={"kind": "proportional"})
        model = build_model(config, encoder_files.config, encoder_files.weights())
        trainer = StageTrainer(model, config, "finetune", small_corpus, CPU)
        outcomes.append((trainer.train_epoch(), {k: v.clone() for k, v in model.state_dict().items()}))
    (plain, weights), (looked, other) = outcomes
    assert plain.train_loss == looked.train_loss
    assert all(torch.equal(weights[name], other[name]) for name in weights)
    assert "gradients" not in plain.facts
    gradients = looked.facts["gradients"]
    assert gradients["steps"] == 2
    assert set(gradients["cosine"]) == {"sst/qqp", "sst/sts", "qqp/sts"}
    assert all(-1 <= cosine <= 1 for cosine in gradients["cosine"].values())


def test_the_cosine_of_two_tasks_is_that_of_their_shared_gradients(bench: Callable[..., Bench]) -> None:
    b = bench(**STILL, stages__finetune__pcgrad=True)
    b.step()
    found = b.objective.summary()["gradients"]["cosine"]["sst/sts"]
    sides = []
    for task in ("sst", "sts"):
        alone = b.alone(task, 1.0)
        sides.append(torch.cat([g.view(-1) for name, g in alone.items() if not name.startswith("heads.")]))
    assert found == pytest.approx(float(F.cosine_similarity(sides[0], sides[1], dim=0)), abs=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_reach_the_trained_tasks_heads_and_the_encoder_unless_it_is_frozen(
    frozen: bool, configure: MakeConfig, small_corpus: TokenisedCorpus, encoder_files: EncoderFiles
) -> None:
    config = configure(
        stages__finetune__tasks=["qqp", "sts"], stages__finetune__freeze_encoder=frozen, shared_layer="all"
    )
    model = build_model(config, encoder_files.config, encoder_files.weights())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    StageTrainer(model, config, "finetune", small_corpus, CPU).train_epoch()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    owners = {name.split(".")[1] if name.startswith("heads.") else name.split(".")[0] for name in moved}
    assert owners == {"qqp", "sts", "shared"} | (set() if frozen else {"encoder"})


def test_smart_adds_its_penalty_to_the_gradient_and_is_reported(bench: Callable[..., Bench]) -> None:
    plain, smooth = bench(**STILL), bench(**STILL, stages__finetune__smart={"weight": 5.0, "radius": 0.3})
    losses, gradients = plain.step()
    smooth_losses, smooth_gradients = smooth.step()
    assert smooth_losses.pop("smart") > 0
    assert smooth_losses == pytest.approx(losses)
    name = "encoder.encoder.layer.0.attention.self.query.weight"
    assert not torch.allclose(gradients[name], smooth_gradients[name])


def test_mean_and_sum_differ_by_the_number_of_tasks_also_in_pcgrad(bench: Callable[..., Bench]) -> None:
    leaves = {**STILL, "stages__finetune__pcgrad": True}
    _, summed = bench(**leaves).step()
    _, averaged = bench(**leaves, stages__finetune__combine="mean").step()
    assert_sum({name: 3 * gradient for name, gradient in averaged.items()}, summed)


def test_a_step_whose_only_task_is_ranked_has_nothing_to_smooth(bench: Callable[..., Bench]) -> None:
    b = bench(
        tasks__sts__head__kind="cosine",
        stages__finetune__tasks=["sts"],
        stages__finetune__mnr={"tasks": ["sts"], "share": 0.5},
        stages__finetune__smart={"weight": 0.5, "bregman": 1.0},
    )
    losses, _ = b.step()
    assert set(losses) == {"sts"}


def test_the_mean_is_over_the_tasks_of_the_step(bench: Callable[..., Bench]) -> None:
    b = bench(**STILL, stages__finetune__combine="mean", stages__finetune__tasks=["sst", "sts"])
    _, found = b.step()
    assert_sum(found, b.alone("sst", 1 / 2), b.alone("sts", 1 / 2))


def test_a_tasks_weight_scales_its_loss_and_its_penalty(bench: Callable[..., Bench]) -> None:
    leaves = {
        **STILL,
        "stages__finetune__tasks": ["sst"],
        "stages__finetune__smart": {"weight": 5.0, "radius": 0.3},
    }
    _, once = bench(**leaves).step()
    _, twice = bench(**leaves, tasks__sst__weight=2.0).step()
    assert_sum(twice, once, once)


def test_ranked_tasks_are_not_looked_at_for_conflicts(bench: Callable[..., Bench]) -> None:
    b = bench(
        tasks__sts__head__kind="cosine",
        stages__finetune__mnr={"tasks": ["sts"], "share": 0.5},
        stages__finetune__conflict_batches=1,
    )
    pairs = []
    for epoch in (1, 2):
        b.step(epoch)
        pairs.append(set(b.objective.summary()["gradients"]["cosine"]))
    assert pairs == [{"sst/qqp"}, {"sst/qqp", "sst/sts", "qqp/sts"}]


def test_every_epoch_is_looked_at_in_batches_of_its_own(bench: Callable[..., Bench]) -> None:
    b = bench(**STILL, stages__finetune__conflict_batches=1)
    probes = [dict(b.draws.probe(epoch, 0))["qqp"].tolist() for epoch in (1, 2)]
    assert probes[0] != probes[1]


def test_an_epoch_tells_how_many_examples_of_each_task_it_trained(bench: Callable[..., Bench]) -> None:
    b = bench(tasks__sst__batch_size=7)
    for index in (0, 1):
        b.step(index=index)
    assert b.objective.summary()["task_examples"] == {"sst": 14, "qqp": 32, "sts": 32}
    b.step(epoch=2)
    assert b.objective.summary()["task_examples"] == {"sst": 7, "qqp": 16, "sts": 16}


def test_training_looks_back_for_the_bregman_term(
    configure: MakeConfig, small_corpus: TokenisedCorpus, encoder_files: EncoderFiles
) -> None:
    config = configure(stages__finetune__smart={"bregman": 1.0}, **STILL)
    model = build_model(config, encoder_files.config, encoder_files.weights())
    trainer = StageTrainer(model, config, "finetune", small_corpus, CPU)
    penalties = [float(trainer.step(1, index).losses["smart"]) for index in range(2)]
    assert penalties[0] == 0 and penalties[1] > 0
