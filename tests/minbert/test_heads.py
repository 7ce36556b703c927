"""Heads against loops written from their formulas, and the effect of each of their settings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minbert.config import TaskConfig
from minbert.dropout import DropoutStream
from minbert.heads import Head, LayeredHead, TwoOrderHead, build_head
from minbert.shared_layer import SharedLayer, Sharing, build_shared_layer

HIDDEN, BATCH = 6, 4
U, V = torch.randn(2, BATCH, HIDDEN, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
OFF = DropoutStream(torch.device("cpu"))

Row = list[float]
Layer = Callable[[Row], Row]


def task(kind: str, head: str, *, head_leaves: dict[str, Any] | None = None, **leaves: Any) -> TaskConfig:
    return TaskConfig.model_validate(
        {
            "kind": kind,
            "head": {"kind": head, **(head_leaves or {})},
            "text": ("a",) if head == "linear" else ("a", "b"),
            "label": "y",
            **({"label_range": (1.0, 4.0)} if kind == "regression" else {}),
            **({"classes": 3} if kind == "classification" else {}),
            **leaves,
        }
    )


def fresh(module: nn.Module, seed: int) -> nn.Module:
    """Distinct weights of a size at which tanh and ReLU bend, in float64."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    return module


def made(given: TaskConfig, sharing: Sharing = "none") -> Head:
    head = fresh(build_head(given, HIDDEN, sharing), 2)
    assert isinstance(head, Head)
    return head


def shared_layer(sharing: Sharing, joined: int, rate: float = 0.0) -> SharedLayer:
    layer = build_shared_layer(sharing, HIDDEN, joined, rate)
    assert layer is not None
    fresh(layer, 3)
    return layer


def layered(head: Head) -> LayeredHead:
    assert isinstance(head, LayeredHead)
    return head


def two_order(head: Head) -> TwoOrderHead:
    assert isinstance(head, TwoOrderHead)
    return head


def gradients(module: nn.Module) -> list[Tensor]:
    found = [parameter.grad for parameter in module.parameters()]
    assert all(gradient is not None for gradient in found)
    return [gradient for gradient in found if gradient is not None]


def dropping(seed: int = 5) -> DropoutStream:
    stream = DropoutStream(torch.device("cpu"))
    stream.seed(seed)
    return stream


def dense(module: nn.Module, name: str) -> Layer:
    """The linear layer of a name as a loop."""
    state = module.state_dict()
    weight, bias = state[f"{name}.weight"].tolist(), state[f"{name}.bias"].tolist()

    def apply(x: Row) -> Row:
        return [
            sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)
        ]

    return apply


def tanh(x: Row) -> Row:
    return [math.tanh(v) for v in x]


def relu(x: Row) -> Row:
    return [max(v, 0.0) for v in x]


def reference(
    given: TaskConfig, head: Head, vectors: list[Row], sharing: Sharing, shared: SharedLayer | None
) -> Row:
    """One example's output, from the definitions."""
    settings = given.head

    def difference(a: Row, b: Row) -> Row:
        absolute = settings.difference == "absolute" or (settings.kind, settings.difference) == (
            "concat",
            None,
        )
        return [abs(x - y) if absolute else x - y for x, y in zip(a, b, strict=True)]

    wants_difference = settings.difference != "none" and (settings.difference or settings.kind == "concat")
    common: Layer = dense(shared, "dense") if shared is not None else tanh

    def on_inputs(x: Row) -> Row:
        return tanh(common(x)) if sharing == "all" else x

    bounded = False
    if settings.kind == "two_order":
        parts = [*vectors, difference(*vectors)] if wants_difference else vectors
        z = [dense(head, f"parts.{n}")(on_inputs(part)) for n, part in enumerate(parts)]
        flat = [value for part in z for value in part]
        x = dense(head, "join")(tanh(flat) if settings.activation == "tanh" else flat)
    elif settings.kind in ("cosine", "dot"):
        u, v = map(on_inputs, vectors)
        x = [sum(a * b for a, b in zip(u, v, strict=True))]
        if settings.kind == "cosine":
            x, bounded = [x[0] / math.hypot(*u) / math.hypot(*v)], True
            if given.kind == "binary" and settings.learned_scale is not False:
                state = head.state_dict()
                return [10 * state["slope"].item() * x[0] + 10 * state["offset"].item()]
    else:
        parts = [on_inputs(vector) for vector in vectors]
        x = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        if len(parts) == 2 and wants_difference:
            x = x + difference(*parts)
        if sharing == "pairs" and settings.kind != "linear":
            x = relu(common(x))
        for n in range(settings.hidden_layers):
            x = relu(dense(head, f"hidden.{n}")(x))
        x = dense(head, "output")(x)
        bounded = settings.activation == "tanh"
        x = tanh(x) if bounded else x
    if given.kind == "regression" and (bounded or given.targets == "scaled"):
        return [2.5 + 1.5 * value for value in x]
    return x


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *[
        (kind, {"hidden_layers": layers, "activation": activation})
        for kind in ("linear", "cross", "concat")
        for layers in (0, 1, 3)
        for activation in ("none", "tanh")
    ],
    *[("concat", {"difference": difference}) for difference in ("none", "absolute", "signed")],
    *[
        ("two_order", {"difference": difference, "activation": activation})
        for difference in (None, "none", "absolute", "signed")
        for activation in ("none", "tanh")
    ],
    ("dot", {}),
    ("cosine", {}),
]
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("classification", {}),
    ("binary", {}),
    ("regression", {"targets": "scaled"}),
    ("regression", {"targets": "raw"}),
]


def fits(name: str, kind: str, sharing: str) -> bool:
    one_value = name in ("cosine", "dot")
    return not (one_value and kind == "classification") and not (
        sharing == "pairs" and (one_value or name == "two_order")
    )


@pytest.mark.parametrize(
    ("name", "head_leaves", "kind", "leaves", "sharing"),
    [
        (name, head_leaves, kind, leaves, sharing)
        for name, head_leaves in SETTINGS
        for kind, leaves in KINDS
        for sharing in ("none", "all", "pairs")
        if fits(name, kind, sharing)
    ],
)
def test_a_head_is_its_definition(
    name: str, head_leaves: dict[str, Any], kind: str, leaves: dict[str, Any], sharing: Sharing
) -> None:
    given = task(kind, name, head_leaves=head_leaves, **leaves)
    head = made(given, sharing)
    joined = {"concat": 2 if head_leaves.get("difference") == "none" else 3}.get(name, 1) * HIDDEN
    shared = shared_layer(sharing, joined) if sharing != "none" else None
    vectors = [U] if head.inputs in ("single", "joint") else [U, V]
    found = head(*vectors, dropout=OFF, shared=shared)
    rows = [
        reference(given, head, [vector[row].tolist() for vector in vectors], sharing, shared)
        for row in range(BATCH)
    ]
    expected = torch.tensor(rows, dtype=torch.float64)
    expected = expected if kind == "classification" else expected[:, 0]
    assert found.shape == ((BATCH, 3) if kind == "classification" else (BATCH,))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("linear", "single"),
        ("cross", "joint"),
        ("two_order", "both_orders"),
        ("concat", "separate"),
        ("cosine", "separate"),
        ("dot", "separate"),
    ],
)
def test_a_head_says_how_its_texts_are_encoded(name: str, inputs: str) -> None:
    assert build_head(task("binary", name), HIDDEN).inputs == inputs


@pytest.mark.parametrize(
    ("name", "kind", "leaf", "values"),
    [
        ("cross", "binary", "activation", ("none", "tanh")),
        ("two_order", "binary", "activation", ("none", "tanh")),
        ("concat", "binary", "difference", ("absolute", "signed", "none")),
        ("two_order", "binary", "difference", ("absolute", "signed", "none")),
        ("cross", "binary", "hidden_layers", (0, 1, 2)),
        ("cosine", "binary", "learned_scale", (False, True)),
    ],
)
def test_every_setting_changes_the_output_and_the_gradient(
    name: str, kind: str, leaf: str, values: tuple[Any, ...]
) -> None:
    found: list[Tensor] = []
    for value in values:
        head, first = made(task(kind, name, head_leaves={leaf: value})), U.clone().requires_grad_()
        output = head(*([first] if name == "cross" else [first, V]), dropout=OFF)
        (gradient,) = torch.autograd.grad(output.sum(), first)
        found.append(torch.cat([output.detach(), gradient.flatten()]))
    for one, other in itertools.pairwise(found):
        assert not torch.isclose(one[:BATCH], other[:BATCH]).all()
        assert not torch.isclose(one[BATCH:], other[BATCH:]).all()


def test_hidden_dropout_falls_on_what_a_hidden_layer_gives_and_the_default_is_a_tenth() -> None:
    wide = 400
    vector = torch.ones(50, wide, dtype=torch.float64)

    def share_dropped(leaves: dict[str, Any]) -> float:
        head = build_head(task("binary", "cross", head_leaves={"hidden_layers": 1, **leaves}), wide).double()
        with torch.no_grad():
            for name, value in {"hidden.0": (0.0, 1.0), "output": (1 / wide, 0.0)}.items():
                head.get_parameter(f"{name}.weight").fill_(value[0])
                head.get_parameter(f"{name}.bias").fill_(value[1])
        stream = dropping()
        kept = head(vector, dropout=stream) * (1 - (leaves.get("hidden_dropout", 0.1)))
        stream.stop()
        torch.testing.assert_close(head(vector, dropout=stream), torch.ones(50, dtype=torch.float64))
        return 1 - kept.mean().item()

    assert share_dropped({}) == pytest.approx(0.1, abs=0.01)
    assert share_dropped({"hidden_dropout": 0.4}) == pytest.approx(0.4, abs=0.015)
    assert share_dropped({"hidden_dropout": 0.0}) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("difference", ["none", "signed"])
def test_two_orders_without_activation_are_linear_in_the_two_orders(difference: str) -> None:
    """w₁·c12 + w₂·c21 + w₃·(c12 − c21), joined linearly, is a·c12 + b·c21: DPH is PH again."""
    head = made(task("binary", "two_order", head_leaves={"difference": difference}))
    state = head.state_dict()
    j = state["join.weight"][0]
    a, b = j[0] * state["parts.0.weight"][0], j[1] * state["parts.1.weight"][0]
    constant = state["join.bias"][0] + j[0] * state["parts.0.bias"][0] + j[1] * state["parts.1.bias"][0]
    if difference == "signed":
        third = j[2] * state["parts.2.weight"][0]
        a, b, constant = a + third, b - third, constant + j[2] * state["parts.2.bias"][0]
    torch.testing.assert_close(head(U, V, dropout=OFF), U @ a + V @ b + constant)


@pytest.mark.parametrize(
    ("leaves", "sharing"),
    [
        ({"difference": "signed", "activation": "tanh"}, "none"),
        ({"difference": "absolute"}, "none"),
        ({"difference": "signed"}, "all"),
    ],
)
def test_two_orders_are_not_linear_with_an_activation_an_absolute_difference_or_a_shared_layer(
    leaves: dict[str, Any], sharing: Sharing
) -> None:
    head = made(task("binary", "two_order", head_leaves=leaves), sharing)
    shared = shared_layer(sharing, HIDDEN) if sharing != "none" else None

    def f(x: Tensor, y: Tensor) -> Tensor:
        return head(x, y, dropout=OFF, shared=shared)

    nothing = torch.zeros_like(U)
    bend = f(U, V) + f(nothing, nothing) - f(U, nothing) - f(nothing, V)
    assert bend.abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["binary", "classification"])
def test_fresh_two_order_heads_give_the_mean_of_their_parts(kind: str) -> None:
    head = build_head(task(kind, "two_order", head_leaves={"difference": "signed"}), HIDDEN).double()
    parts = [part(x) for part, x in zip(two_order(head).parts, (U, V, U - V), strict=True)]
    mean = (parts[0] + parts[1] + parts[2]) / 3
    torch.testing.assert_close(
        head(U, V, dropout=OFF), mean.squeeze(1) if kind == "binary" else mean, check_dtype=False
    )


@pytest.mark.parametrize("targets", ["scaled", "raw"])
def test_cosine_regression_maps_opposite_and_equal_vectors_onto_the_ends_of_the_range(targets: str) -> None:
    head = build_head(task("regression", "cosine", targets=targets), HIDDEN)
    ends = torch.full((BATCH,), 1.0, dtype=torch.float64)
    torch.testing.assert_close(head(U, 3 * U, dropout=OFF), 4 * ends)
    torch.testing.assert_close(head(U, -U, dropout=OFF), ends)
    assert not list(head.parameters())


@pytest.mark.parametrize("name", ["cross", "concat"])
@pytest.mark.parametrize("targets", ["scaled", "raw"])
def test_tanh_outputs_of_a_regression_stay_inside_the_label_range(name: str, targets: str) -> None:
    head = made(task("regression", name, head_leaves={"activation": "tanh"}, targets=targets))
    vectors = [100 * torch.cat([U, -U])] if name == "cross" else [100 * U, 100 * V]
    output = head(*vectors, dropout=OFF)
    assert output.min() >= 1.0 and output.max() <= 4.0
    assert (output - 2.5).abs().max().item() == pytest.approx(1.5)


def test_the_fresh_learned_cosine_decides_at_seven_tenths_and_moves_ten_times_a_parameters_step() -> None:
    head = build_head(task("binary", "cosine"), 2).double()
    angle = torch.tensor([0.0, math.acos(0.7), math.pi])
    v = torch.stack([angle.cos(), angle.sin()], dim=1).double()
    u = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(3, 2)
    torch.testing.assert_close(
        head(u, v, dropout=OFF), torch.tensor([3.0, 0.0, -17.0]).double(), atol=1e-5, rtol=0
    )
    head(u, v, dropout=OFF)[0].backward()
    assert [gradient.item() for gradient in gradients(head)] == pytest.approx([10.0, 10.0])


@pytest.mark.parametrize("name", ["linear", "cross", "two_order", "concat", "cosine", "dot"])
def test_a_shared_layer_of_all_is_applied_to_every_input_with_its_own_dropout(name: str) -> None:
    """The draws follow the order of the inputs: u, v, and the difference of two raw orders."""
    leaves = {"difference": "signed"} if name == "two_order" else {}
    head = made(task("binary", name, head_leaves=leaves), "all")
    shared = shared_layer("all", HIDDEN, rate=0.4)
    vectors = [U] if head.inputs in ("single", "joint") else [U, V]
    found = head(*vectors, dropout=dropping(), shared=shared)
    stream = dropping()
    inputs = [*vectors, U - V] if name == "two_order" else vectors
    read = [stream(torch.tanh(shared.dense(x)), 0.4) for x in inputs]
    if name == "two_order":
        z = torch.cat([part(x) for part, x in zip(two_order(head).parts, read, strict=True)], dim=1)
        expected = two_order(head).join(z)[:, 0]
    else:
        expected = head(*read, dropout=OFF)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, head(*vectors, dropout=OFF, shared=shared))


@pytest.mark.parametrize("name", ["cross", "concat"])
def test_a_shared_layer_of_pairs_drops_its_own_output(name: str) -> None:
    head = made(task("binary", name), "pairs")
    shared = shared_layer("pairs", HIDDEN if name == "cross" else 3 * HIDDEN, rate=0.4)
    vectors = [U] if name == "cross" else [U, V]
    joined = U if name == "cross" else torch.cat([U, V, (U - V).abs()], dim=1)
    expected = layered(head).output(dropping()(torch.relu(shared.dense(joined)), 0.4))[:, 0]
    torch.testing.assert_close(head(*vectors, dropout=dropping(), shared=shared), expected)


def test_heads_do_not_hold_the_shared_layer() -> None:
    given = task("binary", "concat")
    head, shared = made(given, "pairs"), shared_layer("pairs", 3 * HIDDEN)
    head(U, V, dropout=OFF, shared=shared).sum().backward()
    assert set(head.state_dict()) == {"output.weight", "output.bias"}
    assert all(gradient.abs().sum() > 0 for gradient in gradients(shared))


@pytest.mark.parametrize("kind", ["classification", "binary", "regression"])
@pytest.mark.parametrize(
    ("name", "head_leaves"), [case for case in SETTINGS if case[0] not in ("cosine", "dot")]
)
def test_every_parameter_of_a_head_gets_a_gradient(name: str, head_leaves: dict[str, Any], kind: str) -> None:
    head = made(task(kind, name, head_leaves=head_leaves))
    output = head(*([U] if head.inputs in ("single", "joint") else [U, V]), dropout=OFF)
    (output**2).sum().backward()
    assert all(gradient.abs().sum() > 0 for gradient in gradients(head))
