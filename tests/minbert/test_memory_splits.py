"""A batch in smaller passes has the gradients of the whole batch, whatever is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minbert.checkpoint import EncoderFiles
from minbert.config import TrainConfig
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.files.sealed import sealed_line
from minbert.memory_splits import SPLITS, MemorySplits, Split, is_out_of_memory
from minbert.model import MultitaskModel, build_model
from minbert.objectives import build_objective
from minbert.steps import Objective

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
FINETUNE, SIMCSE, SUPERVISED = "stages__finetune__", "stages__simcse__", "stages__supervised__"
SMART = {"weight": 5.0, "radius": 0.3, "noise": 0.1, "steps": 2, "bregman": 2.0}
RANKED: dict[str, Any] = {"tasks__sts__head__kind": "cosine", FINETUNE + "mnr": {"tasks": ["sts"]}}
TRIPLES: dict[str, Any] = {
    SUPERVISED + "task": "qqp",
    SUPERVISED + "epochs": 1,
    SUPERVISED + "batch_size": 13,
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sum": ("finetune", {"tasks__sst__batch_size": 5}),
    "mean": ("finetune", {FINETUNE + "combine": "mean", "shared_layer": "all"}),
    "one task a step": ("finetune", {FINETUNE + "sampler": {"kind": "round_robin"}}),
    "two orders": ("finetune", {"tasks__sts__head__kind": "two_order", "pooling": "cls"}),
    "pcgrad": ("finetune", {FINETUNE + "pcgrad": True, "shared_layer": "all", "tasks__sst__batch_size": 5}),
    "learned weights": ("finetune", {FINETUNE + "weighting": "learned"}),
    "smart": ("finetune", {FINETUNE + "smart": SMART, "tasks__sst__batch_size": 5}),
    "smart in two orders": (
        "finetune",
        {
            FINETUNE + "smart": SMART,
            "tasks__sts__head__kind": "two_order",
            "tasks__qqp__head__kind": "cosine",
        },
    ),
    "configured pieces": ("finetune", {FINETUNE + "micro_batch_size": 7, FINETUNE + "smart": SMART}),
    "ranking": ("finetune", {**RANKED, FINETUNE + "combine": "mean", "tasks__sts__weight": 2.0}),
    "ranking alone": ("finetune", {**RANKED, FINETUNE + "tasks": ["sts"]}),
    "ranking, pcgrad": ("finetune", {**RANKED, FINETUNE + "pcgrad": True}),
    "ranking, smart": ("finetune", {**RANKED, FINETUNE + "smart": SMART}),
    "ranking, learned weights": ("finetune", {**RANKED, FINETUNE + "weighting": "learned"}),
    "simcse": ("simcse", {SIMCSE + "epochs": 1, SIMCSE + "batch_size": 13}),
    "simcse, projection": ("simcse", {SIMCSE + "epochs": 1, SIMCSE + "projection": True}),
    "simcse, masked": (
        "simcse",
        {
            SIMCSE + "epochs": 1,
            SIMCSE + "mlm_weight": 0.5,
            SIMCSE + "mlm_share": 0.05,
            SIMCSE + "batch_size": 13,
        },
    ),
    "supervised": ("supervised", {**TRIPLES, SUPERVISED + "hard_negative_weight": 3.0}),
    "supervised, projection": ("supervised", {**TRIPLES, SUPERVISED + "projection": True}),
}


class Bench:
    """A model and the objective of one of its stages."""

    def __init__(self, config: TrainConfig, name: str, corpus: TokenisedCorpus, files: EncoderFiles) -> None:
        self.model = build_model(config, files.config, files.weights())
        self.objective: Objective = build_objective(self.model, config, name, corpus, CPU)
        with torch.no_grad():  # learned weights that are all 1 would hide one that is left out
            for number, parameter in enumerate(self.model.auxiliary.parameters()):
                if parameter.numel() == 1:
                    parameter.fill_(0.3 * number)

    def step(self, index: int, largest: int | None) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        self.model.clear_gradients()
        losses = self.objective.backward(1, index, largest).losses
        gradients = {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in self.model.named_parameters()
        }
        return {name: float(loss) for name, loss in losses.items()}, gradients

    def move(self) -> None:
        """A step of the optimiser that both sides take alike."""
        self.objective.before_step()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.01)


@pytest.fixture
def benches(
    configure: MakeConfig, small_corpus: TokenisedCorpus, encoder_files: EncoderFiles
) -> Callable[..., tuple[Bench, Bench]]:
    def made(name: str, **leaves: Any) -> tuple[Bench, Bench]:
        rate = (
            0.0 if name == "finetune" else 1e-9
        )  # unsupervised SimCSE refuses 0; nothing is dropped at either
        still = {f"stages__{name}__encoder_dropout": rate, f"stages__{name}__dropout": 0.0}
        config = configure(**still, **leaves)
        one, other = (Bench(config, name, small_corpus, encoder_files) for _ in range(2))
        return one, other

    return made


@pytest.mark.parametrize(
    ("case", "largest"),
    [*((case, 3) for case in CASES), ("pcgrad", 1), ("ranking", 1), ("simcse, masked", 1)],
)
def test_a_step_in_smaller_passes_has_the_gradient_of_the_whole_batch(
    case: str, largest: int, benches: Callable[..., tuple[Bench, Bench]]
) -> None:
    name, leaves = CASES[case]
    whole, pieces = benches(name, **leaves)
    for index in (0, 1):
        losses, wanted = whole.step(index, None)
        found_losses, found = pieces.step(index, largest)
        assert found_losses == pytest.approx(losses, rel=1e-4)
        for key, gradient in found.items():
            torch.testing.assert_close(gradient, wanted[key], rtol=2e-3, atol=2e-5, msg=key)
        whole.move()
        pieces.move()


def test_smaller_passes_are_those_of_a_micro_batch_size_masks_included(
    configure: MakeConfig, small_corpus: TokenisedCorpus, encoder_files: EncoderFiles
) -> None:
    outcomes = []
    for configured, largest in ((3, None), (None, 3)):
        leaves = {} if configured is None else {FINETUNE + "micro_batch_size": configured}
        config = configure(**leaves, **{FINETUNE + "dropout": 0.5})
        outcomes.append(Bench(config, "finetune", small_corpus, encoder_files).step(0, largest))
    (losses, gradients), (split_losses, split) = outcomes
    assert split_losses == losses
    assert all(torch.equal(split[name], gradient) for name, gradient in gradients.items())


@pytest.mark.parametrize("name", ["simcse", "supervised"])
def test_every_piece_of_a_contrastive_batch_has_masks_of_its_own(
    name: str,
    configure: MakeConfig,
    small_corpus: TokenisedCorpus,
    encoder_files: EncoderFiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaves = {f"stages__{name}__epochs": 1, f"stages__{name}__encoder_dropout": 0.5}
    task = {} if name == "simcse" else {SUPERVISED + "task": "qqp"}
    bench = Bench(configure(**leaves, **task), name, small_corpus, encoder_files)
    drawn: list[int] = []
    start = bench.model.dropout.seed

    def noted(seed: int) -> None:
        drawn.append(seed)
        start(seed)

    monkeypatch.setattr(bench.model.dropout, "seed", noted)
    bench.step(0, 8)
    assert len(drawn) == 2 * len(set(drawn)) > 2  # each piece is encoded twice, under the same masks


@pytest.mark.parametrize("case", CASES)
def test_no_pass_holds_more_than_it_may(
    case: str, benches: Callable[..., tuple[Bench, Bench]], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, leaves = CASES[case]
    bench, _ = benches(name, **leaves)
    seen: list[int] = []
    states = MultitaskModel.states

    def watched(self: MultitaskModel, packed: Any, *arguments: Any, **named: Any) -> torch.Tensor:
        seen.append(len(packed.rows))
        return states(self, packed, *arguments, **named)

    monkeypatch.setattr(MultitaskModel, "states", watched)
    bench.step(0, None)
    configured = max(seen)
    seen.clear()
    bench.step(0, 2)
    assert max(seen) <= 10 < configured  # of three tasks two examples each, of two sentences or orders


def test_splits_are_in_force_from_their_step_to_the_end_of_their_stage(tmp_path: Path) -> None:
    splits = MemorySplits(tmp_path, "a run")
    splits.add(Split("micro_batch", "finetune", 2, 3, 8))
    splits.add(Split("micro_batch", "finetune", 3, 1, 4))
    splits.add(Split("evaluation_tokens", "finetune", 2, 0, 512))
    for read in (splits, MemorySplits(tmp_path, "a run")):
        steps = [(1, 9), (2, 2), (2, 3), (2, 9), (3, 1), (4, 1)]
        sizes = [read.size("micro_batch", "finetune", *step) for step in steps]
        assert sizes == [None, None, 8, 8, 4, 4]
        assert read.size("micro_batch", "finetune", 2) == 8
        assert read.size("micro_batch", "simcse", 9) is None
        assert [read.size("evaluation_tokens", "finetune", epoch) for epoch in (1, 2, 3)] == [None, 512, 512]
        assert not read.damaged


SPLIT: dict[str, Any] = {"of": "a run", **asdict(Split("micro_batch", "finetune", 1, 1, 8))}
UNSEALED = [b"{]\n", b'{"kind": 1}\n', b"[1]\n", b"\xff\n"]
IMPOSSIBLE: list[dict[str, Any]] = [
    *({"of": owner} for owner in ("another run", None)),
    *({"size": size} for size in (0, -3, "x", None, 2.5, True, 2**63)),
    *({"epoch": epoch} for epoch in (None, "1", -1)),
    *({"step": step} for step in (None, -1)),
    *({"kind": "batch"}, {"kind": ["micro_batch"]}, {"stage": 1}, {"more": 1}),
]


@pytest.mark.parametrize(
    "damage", [*UNSEALED, *(sealed_line(SPLIT | each) + b"\n" for each in IMPOSSIBLE)], ids=repr
)
def test_splits_that_are_damaged_impossible_or_anothers_are_told_and_not_used(
    damage: bytes, tmp_path: Path
) -> None:
    MemorySplits(tmp_path, "a run").add(Split("micro_batch", "finetune", 1, 1, 8))
    file = tmp_path / SPLITS
    file.write_bytes(file.read_bytes() + damage)
    splits = MemorySplits(tmp_path, "a run")
    assert splits.damaged
    assert splits.size("micro_batch", "finetune", 9) is None
    splits.drop_damaged()
    assert not splits.damaged
    assert not file.exists()


def test_real_failures_to_get_memory_are_told_from_other_errors() -> None:
    def huge_tensor() -> None:
        torch.empty(2**60, dtype=torch.uint8)

    def huge_array() -> None:
        np.empty(2**60, dtype=np.uint8)

    for fail in (huge_tensor, huge_array, lambda: bytes(2**60)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            fail()
        assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    for other in (RuntimeError("shapes do not fit"), ValueError("out of memory"), KeyboardInterrupt()):
        assert not is_out_of_memory(other)
