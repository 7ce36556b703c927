"""The model: which parameters a task reaches, order of dropout draws, fresh weights, gradients forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from minbert.config import TrainConfig, build_config
from minbert.corpora.batching import Batch, Part
from minbert.encoder import BertEncoder, EncoderConfig, pack
from minbert.model import MultitaskModel, build_model, initialise

SHAPE = EncoderConfig(30, 16, 1, 2, 24, max_position_embeddings=32, initializer_range=0.1)
EXAMPLES = 3
TWO_ORDERS = {"kind": "two_order", "difference": "signed", "activation": "tanh"}
TASKS = ("sst", "qqp", "sts")


def config_of(pairs: dict[str, Any] | None = None, **leaves: Any) -> TrainConfig:
    """The three tasks, both pair tasks with the same head."""
    heads = {"qqp": {"head": pairs}, "sts": {"head": pairs}} if pairs else {}
    return build_config({**leaves, "tasks": heads | leaves.get("tasks", {})})


def encoder_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    state = BertEncoder(SHAPE).state_dict()
    return {name: torch.randn(value.shape, generator=generator) * 0.3 for name, value in state.items()}


def model_of(config: TrainConfig) -> MultitaskModel:
    return build_model(config, SHAPE, encoder_weights())


def batch_of(model: MultitaskModel, tasks: Sequence[str] = TASKS) -> Batch:
    """Random sequences of several lengths, as many for each task as its head reads."""
    sequences: list[np.ndarray] = []
    parts = []
    for task in tasks:
        rng = np.random.default_rng(TASKS.index(task))
        slices = []
        for _ in range(1 if model.head(task).inputs in ("single", "joint") else 2):
            slices.append(slice(len(sequences), len(sequences) + EXAMPLES))
            sequences += [rng.integers(0, 30, size).astype(np.int32) for size in (7, 4, 9)]
        parts.append(Part(task, tuple(slices), None))
    return Batch(pack(sequences, [2] * len(sequences)), tuple(parts))


def reached(model: MultitaskModel) -> set[str]:
    """Names of the parameters with a gradient that is not zero."""
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }


def of_part(model: MultitaskModel, prefix: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(prefix)}


HEADS: list[dict[str, Any]] = [
    {"kind": "cross", "hidden_layers": 1},
    {"kind": "concat"},
    TWO_ORDERS,
    {"kind": "cosine"},
    {"kind": "dot"},
]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("sharing", ["none", "all", "pairs"])
@pytest.mark.parametrize("task", TASKS)
def test_a_task_reaches_the_encoder_its_own_head_and_what_it_shares(
    head: dict[str, Any], sharing: str, task: str
) -> None:
    if sharing == "pairs" and head["kind"] not in ("cross", "concat"):
        sharing = "all"
    model = model_of(config_of(head, shared_layer=sharing, pooling="pooler"))
    batch = batch_of(model)
    (model(batch)[task] ** 2).sum().backward()
    shares = sharing == "all" or (sharing == "pairs" and task != "sst")
    expected = of_part(model, f"heads.{task}.") | (of_part(model, "shared.") if shares else set())
    found = reached(model)
    assert {name for name in found if not name.startswith("encoder.")} == expected
    unreached = of_part(model, "encoder.") - found
    assert all(name.endswith("bias") for name in unreached) and len(unreached) <= 1  # of the keys


def test_the_pairs_shared_layer_adds_the_gradients_of_both_pair_tasks() -> None:
    model = model_of(config_of({"kind": "concat"}, shared_layer="pairs"))
    batch = batch_of(model)
    found = {}
    for chosen in (("qqp",), ("sts",), ("qqp", "sts"), TASKS):
        model.clear_gradients()
        outputs = model(batch)
        sum((outputs[task] ** 2).sum() for task in chosen).backward()  # type: ignore[union-attr]
        gradient = model.get_parameter("shared.dense.weight").grad
        assert gradient is not None and gradient.abs().sum() > 0
        found[chosen] = gradient.clone()
    torch.testing.assert_close(found["qqp", "sts"], found["qqp",] + found["sts",])
    torch.testing.assert_close(found[TASKS], found["qqp", "sts"])


@pytest.mark.parametrize("sharing", ["none", "all", "pairs"])
def test_every_parameter_has_one_name_and_the_shared_layer_one_place(sharing: str) -> None:
    model = model_of(config_of({"kind": "concat"}, shared_layer=sharing))
    names = [name for name in model.state_dict() if not name.startswith("encoder.")]
    expected = [f"heads.{task}.output.{part}" for task in TASKS for part in ("weight", "bias")]
    shared = ["shared.dense.weight", "shared.dense.bias"] if sharing != "none" else []
    assert sorted(names) == sorted(expected + shared)
    width = {"all": 16, "pairs": 3 * 16}.get(sharing)
    assert model.shared is None or model.shared.dense.weight.shape == (16, width)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("sharing", ["none", "all"])
def test_a_batch_of_all_tasks_gives_each_what_it_gets_alone(head: dict[str, Any], sharing: str) -> None:
    model = model_of(config_of(head, shared_layer=sharing))
    together = model(batch_of(model))
    for task in TASKS:
        alone = model(batch_of(model, [task]))
        torch.testing.assert_close(together[task], alone[task], rtol=1e-5, atol=1e-5)
        assert together[task].shape == ((EXAMPLES, 5) if task == "sst" else (EXAMPLES,))


def test_the_pooled_vectors_draw_their_dropout_first_and_then_the_heads_in_the_order_of_the_parts() -> None:
    config = config_of({"kind": "cross", "hidden_layers": 1, "hidden_dropout": 0.4})
    model = model_of(config)
    batch = batch_of(model, ["sts", "sst", "qqp"])
    model.dropout.seed(9)
    found = model(batch, 0.2, 0.3)
    model.dropout.seed(9)
    vectors = model.dropout(model.embed(batch.packed, 0.2), 0.3)
    for task, rows in (("sts", slice(0, 3)), ("sst", slice(3, 6)), ("qqp", slice(6, 9))):
        expected = model.head(task)(vectors[rows], dropout=model.dropout)
        assert torch.equal(found[task], expected)
    model.dropout.stop()
    assert not torch.allclose(model(batch)["sst"], found["sst"])
    assert all(torch.equal(value, model(batch, 0.2, 0.3)[task]) for task, value in model(batch).items())


def test_outputs_from_given_vectors_do_not_touch_the_encoder() -> None:
    model = model_of(config_of(TWO_ORDERS))
    batch = batch_of(model)
    vectors = model.embed(batch.packed, 0.0).detach()
    whole = model(batch)
    found = model.outputs(batch, vectors)
    assert all(torch.equal(found[task], whole[task]) for task in TASKS)
    sum(value.sum() for value in found.values()).backward()  # type: ignore[union-attr]
    assert reached(model) and not any(name.startswith("encoder.") for name in reached(model))


def test_an_offset_of_the_word_embeddings_is_another_table_of_words() -> None:
    model, moved = model_of(config_of()), model_of(config_of())
    change = torch.randn(30, 16, generator=torch.Generator().manual_seed(4)) * 0.2
    with torch.no_grad():
        moved.encoder.embeddings.word_embeddings.weight.add_(change)
    batch = batch_of(model)
    plain, expected = model(batch), moved(batch)
    offset = change[batch.packed.ids]
    torch.testing.assert_close(model.embed(batch.packed, 0.0, offset), moved.embed(batch.packed, 0.0))
    for task, value in model(batch, offset=offset).items():
        torch.testing.assert_close(value, expected[task])
        assert not torch.allclose(value, plain[task])


class TestAuxiliaryParts:
    """What a stage trains and nothing else uses."""

    def model(self) -> MultitaskModel:
        model = model_of(config_of({"kind": "concat"}, shared_layer="pairs"))
        model.auxiliary["projection"] = nn.Linear(16, 16)
        batch = batch_of(model)
        read = model.auxiliary["projection"](model.embed(batch.packed, 0.0)).sum()
        (read + sum((value**2).sum() for value in model(batch).values())).backward()
        return model

    def test_belong_to_the_state_and_there_are_none_at_first(self) -> None:
        before = set(model_of(config_of({"kind": "concat"}, shared_layer="pairs")).state_dict())
        added = {"auxiliary.projection.weight", "auxiliary.projection.bias"}
        assert set(self.model().state_dict()) - before == added

    def test_lose_their_gradients_with_all_others(self) -> None:
        model = self.model()
        assert {"auxiliary", "encoder", "heads", "shared"} == {n.split(".")[0] for n in reached(model)}
        model.clear_gradients()
        assert not reached(model)

    def test_keep_their_gradients_with_the_heads_when_the_shared_ones_go(self) -> None:
        model = self.model()
        before = {name for name in reached(model) if name.startswith(("auxiliary.", "heads."))}
        model.clear_shared_gradients()
        assert reached(model) == before


def test_fresh_weights_come_from_the_encoders_spread_with_zero_biases() -> None:
    layer = nn.Sequential(nn.Linear(200, 300), nn.ReLU(), nn.Linear(300, 100))
    initialise(layer, 0.07, 3)
    state = layer.state_dict()
    for name in ("0", "2"):
        assert state[f"{name}.weight"].std().item() == pytest.approx(0.07, rel=0.02)
        assert not state[f"{name}.bias"].any()


def test_a_models_fresh_layers_have_its_encoders_spread_and_other_parameters_their_own_start() -> None:
    three_layers = {"kind": "linear", "hidden_layers": 3}
    model = model_of(config_of({"kind": "cosine"}, tasks={"sst": {"head": three_layers}}, shared_layer="all"))
    assert model.spread == 0.1
    layers = torch.cat([model.get_parameter(f"heads.sst.hidden.{n}.weight") for n in range(3)])
    assert layers.std().item() == pytest.approx(0.1, rel=0.1)
    assert model.get_parameter("shared.dense.weight").std().item() == pytest.approx(0.1, rel=0.2)
    assert [p.item() for p in model.heads["qqp"].parameters()] == pytest.approx([1.0, -0.7])
    two_order = model_of(config_of({"kind": "two_order"})).get_parameter("heads.sts.join.weight")
    assert two_order.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("sharing", ["all", "pairs"])
def test_the_shared_layer_drops_at_shared_dropout(sharing: str) -> None:
    rates = (0.0, 0.6)
    found = []
    for rate in rates:
        model = model_of(config_of({"kind": "concat"}, shared_layer=sharing, shared_dropout=rate))
        model.dropout.seed(2)
        found.append(model(batch_of(model)))
    assert not torch.allclose(found[0]["qqp"], found[1]["qqp"])
    assert torch.allclose(found[0]["sst"], found[1]["sst"]) == (sharing == "pairs")


def test_every_part_draws_its_fresh_weights_from_a_stream_of_its_own() -> None:
    """Another head elsewhere, more tasks, or a shared layer change no other part's start; the seed does."""
    plain = model_of(config_of({"kind": "cross"})).state_dict()
    other = model_of(
        config_of(shared_layer="all", tasks={"sst": {"head": {"hidden_layers": 2}}})
    ).state_dict()
    again = model_of(config_of({"kind": "cross"}, seed=1)).state_dict()
    deep = model_of(
        config_of(shared_layer="all", tasks={"qqp": {"head": {"kind": "dot"}}, "sst": {"classes": 9}})
    ).state_dict()
    for task in ("qqp", "sts"):
        name = f"heads.{task}.output.weight"
        assert torch.equal(plain[name], other[name])
        assert not torch.equal(plain[name], again[name])
    assert torch.equal(other["shared.dense.weight"], deep["shared.dense.weight"])
    assert not torch.equal(plain["heads.qqp.output.weight"], plain["heads.sts.output.weight"])
