"""Contrastive objectives against their formulas on sentences encoded one by one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minbert.checkpoint import EncoderFiles
from minbert.config import TrainConfig
from minbert.contrastive import build_contrastive, derangement
from minbert.corpora.tokenised import TokenisedCorpus, TokenTable
from minbert.encoder import pack
from minbert.model import MultitaskModel, build_model
from minbert.samplers import ExampleOrder
from minbert.seeds import stream
from minbert.steps import Objective

MakeConfig = Callable[..., TrainConfig]
Rows = list[list[int]]
CPU = torch.device("cpu")
NONE = 1e-9  # so small that nothing is ever dropped, and yet a rate that unsupervised SimCSE accepts
STILL = {"encoder_dropout": NONE, "batch_size": 8}
"""Settings of a step that holds the whole set, whose loss does not depend on the order."""


def draw_rows(count: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 47, rng.integers(1, 9)).tolist() for _ in range(count)]


TRIPLETS = tuple(draw_rows(8, seed) for seed in (1, 2, 3))
PAIRS = (draw_rows(8, 4), draw_rows(6, 5))
PAIRS[1].extend([PAIRS[1][0], PAIRS[1][1]])  # two second sentences stand twice


def table(rows: Rows) -> TokenTable:
    flat = np.array([token for row in rows for token in row], dtype=np.int32)
    return TokenTable(flat, np.cumsum([0, *map(len, rows)]))


@pytest.fixture(scope="module")
def corpus(small_corpus: TokenisedCorpus) -> TokenisedCorpus:
    """The small corpus with eight sentences, eight triplets and eight positive pairs of qqp."""
    train = dataclasses.replace(
        small_corpus.splits["qqp"]["train"],
        columns=(table(PAIRS[0]), table(PAIRS[1])),
        ids=tuple("abcdefgh"),
        labels=np.ones(8, dtype=np.float32),
        selected=None,
    )
    return dataclasses.replace(
        small_corpus,
        splits={**small_corpus.splits, "qqp": {"train": train}},
        texts={"wiki": (table(TRIPLETS[0]),), "triplets": tuple(map(table, TRIPLETS))},
    )


Make = Callable[..., tuple[Objective, MultitaskModel]]


@pytest.fixture
def make(configure: MakeConfig, corpus: TokenisedCorpus, encoder_files: EncoderFiles) -> Make:
    """Make objective and fresh model of the stage ``simcse`` (reading wiki) or ``supervised``."""

    def built(name: str, fidelity: float = 1.0, **leaves: Any) -> tuple[Objective, MultitaskModel]:
        leaves = {"epochs": 1, **({"text": "wiki"} if name == "simcse" else {}), **leaves}
        config = configure(fidelity=fidelity, **{f"stages__{name}__{key}": v for key, v in leaves.items()})
        model = build_model(config, encoder_files.config, encoder_files.weights())
        return build_contrastive(model, config, name, corpus, CPU), model

    return built


def loss(objective: Objective, epoch: int = 1, index: int = 0) -> float:
    (value,) = objective.backward(epoch, index).losses.values()
    return value.item()


def vectors(model: MultitaskModel, rows: Rows, max_length: int = 32) -> list[list[float]]:
    """Pooled vectors of sentences encoded one by one without dropout, through the projection if there is one."""
    model.dropout.stop()
    found = []
    for row in rows:
        sequence = np.array([2, *row[: max_length - 2], 3], dtype=np.int32)
        vector = model.embed(pack([sequence], [len(sequence)]), 0.0)
        if "projection" in model.auxiliary:
            vector = model.auxiliary["projection"](vector)
        found.append(vector[0].detach().double().tolist())
    return found


def score(u: list[float], v: list[float], temperature: float) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return math.exp(dot / math.hypot(*u) / math.hypot(*v) / temperature)


@pytest.mark.parametrize(
    "leaves", [{}, {"temperature": 0.5}, {"max_length": 4}, {"projection": True}, {"projection": True, "temperature": 1.0}]
)  # fmt: skip
def test_simcse_is_its_formula(make: Make, leaves: dict[str, Any]) -> None:
    objective, model = make("simcse", **STILL, **leaves)
    encoded = vectors(model, TRIPLETS[0], leaves.get("max_length", 32))
    temperature = leaves.get("temperature", 0.05)
    rows = [
        -math.log(score(u, u, temperature) / sum(score(u, v, temperature) for v in encoded)) for u in encoded
    ]
    assert loss(objective) == pytest.approx(sum(rows) / 8, rel=1e-3)


@pytest.mark.parametrize(
    "leaves", [{}, {"temperature": 0.5}, {"max_length": 4}, {"projection": True}, {"hard_negative_weight": 4.0}]
)  # fmt: skip
def test_supervised_simcse_on_triplets_is_its_formula(make: Make, leaves: dict[str, Any]) -> None:
    objective, model = make("supervised", **STILL, **leaves)
    sentence, positive, negative = (vectors(model, rows, leaves.get("max_length", 32)) for rows in TRIPLETS)
    temperature, alpha = leaves.get("temperature", 0.05), leaves.get("hard_negative_weight", 1.0)
    rows = []
    for i, h in enumerate(sentence):
        total = sum(score(h, v, temperature) for v in positive)
        total += sum(score(h, v, temperature) * (alpha if i == j else 1) for j, v in enumerate(negative))
        rows.append(-math.log(score(h, positive[i], temperature) / total))
    assert loss(objective) == pytest.approx(sum(rows) / 8, rel=1e-3)


def test_supervised_simcse_on_a_task_has_every_other_text_twice_and_its_own_never(make: Make) -> None:
    objective, model = make("supervised", **STILL, task="qqp", temperature=0.5)
    first, second = (vectors(model, rows) for rows in PAIRS)
    rows = []
    for i, h in enumerate(first):
        own = score(h, second[i], 0.5)
        total = own + sum(2 * score(h, v, 0.5) for j, v in enumerate(second) if PAIRS[1][j] != PAIRS[1][i])
        rows.append(-math.log(own / total))
    assert loss(objective) == pytest.approx(sum(rows) / 8, rel=1e-3)


def test_on_a_task_a_pairs_negative_is_the_second_sentence_of_any_other_pair_of_the_set(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = np.array([1, 4, 6])
    monkeypatch.setattr(ExampleOrder, "take", lambda *_: batch)
    leaves = {**STILL, "task": "qqp", "temperature": 0.5, "hard_negative_weight": 3.0}
    objective, model = make("supervised", **{**leaves, "batch_size": 3})
    first, second = (vectors(model, rows) for rows in PAIRS)
    others = derangement(8, stream(0, "supervised_simcse-0", "negatives"))
    assert not set(others[batch]) <= set(batch)
    rows = []
    for i in batch:
        own = score(first[i], second[i], 0.5)
        total = own
        for j in batch:
            for k, weight in ((j, 1.0), (others[j], 3.0 if i == j else 1.0)):
                if PAIRS[1][k] != PAIRS[1][i]:
                    total += weight * score(first[i], second[k], 0.5)
        rows.append(-math.log(own / total))
    expected = pytest.approx(sum(rows) / 3, rel=1e-3)
    assert [loss(objective, epoch) for epoch in (1, 2)] == [expected, expected]


@pytest.mark.parametrize("name", ["simcse", "supervised"])
@pytest.mark.parametrize("projection", [True, False])
def test_gradients_reach_the_encoder_and_the_projection_alone(
    make: Make, name: str, projection: bool
) -> None:
    objective, model = make(name, projection=projection)
    objective.backward(1, 0)
    reached = {
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }
    wanted = {key for key in dict(model.named_parameters()) if key.startswith(("encoder.", "auxiliary."))}
    wanted -= {"encoder.pooler.dense.weight", "encoder.pooler.dense.bias"}  # mean pooling
    assert reached == wanted - {key for key in wanted - reached if key.endswith("key.bias")}
    assert any(key.startswith("auxiliary.projection") for key in reached) == projection


def test_the_two_encodings_have_masks_of_their_own(make: Make) -> None:
    still = loss(make("simcse", **STILL)[0])
    inside = loss(make("simcse", batch_size=8, encoder_dropout=0.3)[0])
    outside = loss(make("simcse", **STILL, dropout=0.5)[0])
    assert len({still, inside, outside}) == 3
    assert outside > still and inside > still  # the positive is no longer the very same vector


def test_a_projection_is_drawn_from_the_stage_s_own_stream(make: Make) -> None:
    weights = [
        make("simcse", projection=True, **leaves)[1].auxiliary["projection"].state_dict()["0.weight"]
        for leaves in ({}, {"temperature": 0.5})
    ]
    other = make("supervised", projection=True)[1].auxiliary["projection"].state_dict()["0.weight"]
    assert weights[0].equal(weights[1]) and not weights[0].equal(other)
    assert weights[0].std().item() == pytest.approx(0.2, rel=0.1)  # the encoder's spread


def gradients(made: tuple[Objective, MultitaskModel]) -> dict[str, Tensor]:
    objective, model = made
    objective.backward(1, 0)
    return {name: p.grad for name, p in model.encoder.named_parameters() if p.grad is not None}


def test_the_masked_language_term_is_added_with_its_weight(make: Make) -> None:
    plain = gradients(make("simcse", **STILL))
    light, heavy = (gradients(make("simcse", **STILL, mlm_weight=weight)) for weight in (0.5, 1.5))
    for name, gradient in plain.items():
        # Linear in the weight: what 0.5 adds, thrice, is what 1.5 adds.
        torch.testing.assert_close(heavy[name] - gradient, 3 * (light[name] - gradient), rtol=1e-3, atol=1e-5)
    added = heavy["encoder.layer.0.output.dense.weight"] - plain["encoder.layer.0.output.dense.weight"]
    assert added.abs().max() > 1e-4


def test_masking_changes_with_the_step_and_is_reported_by_name(make: Make) -> None:
    objective, _ = make("simcse", **STILL, mlm_weight=0.1, mlm_share=0.3, epochs=2)
    steps = [objective.backward(epoch, 0) for epoch in (1, 2)]
    assert [set(step.losses) for step in steps] == [{"simcse", "mlm"}] * 2
    assert not any(value.requires_grad for step in steps for value in step.losses.values())
    assert steps[0].losses["mlm"] != steps[1].losses["mlm"]
    assert steps[0].losses["simcse"].item() == pytest.approx(steps[1].losses["simcse"].item(), rel=1e-4)
    assert steps[0].tokens == 3 * sum(len(row) + 2 for row in TRIPLETS[0])
    assert steps[0].examples == 8


@pytest.mark.parametrize(
    ("name", "leaves"),
    [
        ("simcse", {"mlm_weight": 0.1, "projection": True}),
        ("supervised", {}),
        ("supervised", {"task": "qqp"}),
    ],
)
def test_any_step_can_be_taken_without_those_before_it(make: Make, name: str, leaves: dict[str, Any]) -> None:
    whole = make(name, batch_size=3, epochs=3, **leaves)[0]
    steps = [(epoch, index) for epoch in (1, 2, 3) for index in range(whole.steps(epoch))]
    assert len(steps) == 9
    losses = [whole.backward(*step).losses for step in steps]
    for step, before in list(zip(steps, losses, strict=True))[2::3]:
        again = make(name, batch_size=3, epochs=3, **leaves)[0].backward(*step).losses
        assert {key: value.item() for key, value in again.items()} == {
            key: value.item() for key, value in before.items()
        }
    assert len({value.item() for step in losses for value in step.values()}) > 8


@pytest.mark.parametrize(
    ("name", "leaves"),
    [
        ("simcse", {"encoder_dropout": 0.3}),
        ("simcse", {"encoder_dropout": NONE, "mlm_weight": 0.1}),
    ],
    ids=["dropout", "masked tokens"],
)
def test_every_step_of_every_epoch_has_draws_of_its_own(
    make: Make, monkeypatch: pytest.MonkeyPatch, name: str, leaves: dict[str, Any]
) -> None:
    monkeypatch.setattr(ExampleOrder, "take", lambda *_: np.arange(8))  # the same batch at every step
    objective, _ = make(name, batch_size=8, epochs=2, epoch_steps=2, **leaves)
    steps = [objective.backward(epoch, index).losses for epoch in (1, 2) for index in (0, 1)]
    assert len({list(losses.values())[-1].item() for losses in steps}) == 4


@pytest.mark.parametrize(
    ("leaves", "fidelity", "steps"),
    [
        ({"batch_size": 3, "epochs": 2}, 1.0, [3, 3]),
        ({"batch_size": 3, "epochs": 2, "epoch_examples": 31}, 1.0, [11, 11]),
        ({"batch_size": 3, "epochs": 2, "epoch_steps": 20}, 1.0, [20, 20]),
        ({"epochs": 3.5, "epoch_steps": 20}, 1.0, [20, 20, 20, 10]),
        ({"epochs": 1.01, "epoch_steps": 20}, 1.0, [20, 1]),
        ({"epochs": 0.25, "epoch_steps": 20}, 1.0, [5]),
        ({"epochs": 1.5, "epoch_steps": 20}, 0.4, [8, 4]),
        ({"epochs": 1, "epoch_steps": 20}, 0.01, [1]),
    ],
)
@pytest.mark.parametrize("name", ["simcse", "supervised"])
def test_an_epoch_has_its_steps(
    make: Make, name: str, leaves: dict[str, Any], fidelity: float, steps: list[int]
) -> None:
    objective, _ = make(name, fidelity=fidelity, **leaves)
    assert [objective.steps(epoch) for epoch in range(1, len(steps) + 1)] == steps


def test_a_longer_stage_begins_as_a_shorter_one(make: Make) -> None:
    short, long = (make("simcse", batch_size=3, epochs=epochs)[0] for epochs in (1.5, 3))
    for epoch in (1, 2):
        for index in range(short.steps(epoch)):
            assert loss(short, epoch, index) == loss(long, epoch, index)


@pytest.mark.parametrize("steps", [[(1, 0), (1, 1)], [(1, 0), (2, 0)]])
def test_every_sentence_comes_once_a_pass_however_long_an_epoch_is(
    make: Make, steps: list[tuple[int, int]]
) -> None:
    objective, _ = make("simcse", batch_size=4, epochs=2, epoch_steps=3 - len({epoch for epoch, _ in steps}))
    read = sum(objective.backward(*step).tokens for step in steps)
    assert read == 2 * sum(len(row) + 2 for row in TRIPLETS[0])


def test_a_derangement_leaves_nothing_in_place_and_any_can_come() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 7, 64):
        for _ in range(50):
            drawn = derangement(size, rng)
            assert sorted(drawn.tolist()) == list(range(size))
            assert not (drawn == np.arange(size)).any()
    possible = {p for p in permutations(range(4)) if all(number != place for place, number in enumerate(p))}
    counts = dict.fromkeys(possible, 0)
    for _ in range(3600):
        counts[tuple(derangement(4, rng).tolist())] += 1
    assert min(counts.values()) > 300 and max(counts.values()) < 500
