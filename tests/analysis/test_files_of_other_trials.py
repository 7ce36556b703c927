"""Predictions and histories that belong to another trial, or lost their seal, are left out and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from analysis import report
from analysis.study import load
from minbert.files.sealed import CHECKSUMS, seal_folder, sealed_line, unsealed_line
from tests.analysis.conftest import StudyWriter

HEAD = "tasks.sts.head.kind"


@pytest.fixture
def study(new_study: Callable[..., StudyWriter]) -> Path:
    """Two trials whose files say whose they are, as a search writes them."""
    writer = new_study(examples=40, factors=[{"path": HEAD, "levels": ["cosine", "cross"]}])
    for level in ("cosine", "cross"):
        writer.add(TrialState.COMPLETE, {HEAD: level})
    for number, config_id, seed in (
        load(writer.path).trials[["number", "config_id", "seed"]].itertuples(index=False)
    ):
        folder = writer.path / "trials" / f"{number:05d}"
        seal_folder(folder / "predictions", f"{config_id} {seed}")
        records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        lines = [sealed_line({"of": f"{config_id} {seed}", **record}) + b"\n" for record in records]
        (folder / "history.jsonl").write_bytes(b"".join(lines))
    return writer.path


def test_whole_files_are_used(study: Path) -> None:
    loaded = load(study)
    assert set(loaded.predictions("sst")["number"]) == {0, 1}
    assert not loaded.damage


def test_predictions_of_another_trial_are_left_out(study: Path) -> None:
    first, second = (study / "trials" / name / "predictions" for name in ("00000", "00001"))
    shutil.rmtree(second)
    shutil.copytree(first, second)
    loaded = load(study)
    assert set(loaded.predictions("sst")["number"]) == {0}
    (line,) = loaded.damage
    assert "00001/predictions/sst.parquet: its files belong to another run; left out" in line


def test_predictions_that_are_gone_are_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = study / "trials" / "00001" / "predictions" / "sst.parquet"
    file.unlink()
    assert report.main([str(study)]) == 0
    assert capsys.readouterr().err == f"warning: {file}: is gone; left out\n"


def test_predictions_without_their_seal_are_left_out(study: Path) -> None:
    (study / "trials" / "00001" / "predictions" / CHECKSUMS).unlink()
    loaded = load(study)
    assert set(loaded.predictions("sst")["number"]) == {0}
    assert f"{CHECKSUMS} is missing" in loaded.damage[0]


def test_a_history_of_another_trial_is_left_out(study: Path) -> None:
    shutil.copy(study / "trials" / "00000" / "history.jsonl", study / "trials" / "00001" / "history.jsonl")
    loaded = load(study)
    assert set(loaded.history["number"]) == {0}
    assert "00001/history.jsonl: an epoch belongs to another run; left out" in loaded.damage[0]


def _drop_last_epoch(history: Path) -> None:
    history.write_bytes(b"".join(history.read_bytes().splitlines(keepends=True)[:-1]))


def _change_last_score(history: Path) -> None:
    *others, last = history.read_bytes().splitlines(keepends=True)
    record = unsealed_line(last.rstrip())
    record["select"]["score"] += 1e-9
    history.write_bytes(b"".join([*others, sealed_line(record) + b"\n"]))


def _drop_last_stage(history: Path) -> None:
    history.write_bytes(history.read_bytes().splitlines(keepends=True)[0])


def _drop_all(history: Path) -> None:
    history.write_bytes(b"")


@pytest.mark.parametrize("change", [_drop_last_epoch, _change_last_score, _drop_last_stage, _drop_all])
def test_a_trial_that_was_trained_anew_beside_its_study_is_left_out(
    change: Callable[[Path], None], study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its history and predictions are then of other epochs than what the journal says of it."""
    change(study / "trials" / "00001" / "history.jsonl")
    loaded = load(study)
    assert set(loaded.predictions("sst")["number"]) == {0}
    assert set(loaded.history["number"]) == {0}
    assert loaded.damage == [
        f"{study}/trials/00001/history.jsonl: does not end as the journal says (epoch 3); left out",
        f"{study}/trials/00001/predictions/sst.parquet: its history does not end as the journal says; left out",
    ]
    report.main([str(study)])
    assert "00001/history.jsonl: does not end as the journal says" in capsys.readouterr().err


def test_two_trials_that_were_exchanged_whole_are_both_left_out(study: Path) -> None:
    first, second = (study / "trials" / name for name in ("00000", "00001"))
    first.rename(study / "aside")
    second.rename(first)
    (study / "aside").rename(second)
    loaded = load(study)
    assert loaded.history.empty
    assert loaded.predictions("sst").empty
    assert len(loaded.damage) == 4  # two histories, two predictions


def test_a_trial_that_was_only_just_created_takes_nothing_from_the_others(
    new_study: Callable[..., StudyWriter],
) -> None:
    """It has no seed yet, and seeds have 63 bits."""
    seed = 2**62 + 12345
    writer = new_study(examples=40, factors=[{"path": HEAD, "levels": ["cosine", "cross"]}])
    writer.add(TrialState.COMPLETE, {HEAD: "cosine"}, seed=seed)
    writer.journal.ask()
    folder = writer.path / "trials" / "00000"
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    (folder / "history.jsonl").write_bytes(
        b"".join(sealed_line({"of": f"c0 {seed}", **record}) + b"\n" for record in lines)
    )
    seal_folder(folder / "predictions", f"c0 {seed}")
    loaded = load(writer.path)
    assert loaded.trials["seed"].iloc[0] == seed
    assert len(loaded.history) == len(lines)
    assert set(loaded.predictions("sst", [0])["number"]) == {0}
    assert not loaded.damage
