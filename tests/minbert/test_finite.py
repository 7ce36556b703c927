"""What is no number ends a stage, at its own step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from minbert.checkpoint import EncoderFiles
from minbert.config import TrainConfig
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.errors import TrainingFailure
from minbert.finite import FiniteCheck, _Waiting
from minbert.model import MultitaskModel, build_model
from minbert.training import StageTrainer

MakeConfig = Callable[..., TrainConfig]
Make = Callable[..., tuple[StageTrainer, MultitaskModel]]


@pytest.fixture
def make(configure: MakeConfig, small_corpus: TokenisedCorpus, encoder_files: EncoderFiles) -> Make:
    def built(device: str = "cpu", **leaves: Any) -> tuple[StageTrainer, MultitaskModel]:
        config = configure(**leaves)
        model = build_model(config, encoder_files.config, encoder_files.weights()).to(device)
        return StageTrainer(model, config, "finetune", small_corpus, torch.device(device)), model

    return built


@pytest.mark.parametrize("pcgrad", [False, True])
def test_a_loss_that_is_no_number_is_named_by_stage_epoch_step_and_task(pcgrad: bool, make: Make) -> None:
    trainer, model = make(stages__finetune__pcgrad=pcgrad)
    trainer.step(1, 0)
    with torch.no_grad():
        model.head("qqp").output.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(TrainingFailure) as caught:
        trainer.step(1, 1)
    assert caught.value.cause == "nan"
    assert str(caught.value) == "the loss of qqp is nan at stage finetune, epoch 1, step 2"
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if "qqp" not in name)


@pytest.mark.parametrize("clipped", [1.0, 0.0])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_gradient_that_is_no_number_ends_the_step_although_the_loss_is_one(
    value: float, clipped: float, make: Make
) -> None:
    trainer, model = make(stages__finetune__max_grad_norm=clipped)
    trainer.step(1, 0)
    weight = model.head("sst").output.weight  # type: ignore[union-attr]
    weight.register_hook(lambda gradient: torch.full_like(gradient, value))  # type: ignore[union-attr, operator]
    with pytest.raises(
        TrainingFailure, match=r"norm of the gradient is .* at stage finetune, epoch 1, step 2"
    ):
        trainer.step(1, 1)


def test_what_is_on_its_way_is_looked_at_once_it_has_come_and_keeps_its_step() -> None:
    check, there = FiniteCheck("finetune"), [False]
    for step, loss in enumerate([1.0, float("nan")]):
        values = torch.tensor([0.5, loss])
        check._waiting.append(_Waiting(values, lambda: there[0], ("sst", "qqp"), f"step {step + 1}"))
    check.see(1, 2, {})
    check._look(wait=False)
    there[0] = True
    with pytest.raises(TrainingFailure, match=r"^qqp is nan at step 2$"):
        check._look(wait=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_failure_names_its_own_step_and_no_step_waits() -> None:
    check = FiniteCheck("finetune")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(3):
            loss = torch.full((), float("nan") if step == 1 else 1.0, device="cuda")
            check.see(1, step, {"sst": loss})
    except TrainingFailure as failure:
        assert "step 2" in str(failure)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    if check._waiting:
        with pytest.raises(TrainingFailure, match="step 2"):
            check.settle()
