"""What data and encoder cannot serve is refused before a folder is made."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minbert.config import TrainConfig, build_config
from minbert.corpora.texts import texts_needed
from minbert.data_checks import check_data
from minbert.errors import UserError
from minbert.sources import resolve

Check = Callable[..., None]


@pytest.fixture
def check(corpus_folder: Path, tiny_encoder: Path, tmp_path: Path) -> Check:
    """Check a configuration on a copy of the small corpus that an edit has changed."""

    def run(partial: dict[str, Any], edit: Callable[[Path, Path], None] | None = None) -> None:
        data, encoder = tmp_path / "data", tmp_path / "encoder"
        shutil.copytree(corpus_folder, data, dirs_exist_ok=True)
        shutil.copytree(tiny_encoder, encoder, dirs_exist_ok=True)
        if edit is not None:
            edit(data, encoder)
        config: TrainConfig = build_config({"max_length": 64, **partial})
        check_data([config], resolve(str(data), str(encoder), config.tasks, None, texts_needed(config)))

    return run


def rewrite(file: Path, change: Callable[[list[list[str]]], list[list[str]]]) -> None:
    with file.open(encoding="utf-8", newline="") as source:
        rows = list(csv.reader(source, delimiter="\t"))
    with file.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target, delimiter="\t", lineterminator="\n").writerows(change(rows))


def label_all(task_file: str, label: str) -> Callable[[Path, Path], None]:
    def edit(data: Path, encoder: Path) -> None:
        rewrite(data / task_file, lambda rows: [rows[0], *([*row[:-1], label] for row in rows[1:])])

    return edit


def keep_rows(count: int) -> Callable[[Path, Path], None]:
    def edit(data: Path, encoder: Path) -> None:
        rewrite(data / "quora-train.csv", lambda rows: rows[: count + 1])

    return edit


def without_mask(data: Path, encoder: Path) -> None:
    vocabulary = (encoder / "vocab.txt").read_text().replace("[MASK]", "[MASKED]")
    (encoder / "vocab.txt").write_text(vocabulary)


def one_sentence(data: Path, encoder: Path) -> None:
    (data / "sentences.txt").write_text("ba be\nba be\n")


def same_beginning(data: Path, encoder: Path) -> None:
    (data / "sentences.txt").write_text("ba be ba\nba be bo\n")


def unknown_words(data: Path, encoder: Path) -> None:
    """Two texts that the vocabulary does not tell apart."""
    (data / "sentences.txt").write_text("☃\n☂\n")


RANKING = {
    "tasks": {"sts": {"head": {"kind": "cosine"}}},
    "stages": {"finetune": {"mnr": {"tasks": ["sts"]}}},
}
NEEDS: list[tuple[dict[str, Any], Callable[[Path, Path], None], str]] = [
    (
        RANKING,
        label_all("sts-train.csv", "2.0"),
        "stages.finetune.mnr.tasks: sts has 0 positive training pair",
    ),
    (
        {"stages": {"supervised": {"epochs": 1, "task": "qqp"}}},
        label_all("quora-train.csv", "0.0"),
        "stages.supervised.task: qqp has 0 positive training pair",
    ),
    ({"selection": "train_holdout"}, keep_rows(2), "the 2 training examples of qqp leave none to hold out"),
    (
        {"stages": {"simcse": {"epochs": 1, "mlm_weight": 0.5}}},
        without_mask,
        r"stages.simcse.mlm_weight 0.5 needs \[MASK\]",
    ),
    (
        {"stages": {"simcse": {"epochs": 1, "text": "sentences"}}},
        one_sentence,
        "stages.simcse: there are not two training sentences that differ in their first 32 tokens",
    ),
    (
        {"stages": {"simcse": {"epochs": 1, "text": "sentences", "max_length": 4}}},
        same_beginning,
        "differ in their first 4 tokens",
    ),
    (
        {"stages": {"simcse": {"epochs": 1, "text": "sentences"}}},
        unknown_words,
        "differ in their first 32 tokens",
    ),
]


def turns(kind: str, **leaves: Any) -> dict[str, Any]:
    return {"stages": {"finetune": {"sampler": {"kind": kind}, **leaves}}}


@pytest.mark.parametrize(
    ("partial", "message"),
    [
        (
            turns("round_robin", epoch_examples=32),
            "stages.finetune.epoch_examples 32 does not go with sampler.kind 'round_robin': an epoch has 1 step",
        ),
        (turns("sequential", epochs=0.2), r"epochs 0.2 does not go with .* 'qqp' never has its turn"),
        (turns("sequential", epochs=0.2, epoch_examples=999), r"epochs 0.2 does not go with"),
        (turns("round_robin", epochs=0.5, epoch_examples=96), r"epochs 0.5 does not go with"),
    ],
)
def test_an_epoch_in_which_a_task_never_has_its_turn_is_refused(
    partial: dict[str, Any], message: str, check: Check
) -> None:
    with pytest.raises(UserError, match=message):
        check(partial)


def test_a_warm_up_that_nothing_comes_after_is_refused(check: Check) -> None:
    steps = {"epoch_steps": 6, "epochs": 2}
    with pytest.raises(
        UserError, match=r"warmup_steps 12 does not go with stages.finetune.epochs 2: .* about 12"
    ):
        check(turns("random", **steps, warmup_steps=12))
    check(turns("random", **steps, warmup_steps=11))
    check({**turns("random", **steps, warmup_steps=12), "fidelity": 0.5})


@pytest.mark.parametrize(
    "partial",
    [
        turns("round_robin", epoch_examples=65),
        turns("round_robin", epochs=0.9, epoch_examples=96),
        turns("sequential", epochs=1.1),
        turns("proportional", epoch_examples=32),
        {**turns("sequential", epoch_examples=32), "fidelity": 0.001},
    ],
    ids=str,
)
def test_an_epoch_in_which_every_task_has_a_turn_is_taken(partial: dict[str, Any], check: Check) -> None:
    check(partial)


@pytest.mark.parametrize(("partial", "edit", "message"), NEEDS, ids=[message for _, _, message in NEEDS])
def test_what_a_stage_needs_is_missed_by_name(
    partial: dict[str, Any], edit: Callable[[Path, Path], None], message: str, check: Check
) -> None:
    with pytest.raises(UserError, match=message):
        check(partial, edit)


@pytest.mark.parametrize("partial", [partial for partial, _, _ in NEEDS[:4]], ids=str)
def test_the_same_configurations_are_served_by_the_whole_corpus(
    partial: dict[str, Any], check: Check
) -> None:
    check(partial)
