"""Models taken out of a study: what others load, what they predict, what their card says."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sentence_transformers import SentenceTransformer
from transformers import BertModel, BertTokenizer

from analysis.scoring import metric
from analysis.study import load
from analysis.tables import compute_tables
from minbert import command_line
from minbert.bundled import CORPUS, ENCODER
from minbert.canonical import run_name
from minbert.config import build_config
from minbert.corpora.tokenised import open_tokenised, tokenised
from minbert.errors import UserError
from minbert.exported import open_exported
from minbert.files import failpoints
from minbert.files.sealed import owner, seal_folder, sealed_line, unsealed_line
from minbert.sources import resolve
from minbert.stages import LocalStageStore
from minbert.trial import Materials, Trial
from minbert.yaml_reader import load_config
from trainables.designs.sampler import build_sampler
from trainables.export import main
from trainables.exporting.constant_answers import constant_tasks
from trainables.exporting.exported_models import Told, find_models
from trainables.exporting.model_card import Card, card_text
from trainables.spaces.space import load_space
from trainables.studies.ledger import Ledger
from trainables.studies.study import make_folder, pinned_sources
from trainables.studies.study_description import described_plan, described_study

NUMERICS = {"device": "cpu", "precision": "fp32", "threads": 1}
SPACE = """
description: A study whose models are taken out
search: {sampler: random, trials: 4}
max_length: 16
pooling: {choice: [mean, cls, pooler]}
shared_layer: {choice: [none, all]}
checkpoint: {choice: [score, task]}
tasks: {sts: {head: {kind: cosine}}}
stages:
  simcse: {epochs: 0}
  supervised: {epochs: 0}
  finetune: {epochs: 2, epoch_examples: 48, learning_rate: 0.001}
"""
MEAN, POOLER, EACH_TASKS_OWN, FAILED = range(4)
SENTENCES = ["The pacing is usual .", "café ÉCOLE 北京 !!", "The " + "soundtrack " * 60 + ".", "x"]
SIZES = {"train": 40, "dev": 30, "test": 9}
Export = Callable[..., Path]
Exported = Callable[[str | int], Path]


def small_data(folder: Path) -> Path:
    """The first lines of the bundled corpus."""
    folder.mkdir()
    for file in CORPUS.glob("*-*.csv"):
        lines = file.read_text(encoding="utf-8").splitlines()
        count = next(size for split, size in SIZES.items() if split in file.name)
        (folder / file.name).write_text("\n".join(lines[: count + 1]) + "\n", encoding="utf-8")
    return folder


class Trained:
    """A study of three complete trials and a failed one, trained without Ray."""

    def __init__(self, folder: Path) -> None:
        (folder / "space.yaml").write_text(SPACE)
        space = load_space(str(folder / "space.yaml"))
        sources = resolve(str(small_data(folder / "data")), str(ENCODER), space.example().tasks)
        self.path, self.sources = folder / "study", sources
        pinned = {**pinned_sources(sources), **NUMERICS}
        described = {**described_study(space, sources, 0, "a command"), **NUMERICS}
        study = make_folder(self.path, {**described, **described_plan(space, pinned)})
        corpus = tokenised(sources.corpus, space.example().tasks, sources.encoder, self.path / "corpus")
        store = LocalStageStore(self.path / "stages")
        self.materials = Materials(open_tokenised(corpus), sources.encoder, sources.encoder.weights(), store)
        ledger = Ledger(study.journal(build_sampler(space, 0, 0)), space, pinned, 0)
        for pooling, shared, checkpoint in (
            ("mean", "none", "score"), ("pooler", "all", "score"), ("cls", "none", "task"), ("cls", "all", "score"),
        ):  # fmt: skip
            ledger._study.enqueue_trial(
                {"pooling": pooling, "shared_layer": shared, "checkpoint": checkpoint}
            )
            issue = ledger.next()
            assert issue is not None
            if issue.number == FAILED:
                ledger.finish(issue.number, "failed", "nan", "the loss is nan")
                continue
            for record in Trial(issue.config, self.materials, study.trial(issue.number)).run():
                ledger.report(issue.number, record)
            ledger.finish(issue.number, "complete")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    torch.set_num_threads(1)
    return Trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def export(trained: Trained, tmp_path: Path) -> Export:
    """Export from the study, or from the one named, into a new folder."""

    def call(trial: str | int, *more: str, study: Path | None = None, to: str = "out") -> Path:
        main([str(study or trained.path), "--trial", str(trial), "--to", str(tmp_path / to), *more])
        return tmp_path / to

    return call


@pytest.fixture(scope="module")
def exported(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """What was exported, for tests that only read it."""

    @functools.cache
    def call(trial: str | int) -> Path:
        folder = tmp_path_factory.mktemp("exported") / "out"
        main([str(trained.path), "--trial", str(trial), "--to", str(folder)])
        return folder

    return call


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the study, to be damaged."""
    return shutil.copytree(trained.path, tmp_path / "study")


def stored(study: Path, number: int, task: str) -> pd.DataFrame:
    return pd.read_parquet(study / "trials" / f"{number:05d}" / "predictions" / f"{task}.parquet")


def outputs(frame: pd.DataFrame) -> np.ndarray:
    return frame[[name for name in frame if str(name).startswith("output_")]].to_numpy(np.float64)


def examples(trained: Trained, task: str) -> list[tuple[str, ...]]:
    """Texts of dev and test, in the order of the stored predictions."""
    splits = trained.sources.corpus.splits[task]
    return [row for split in ("dev", "test") for row in zip(*splits[split].texts, strict=True)]


@pytest.mark.parametrize(
    ("number", "inner"), [(MEAN, "."), (POOLER, "."), (EACH_TASKS_OWN, f"members/0000{EACH_TASKS_OWN}-sts")]
)
def test_others_load_the_folder_and_give_the_same_vectors(
    exported: Exported, number: int, inner: str
) -> None:
    folder = exported(number) / inner
    ours = open_exported(folder).embed(SENTENCES)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(SENTENCES)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)

    tokens = BertTokenizer.from_pretrained(folder)(SENTENCES[:2], padding=True, return_tensors="pt")
    states = BertModel.from_pretrained(folder)(**tokens)
    pooled = {
        MEAN: (states.last_hidden_state * tokens["attention_mask"][..., None]).sum(1)
        / tokens["attention_mask"].sum(1)[:, None],
        EACH_TASKS_OWN: states.last_hidden_state[:, 0],
    }
    if number in pooled:
        np.testing.assert_allclose(ours[:2], pooled[number].detach().numpy(), atol=2e-5)


@pytest.mark.parametrize("number", [MEAN, POOLER, EACH_TASKS_OWN])
def test_predictions_are_those_that_the_trial_stored(
    trained: Trained, exported: Exported, number: int
) -> None:
    model = open_exported(exported(number))
    for task in ("sst", "qqp", "sts"):
        found = model.predict(task, examples(trained, task))
        np.testing.assert_allclose(found, outputs(stored(trained.path, number, task)), atol=1e-5)


def test_the_ensemble_is_the_reports_and_averages_what_its_members_stored(
    trained: Trained, exported: Exported
) -> None:
    model = open_exported(exported("ensemble"))
    ensembles = compute_tables(load(trained.path)).ensembles
    assert len({number for one in ensembles.values() for number in one.members}) > 1
    for task, one in ensembles.items():
        expected = sum(
            weight * outputs(stored(trained.path, number, task)) for number, weight in one.members.items()
        )
        np.testing.assert_allclose(model.predict(task, examples(trained, task)), expected, atol=1e-5)
    with pytest.raises(UserError, match=r"holds \d models, each with vectors of its own; name one"):
        model.embed(SENTENCES)


def test_the_best_trial_is_exported_and_its_card_has_the_report_scores(
    trained: Trained, exported: Exported
) -> None:
    folder = exported("best")
    trials = load(trained.path).trials
    best = trials.sort_values("score", ascending=False).iloc[0]
    manifest = json.loads((folder / "minbert.json").read_text())
    assert manifest["trials"] == [best["number"]]
    assert {task: one["threshold"] for task, one in manifest["tasks"].items()} == {
        "sst": None, "qqp": 0.5, "sts": None,
    }  # fmt: skip
    card = (folder / "README.md").read_text()
    for task, kind in (("sst", "classification"), ("qqp", "binary"), ("sts", "regression")):
        frame = stored(trained.path, int(best["number"]), task)
        dev = {
            half: frame[(frame["split"] == "dev") & (frame["half"] == half)] for half in ("select", "report")
        }
        values = [
            float(metric(kind, outputs(rows), rows["label"].to_numpy(np.float64))) for rows in dev.values()
        ]
        (row,) = re.findall(rf"^\| {task} \|.*", card, re.MULTILINE)
        assert f"| {values[0]:.3f} | {values[1]:.3f} | " in row
        low, high = map(float, re.findall(r"(-?[\d.]+) to (-?[\d.]+)", row)[0])
        assert low < values[1] < high
    assert f"best select score {best['score']:.3f} of 3 complete trials (4 in all)" in card
    assert "the bundled miniature" in card  # the encoder is
    assert trained.sources.corpus.fingerprint in card
    assert trained.sources.encoder.fingerprint in card
    assert "Overlap of train, dev and test: sst" in card


def answering(study: Path, number: int, task: str, lowest: float, highest: float) -> None:
    """Let a trial have answered with values that rise from one example to the next."""
    folder = study / "trials" / f"{number:05d}" / "predictions"
    run, frame = owner(folder) or "", stored(study, number, task)
    frame["output_0"] = np.linspace(lowest, highest, len(frame))
    frame.to_parquet(folder / f"{task}.parquet")
    seal_folder(folder, run)


def test_a_task_whose_dev_examples_all_get_one_answer_is_named(
    copied: Path, export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(copied, MEAN, "qqp", 0.1, 0.4)
    answering(copied, POOLER, "qqp", 0.1, 0.9)
    answering(copied, MEAN, "sts", 2.5, 2.5)
    for trial, alike in ((MEAN, ["qqp", "sts"]), (POOLER, [])):
        card = (export(trial, study=copied, to=str(trial)) / "README.md").read_text()
        assert re.findall(r"(\w+): every dev example gets the same answer\.", card) == alike
        said = capsys.readouterr().out
        assert re.findall(r"^  (\w+): report .*; constant answer$", said, re.MULTILINE) == alike
    study = load(copied)
    assert constant_tasks(study, {"qqp": {MEAN: 0.1, POOLER: 0.9}}) == []
    assert constant_tasks(study, {"qqp": {MEAN: 0.9, POOLER: 0.1}}) == ["qqp"]


@pytest.mark.parametrize("trial", ["best", "ensemble"])
def test_no_path_of_this_machine_leaves_it(trained: Trained, exported: Exported, trial: str) -> None:
    texts = [file.read_bytes() for file in exported(trial).rglob("*") if file.is_file()]
    assert not any(
        str(trained.path.parent).encode() in text or str(CORPUS.parent).encode() in text for text in texts
    )


def test_the_configuration_in_the_folder_is_the_trials(trained: Trained, exported: Exported) -> None:
    ours = load_config(exported(MEAN) / "config.yaml").model_dump(
        exclude={"data": {"path"}, "encoder": {"path"}}
    )
    theirs = load_config(trained.path / "trials" / "00000" / "config.yaml")
    assert ours == theirs.model_dump(exclude={"data": {"path"}, "encoder": {"path"}})


def test_a_model_that_was_dropped_is_named_with_the_command_that_makes_it_again(
    trained: Trained, copied: Path, export: Export, tmp_path: Path
) -> None:
    shutil.rmtree(copied / "trials" / "00000" / "best")
    with pytest.raises(UserError) as refused:
        export(MEAN, study=copied)
    command = f"python -m minbert.train --config {copied}/trials/00000/config.yaml --out DIR"
    assert f"0; make one again: {command} and name it with --made-again DIR" in str(refused.value)
    assert not (tmp_path / "out").exists()

    with pytest.raises(UserError, match="of another configuration or seed than trial 0"):
        export(MEAN, "--made-again", str(trained.path / "trials" / "00001"), study=copied)
    # The same run in the same folder layout; that training it again gives the same is tested where it is trained.
    again = shutil.copytree(trained.path / "trials" / "00000", tmp_path / "again")
    model = open_exported(export(MEAN, "--made-again", str(again), study=copied))
    found = model.predict("sts", examples(trained, "sts"))
    np.testing.assert_allclose(found, outputs(stored(copied, MEAN, "sts")), atol=1e-5)


@pytest.mark.parametrize(("number", "task"), [(MEAN, ""), (EACH_TASKS_OWN, "qqp")])
def test_a_run_whose_model_is_of_another_epoch_than_the_trials_scores_makes_none_again(
    trained: Trained, copied: Path, export: Export, tmp_path: Path, number: int, task: str
) -> None:
    """As one has it that was interrupted, or that went on where the search had stopped the trial."""
    trial = copied / "trials" / f"{number:05d}"
    again = shutil.copytree(trial, tmp_path / "again")
    shutil.rmtree(trial / "best")
    export(number, "--made-again", str(again), study=copied)
    best = again / "best" / task
    epoch = json.loads((best / "epoch.json").read_text())["epoch"]
    (best / "epoch.json").write_text(json.dumps({"epoch": 7}))
    seal_folder(best, owner(best))
    told = rf"again: its model for {task or 'sst'} is of epoch 7, the scores of trial {number} are of epoch {epoch}; "
    with pytest.raises(UserError, match=f"{told}if this run was interrupted, give its command again"):
        export(number, "--made-again", str(again), study=copied, to="other")
    keep_first_epoch(trial)
    with pytest.raises(UserError, match=r"are of epoch 1; the search stopped it early, and this run went on"):
        export(number, "--made-again", str(again), study=copied, to="other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("number", [MEAN, EACH_TASKS_OWN])
@pytest.mark.parametrize("half", ["select", "report", "dev"])
def test_a_model_made_again_that_does_not_score_what_the_trial_scored_is_none_of_it(
    copied: Path, export: Export, tmp_path: Path, number: int, half: str
) -> None:
    """As the same run ends on another kind of machine, whose sums are rounded otherwise."""
    trial = copied / "trials" / f"{number:05d}"
    again = shutil.copytree(trial, tmp_path / "again")
    shutil.rmtree(trial / "best")
    scored = load(copied).trials.set_index("number").loc[number, f"{half}/score"]
    let_score(again, half, scored + 1e-9)
    export(number, "--made-again", str(again), study=copied)
    let_score(again, half, scored - 0.01)
    with pytest.raises(UserError) as refused:
        export(number, "--made-again", str(again), study=copied, to="other")
    assert f"again: its model has {half}/score {scored - 0.01:.6f}, trial {number} has {scored:.6f}: " in str(
        refused.value
    )
    assert "train it where the study ran, or name another trial" in str(refused.value)
    (again / "history.jsonl").unlink()
    with pytest.raises(
        UserError, match=r"of which its history.jsonl has no scores; give the command of this run again"
    ):
        export(number, "--made-again", str(again), study=copied, to="other")
    assert not (tmp_path / "other").exists()


def let_score(run: Path, half: str, score: float) -> None:
    """Write another score into the last line of a run's history."""
    *earlier, last = (run / "history.jsonl").read_bytes().splitlines()
    record = unsealed_line(last)
    record["chosen"][half]["score"] = score
    (run / "history.jsonl").write_bytes(b"\n".join([*earlier, sealed_line(record), b""]))


def spoil(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("lose", [Path.unlink, spoil], ids=["gone", "damaged"])
@pytest.mark.parametrize(
    ("number", "task", "says"),
    [
        (MEAN, "", r"of epoch 7, the scores of trial 0 are of epoch \d; if this run was interrupted"),
        (EACH_TASKS_OWN, "qqp", "for qqp is of epoch 7, of which its history.jsonl has no scores"),
    ],
)
def test_a_trial_whose_history_is_lost_takes_no_model_of_another_epoch_either(
    copied: Path, export: Export, tmp_path: Path, number: int, task: str, says: str, lose: Callable[[Path], object]
) -> None:  # fmt: skip
    trial = copied / "trials" / f"{number:05d}"
    again = shutil.copytree(trial, tmp_path / "again")
    shutil.rmtree(trial / "best")
    lose(trial / "history.jsonl")
    export(number, "--made-again", str(again), study=copied)
    best = again / "best" / task
    (best / "epoch.json").write_text(json.dumps({"epoch": 7}))
    seal_folder(best, owner(best))
    with pytest.raises(UserError, match=says):
        export(number, "--made-again", str(again), study=copied, to="other")


def test_that_a_trial_was_stopped_early_is_known_without_its_history_too(copied: Path) -> None:
    trial = copied / "trials" / f"{MEAN:05d}"
    told = Told(load(copied).run_names[MEAN], {}, epochs=(1, 1))
    shutil.rmtree(trial / "best")
    (trial / "history.jsonl").unlink()
    with pytest.raises(UserError, match="not kept: trial 0, which was stopped early"):
        find_models(copied, {MEAN: told}, ["sst"])


def test_a_model_that_another_version_trained_is_not_said_to_be_made_again(
    copied: Path, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = copied / "trials" / f"{MEAN:05d}"
    again = shutil.copytree(trial, tmp_path / "again")
    monkeypatch.setattr("minbert.canonical.NUMERICS_VERSION", 2)
    spoil(trial / "best" / "heads.safetensors")
    cause = "it was trained by another version of the program, or the file was changed, so that its model cannot be made again"
    with pytest.raises(UserError, match=rf"damaged: heads.safetensors is not .*: {cause}"):
        export(MEAN, study=copied)
    shutil.rmtree(trial / "best")
    with pytest.raises(UserError, match=rf"not kept: trial 0: its config.yaml .*: {cause}") as refused:
        export(MEAN, study=copied)
    assert "minbert.train" not in str(refused.value)
    seal_folder(again / "best", run_name(load_config(trial / "config.yaml")))
    with pytest.raises(UserError, match=rf"again: is no model of trial 0: its config.yaml .*: {cause}"):
        export(MEAN, "--made-again", str(again), study=copied)


def test_a_trial_that_was_stopped_early_is_not_said_to_be_made_again_by_a_whole_run(
    copied: Path, export: Export
) -> None:
    trial = copied / "trials" / f"{MEAN:05d}"
    shutil.rmtree(trial / "best")
    keep_first_epoch(trial)
    with pytest.raises(
        UserError, match=r"not kept: trial 0, which was stopped early: name another trial; --keep"
    ):
        export(MEAN, study=copied)


def keep_first_epoch(trial: Path) -> None:
    """Leave of a trial's history what a search leaves that stopped it after an epoch."""
    first = (trial / "history.jsonl").read_bytes().splitlines(keepends=True)[0]
    (trial / "history.jsonl").write_bytes(first)


@pytest.mark.parametrize(
    ("trial", "damage", "says"),
    [
        (MEAN, lambda study: spoil(study / "trials/00000/best/heads.safetensors"), "damaged: heads.safetensors is not"),
        (MEAN, lambda study: spoil(study / "trials/00000/best/encoder/model.safetensors"), "make it again: python"),
        (EACH_TASKS_OWN, lambda study: (study / "trials/00002/best/qqp/checksums.json").unlink(), "is missing"),
        (MEAN, lambda study: (study / "trials/00000/config.yaml").write_text("tasks: 3\n"), "config.yaml:1: tasks"),
        (MEAN, lambda study: spoil(study / "trials/00000/config.yaml"), "00000/config.yaml: damaged: its first line"),
        (FAILED, lambda study: None, r"trial 3 is failed \(nan\): only trials that came to an end have a model"),
        (17, lambda study: None, "no trial 17; its trials are 0 to 3"),
        ("ensemble", lambda study: shutil.rmtree(study / "trials"), "no complete trial has stored predictions"),
        ("best", lambda study: (study / "journal.log").unlink(), "trial folders are there, but journal.log is gone"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_told_and_nothing_is_written(
    copied: Path, export: Export, tmp_path: Path, trial: Any, damage: Callable[[Path], object], says: str
) -> None:
    damage(copied)
    with pytest.raises(UserError, match=says):
        export(trial, study=copied)
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--trial", "wurst", "--to", "new"), "--trial: 'wurst': best, ensemble or the number of a trial is needed"),
        (("--trial", "bset", "--to", "new"), "is needed; did you mean 'best'?"),
        (("--trial", "99999999999", "--to", "new"), "best, ensemble or the number of a trial"),
        (("--to", "full"), "--to full: there is something already; name a new or an empty folder"),
        (("--to", "study/trials/00009"), "study/trials holds what the search writes"),
        (("--to", "full/file"), "--to: 'full/file' is not a folder"),
        (("--to", ""), "--to: it is empty"),
        ((), "the following arguments are required: --to"),
        (("--to", "new", "--made-again", "full"), "--made-again full: no run with a model"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], says: str,
) -> None:  # fmt: skip
    (tmp_path / "study").symlink_to(trained.path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert command_line.run(lambda: main(["study", *arguments])) == 2
    errors = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", errors)
    assert says in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "study"]
    assert not (trained.path / "trials" / "00009").exists()


@pytest.mark.parametrize("point", ["out.filled", "README.written"])
def test_an_export_that_is_killed_leaves_nothing_that_looks_whole(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    (tmp_path / point).write_text("")
    monkeypatch.setattr(failpoints, "_ARMED", str(tmp_path))
    child = os.fork()
    if not child:
        export(MEAN)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert open_exported(export(MEAN)).tasks


@pytest.mark.parametrize(
    ("asked_for", "more", "told"), [(24, "", True), (4, "", False), (24, "exhausted: 4\n", False)]
)
def test_an_export_of_an_unfinished_study_says_so_and_its_card_too(
    export: Export, copied: Path, capsys: pytest.CaptureFixture[str], asked_for: int, more: str, told: bool
) -> None:
    spec = yaml.safe_load((copied / "study.yaml").read_text()) | {"trials": asked_for}
    (copied / "study.yaml").write_text(yaml.safe_dump(spec) + more)
    card = (export("best", study=copied) / "README.md").read_text()
    warned = "warning: the study is not finished (4 of 24 trials)\n" in capsys.readouterr().err
    assert warned is told
    assert ("- When it was exported, the study was not finished (4 of 24 trials).\n" in card) is told


def test_what_somebody_else_puts_there_meanwhile_stays(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(content: object) -> str:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").write_text("theirs")
        return "a card"

    monkeypatch.setattr("trainables.export.card_text", meanwhile)
    with pytest.raises(UserError, match="there is something already"):
        export(MEAN)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs"]


def test_the_card_says_what_the_classes_are_called() -> None:
    own = {"kind": "classification", "classes": 3, "labels": ["praise", "complaint", "a question"]}
    layout = {"text": ["text"], "label": "said", "head": {"kind": "linear"}}
    config = build_config({"tasks": {"tickets": {**own, **layout}}})
    text = card_text(Card("a study, trial 0", "", [], [], [["task"]], {0: config}, {}, {}))
    assert "- tickets: the classes are 0 `praise`, 1 `complaint`, 2 `a question`\n" in text
    assert "sst: the classes" not in text


def test_a_changed_card_is_no_damage_but_a_changed_weight_is(export: Export) -> None:
    folder = export(MEAN)
    (folder / "README.md").write_text("My own words")
    assert open_exported(folder).embed(SENTENCES).shape == (4, 96)
    spoil(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"damaged: model.safetensors is not what was written"):
        open_exported(folder)
