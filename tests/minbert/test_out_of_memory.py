"""When memory runs out a trial goes on in smaller passes, says so, and ends as if it had known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from minbert import trial_log
from minbert.canonical import stage_key
from minbert.config import TrainConfig
from minbert.errors import TrainingFailure
from minbert.history import Record
from minbert.memory_splits import SPLITS
from minbert.model import MultitaskModel, build_model
from minbert.task_gradients import TaskGradients
from minbert.training import StageTrainer
from minbert.trial import Materials, Trial

MakeConfig = Callable[..., TrainConfig]
MakeMaterials = Callable[[Path], Materials]
STILL: dict[str, Any] = {"stages__finetune__dropout": 0.0, "stages__finetune__encoder_dropout": 0.0}
UNKNOWN = 1
FULL: dict[str, Any] = {"stages__simcse__epochs": 2, "stages__finetune__epochs": 2}
ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory\nframe 0"),
    MemoryError(),
)


class Memory:
    """Lets passes of the encoder fail that hold more sequences than there is room for.

    Attributes:
        training, scoring: sequences that there is room for.
        error: what a pass fails with.
        enough_for: training passes before room is short.
        interrupted_at: training pass at which the process is told to end.
        passes, failures: training passes so far, and how many of all failed.
    """

    def __init__(self) -> None:
        self.training, self.scoring = sys.maxsize, sys.maxsize
        self.error: Exception = ERRORS[0]
        self.enough_for, self.interrupted_at = 0, -1
        self.failures = self.passes = 0

    def check(self, sequences: int) -> None:
        scoring = torch.is_inference_mode_enabled()
        if not scoring:
            self.passes += 1
            if self.passes == self.interrupted_at:
                raise KeyboardInterrupt
        short = scoring or self.passes > self.enough_for
        if short and sequences > (self.scoring if scoring else self.training):
            self.failures += 1
            raise self.error


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    watched, states = Memory(), MultitaskModel.states

    def checked(self: MultitaskModel, packed: Any, *arguments: Any, **named: Any) -> torch.Tensor:
        found = states(self, packed, *arguments, **named)  # fails late: all of the pass is held by then
        watched.check(len(packed.rows))
        return found

    monkeypatch.setattr(MultitaskModel, "states", checked)
    return watched


def history(folder: Path) -> list[Record]:
    with (folder / "checkpoint" / "manifest.json").open() as file:
        assert json.load(file)
    return list(_records(folder))


def _records(folder: Path) -> Iterator[Record]:
    from minbert.files.durable import read_json_lines  # noqa: PLC0415

    for record in read_json_lines(folder / "history.jsonl"):
        timed = [key for key in record if "seconds" in key or key == "peak_memory_bytes"]
        yield {key: value for key, value in record.items() if key not in timed}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.stem}/{name}": value
        for file in sorted((folder / "best").rglob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def assert_same_end(one: Path, other: Path) -> None:
    assert history(one) == history(other)
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("error", ERRORS, ids=["gpu", "cpu", "python"])
@pytest.mark.parametrize("enough_for", [0, 2])
def test_a_trial_in_smaller_passes_ends_as_the_undisturbed_one_up_to_rounding(
    enough_for: int,
    error: Exception,
    memory: Memory,
    configure: MakeConfig,
    finish: Callable[..., Path],
) -> None:
    """Three sequences of each example of the three tasks: 48 a step of 16, 15 a step of 4, after two halvings."""
    config = configure(**STILL, checkpoint="last", stages__finetune__epochs=3)
    whole = finish(config, "whole")
    memory.training, memory.error = 15, error
    memory.enough_for = memory.passes + enough_for
    split = finish(config, "split")
    assert memory.failures == 2
    assert [record["micro_batch"] for record in history(split)] == [4, 4, 4]
    for record, expected in zip(history(split), history(whole), strict=True):
        assert record["examples"] == expected["examples"] and record["tokens"] == expected["tokens"]
        assert record["task_examples"] == expected["task_examples"]
        assert record["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)
    expected_weights = weights(whole)
    for name, value in weights(split).items():
        torch.testing.assert_close(value, expected_weights[name], rtol=0, atol=2e-4, msg=name)


def test_the_first_epochs_of_a_stage_say_nothing_where_memory_sufficed(
    memory: Memory, configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    memory.training, memory.enough_for = 15, 4  # three steps an epoch
    split = finish(configure(stages__finetune__epochs=3), "split")
    assert [record.get("micro_batch") for record in history(split)] == [None, 4, 4]


@pytest.mark.parametrize(
    ("leaf", "setting", "halved"), [("micro_batch_size", 8, 4), ("pcgrad", True, 8)], ids=["sum", "pcgrad"]
)
def test_a_step_that_fails_at_its_end_is_thrown_away_wholly(
    leaf: str,
    setting: object,
    halved: int,
    configure: MakeConfig,
    materials: MakeMaterials,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gradients, also the standing one of the word embeddings, counts and conflicts are those of the retried step alone."""
    given, ends = materials(tmp_path), []
    pcgrad, config = leaf == "pcgrad", configure(**STILL, **{f"stages__finetune__{leaf}": setting})
    for failing in (False, True):
        model = build_model(config, given.encoder.config, dict(given.weights))
        trainer = StageTrainer(model, config, "finetune", given.corpus, torch.device("cpu"))
        if failing:
            _fail_once_at_the_end_of_a_step(model, monkeypatch, pcgrad)
        ends.append((trainer.train_epoch(), {name: v.clone() for name, v in model.state_dict().items()}))
        assert trainer.micro_batch(1) == (halved if failing else None)
    (whole, expected), (split, found) = ends
    assert split.facts["task_examples"] == whole.facts["task_examples"]
    if pcgrad:
        assert split.facts["gradients"]["steps"] == whole.facts["gradients"]["steps"] == 3
        cosines = whole.facts["gradients"]["cosine"]
        assert split.facts["gradients"]["cosine"] == pytest.approx(cosines, abs=1e-3)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=2e-4, msg=name)


def _fail_once_at_the_end_of_a_step(
    model: MultitaskModel, monkeypatch: pytest.MonkeyPatch, pcgrad: bool
) -> None:
    failed: list[bool] = []

    def once() -> None:
        if not failed:
            failed.append(True)
            raise MemoryError

    if pcgrad:
        put = TaskGradients.put

        def put_in_vain(self: TaskGradients, factors: Any) -> None:
            put(self, factors)
            once()

        monkeypatch.setattr(TaskGradients, "put", put_in_vain)
    else:  # the last gradient of the second pass of a step, before its words are noted
        table = model.encoder.embeddings.word_embeddings
        add = table.add_gradient

        def fail_half_way(ids: torch.Tensor, rows: torch.Tensor) -> None:
            if table._touched:
                assert table.weight.grad is not None
                table.weight.grad[UNKNOWN] += not failed  # a word that no batch has
                once()
            add(ids, rows)

        monkeypatch.setattr(table, "add_gradient", fail_half_way)


@pytest.mark.parametrize("stage", ["simcse", "finetune"])
def test_at_one_example_a_pass_the_trial_fails_with_cause_oom(
    stage: str, memory: Memory, configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    leaves = FULL if stage == "simcse" else {}
    memory.training = 1
    trial = Trial(configure(**leaves), materials(tmp_path / "s"), tmp_path / "t")
    with pytest.raises(TrainingFailure) as caught:
        list(trial.run())
    assert caught.value.cause == "oom"
    expected = f"not enough memory for one example a pass at stage {stage}, epoch 1, step 1"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("error", "told"),
    [(ERRORS[1], r"\[enforce fail at .* can't allocate memory"), (MemoryError(), "MemoryError")],
    ids=["cpu", "python"],
)
def test_memory_that_lacks_elsewhere_is_a_failure_of_the_same_cause(
    error: Exception,
    told: str,
    configure: MakeConfig,
    materials: MakeMaterials,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(trial_log, "save_file", fail)
    with pytest.raises(TrainingFailure, match=rf"^out of memory: {told}$") as caught:
        list(Trial(configure(), materials(tmp_path / "s"), tmp_path / "t").run())
    assert caught.value.cause == "oom"


def test_other_errors_of_a_step_are_not_retried(
    memory: Memory, configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    memory.training, memory.error = 15, RuntimeError("shapes do not fit")
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        list(Trial(configure(), materials(tmp_path / "s"), tmp_path / "t").run())
    assert memory.failures == 1


@pytest.mark.parametrize("records_before", [0, 1])
def test_a_trial_continued_where_memory_suffices_takes_the_same_passes(
    records_before: int,
    memory: Memory,
    configure: MakeConfig,
    materials: MakeMaterials,
    finish: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """With dropout on, where other passes have other masks; interrupted in the step after the split, or after an epoch."""
    config = configure()
    memory.training, memory.scoring = 15, 20
    whole = finish(config, "whole")
    assert [record["micro_batch"] for record in history(whole)] == [4, 4]
    assert all("evaluation_tokens" in record for record in history(whole))
    folder = tmp_path / "cut"
    run = Trial(config, materials(tmp_path / "cut-store"), folder).run()
    if records_before:
        next(run)
        memory.scoring = sys.maxsize
    else:  # the first step takes six passes, of which two fail
        memory.interrupted_at = memory.passes + 8
        with pytest.raises(KeyboardInterrupt):
            next(run)
        assert (folder / SPLITS).exists() and not (folder / "history.jsonl").exists()
    run.close()  # type: ignore[attr-defined]
    memory.training = sys.maxsize
    list(Trial(config, materials(tmp_path / "cut-store"), folder).run())
    assert_same_end(whole, folder)


def test_a_trial_whose_notes_of_splits_are_lost_starts_over(
    memory: Memory,
    configure: MakeConfig,
    materials: MakeMaterials,
    finish: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Else its epochs would be trained in passes of different sizes, as in no undisturbed run."""
    config, folder = configure(), tmp_path / "cut"
    memory.training = 15
    run = Trial(config, materials(tmp_path / "cut-store"), folder).run()
    next(run)
    run.close()  # type: ignore[attr-defined]
    (folder / SPLITS).unlink()
    memory.training = sys.maxsize
    again = Trial(config, materials(tmp_path / "cut-store"), folder)
    list(again.run())
    assert again.found == 0
    assert_same_end(finish(config, "whole"), folder)


def test_scoring_goes_on_in_smaller_batches_with_the_same_result(
    memory: Memory, configure: MakeConfig, finish: Callable[..., Path]
) -> None:
    config = configure(**FULL)
    whole = finish(config, "whole")
    memory.scoring = 3
    split = finish(config, "split")
    assert memory.failures > 0
    for record, expected in zip(history(split), history(whole), strict=True):
        tokens = record.pop("evaluation_tokens", None)
        assert (tokens is not None) == ("geometry" in record or "select" in record)
        if "geometry" in record:
            assert record["geometry"] == pytest.approx(expected["geometry"], rel=1e-4)
        if "select" in record:
            assert record["dev"] == pytest.approx(expected["dev"], abs=1e-4)
    left, right = weights(whole), weights(split)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_scoring_that_fails_at_one_example_is_a_failure_with_cause_oom(
    memory: Memory, configure: MakeConfig, materials: MakeMaterials, tmp_path: Path
) -> None:
    memory.scoring = 0
    with pytest.raises(TrainingFailure) as caught:
        list(Trial(configure(), materials(tmp_path / "s"), tmp_path / "t").run())
    assert caught.value.cause == "oom"
    assert str(caught.value) == "not enough memory to score one example a batch at stage finetune, epoch 1"


@pytest.mark.parametrize(
    ("room", "enough_for", "published"),
    [
        (sys.maxsize, 0, [True, True, True]),
        (50, 0, [False, False, False]),
        (50, 7, [True, False, False]),
        (40, 14, [True, True, False]),
    ],
    ids=["never", "simcse", "its second epoch", "the stage after it"],
)
def test_a_stage_that_was_split_is_not_published_nor_what_is_trained_on_it(
    room: int,
    enough_for: int,
    published: list[bool],
    memory: Memory,
    configure: MakeConfig,
    materials: MakeMaterials,
    tmp_path: Path,
) -> None:
    """Its dropout masks are not those that its key stands for. SimCSE has 64 sequences a step, the next stage 48."""
    memory.training, memory.enough_for = room, enough_for
    stage = {"kind": "multitask", "epochs": 1, "batch_size": 16}
    leaves = {**FULL, "stages__first": stage, "stages__finetune__epochs": 1}
    config = configure(**leaves, recipe=["simcse", "first", "finetune"])
    given = materials(tmp_path / "store")
    list(Trial(config, given, tmp_path / "t").run())
    keys = [stage_key(config, "simcse", 1), stage_key(config, "simcse", 2), stage_key(config, "first", 1)]
    assert [given.store.get(key) is not None for key in keys] == published


def test_a_step_for_which_the_process_really_has_no_memory_is_taken_in_halves(
    tiny_encoder: Path, corpus_folder: Path, tmp_path: Path
) -> None:
    """A limit on the address space lies between what the whole step needs and what half of it does."""
    script = Path(__file__).with_name("short_of_memory.py")
    malloc = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(script), str(tiny_encoder), str(corpus_folder), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **malloc, "PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["half"] < 0.7 * told["whole"], "the measurement does not tell them apart"
    assert told["micro_batch"] == 2048
    assert told["short_loss"] == pytest.approx(told["loss"], rel=1e-4)
    assert told["difference"] < 1e-4
