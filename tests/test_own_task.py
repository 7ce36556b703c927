"""docs/own-task.md as a newcomer follows it, in an empty folder; and what else a task of one's own may bring."""

from __future__ import annotations

import csv
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from analysis.study import load
from minbert import command_line
from minbert.bundled import CORPUS, ENCODER
from minbert.canonical import config_id
from minbert.checkpoint import open_encoder
from minbert.config import TrainConfig, build_config, content_of
from minbert.corpora.reader import Corpus, read_corpus
from minbert.data_checks import check_data
from minbert.errors import UserError
from minbert.files.durable import read_json_lines
from minbert.history import summarise
from minbert.model import build_model
from minbert.sources import resolve
from minbert.yaml_reader import dump_yaml, load_config

PAGE = (Path(__file__).parent.parent / "docs" / "own-task.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
YAML = [text for language, text in BLOCKS if language == "yaml"]
PINNED = "device: cpu\nprecision: fp32\nthreads: 1\n"
"""Beside what the page says: to find these out takes longer than to train."""
COMMANDS = [shlex.split(line) for language, text in BLOCKS if not language for line in text.splitlines()]


def run(command: list[str]) -> int:
    """Run a command of the page in this process, but the search in one of its own, as it starts Ray."""
    module, arguments = command[2], command[3:]
    assert command[:2] == ["python", "-m"]
    if module == "trainables.search":
        return subprocess.run([sys.executable, *command[1:]], check=False).returncode
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [module, *arguments])
        return command_line.run(importlib.import_module(module).main)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which every step of the page was taken."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for name in ("MINBERT_DATA", "MINBERT_RESULTS", "MINBERT_GPUS_PER_TRIAL", "RAY_ADDRESS"):
            patched.delenv(name, raising=False)
        torch.set_num_threads(1)
        exec(compile(PYTHON[0], "make_reviews.py", "exec"), {})
        Path("reviews.yaml").write_text(YAML[0] + PINNED, encoding="utf-8")
        for command in COMMANDS:
            assert run(command) == 0, command
    return folder


@pytest.mark.long
def test_the_page_is_followed_to_its_end(followed: Path) -> None:
    assert len(COMMANDS) == 7
    assert (followed / "again" / "history.jsonl").is_file()


@pytest.mark.long
def test_the_task_is_in_every_frame_of_the_study_and_in_the_report(followed: Path) -> None:
    study = load(followed / "results" / "look")
    assert list(study.tasks) == ["sst", "qqp", "sts", "reviews"]
    done = study.trials[study.trials["state"] == "complete"]
    assert len(done) and done["report/reviews"].between(0, 1).all()
    stored = study.predictions("reviews", [int(done["number"].iloc[0])])
    assert stored["split"].value_counts().to_dict() == {"dev": 28, "test": 12}
    assert set(stored.loc[stored["split"] == "dev", "label"]) == {0.0, 1.0}
    assert "tasks.reviews.head.hidden_layers" in study.trials
    report = (study.path / "report.md").read_text(encoding="utf-8")
    assert re.search(r"\| sst \| qqp \| sts \| reviews \|", report)


@pytest.mark.long
def test_the_ensemble_hands_in_a_file_for_the_task(followed: Path) -> None:
    folder = followed / "handed-in" / "predictions"
    assert len(list(folder.iterdir())) == 8
    frame = pd.read_csv(
        folder / "reviews-test-output.csv", sep=r"\s*,\s*", skiprows=1, header=None, engine="python"
    )
    assert len(frame) == 12 and set(frame[1]) <= {0, 1}


@pytest.mark.long
def test_the_trial_is_repeated_with_the_same_scores(followed: Path) -> None:
    first, again = (
        summarise(read_json_lines(folder / "history.jsonl")).metrics
        for folder in (followed / "results/look/trials/00000", followed / "again")
    )
    assert first == again


def test_the_second_example_of_the_page_is_a_configuration() -> None:
    config = build_config(yaml.safe_load(YAML[1]))
    assert list(config.tasks) == ["sst", "qqp", "claims", "stars", "cfimdb"]
    assert config.tasks["claims"].ordered
    assert config.tasks["stars"].files == {"train": "voted.csv", "dev": "voted_later.csv"}


# What follows looks at parts of the way with files of other kinds.

Rows = list[list[Any]]
REVIEWS = {"kind": "binary", "text": ["review"], "label": "verdict", "head": {"kind": "linear"}}
ALONE = {"sst": None, "qqp": None, "sts": None}


def rows(count: int = 20, labels: tuple[Any, Any] = (0, 1)) -> Rows:
    return [["review", "verdict"], *([f"film, number {at}", labels[at % 2]] for at in range(count))]


def write(path: Path, content: Rows, separator: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(content)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Corpus]:
    """Read a folder with the same rows as train and dev of the only task."""

    def reader(content: Rows, separator: str = ",", **leaves: Any) -> Corpus:
        for split in ("train", "dev"):
            write(tmp_path / f"my {split}.csv", content, separator)
        return read_corpus(tmp_path, build_config({"tasks": {**ALONE, "mine": {**REVIEWS, **leaves}}}).tasks)

    return reader


def test_commas_and_tabs_separate_alike(read: Callable[..., Corpus]) -> None:
    with_commas, with_tabs = read(rows()), read(rows(), "\t")
    assert with_commas.fingerprint == with_tabs.fingerprint
    assert with_commas.splits["mine"]["dev"].texts[0][3] == "film, number 3"


@pytest.mark.parametrize(
    ("leaves", "labels"),
    [
        ({"labels": ["bad", "good"]}, ("bad", "good")),
        ({"labels": [-1, 1]}, (-1, 1)),
        ({"kind": "classification", "labels": [1, 2]}, (1, 2)),
    ],
)
def test_labels_are_named_in_the_order_of_the_classes(
    read: Callable[..., Corpus], leaves: dict[str, Any], labels: tuple[Any, Any]
) -> None:
    assert read(rows(labels=labels), **leaves).fingerprint == read(rows()).fingerprint


@pytest.mark.parametrize(
    ("leaves", "content", "wanted"),
    [
        ({}, rows(labels=("bad", "good")), r"my train\.csv, line 2: verdict 'bad' is not 0 or 1; .*`labels`"),
        ({"labels": ["bad", "fine"]}, rows(labels=("bad", "good")), "'good' is not 'bad' or 'fine'"),
        (
            {},
            [["review;verdict"], ["a;1"]],
            r"my train\.csv ignored: .*\('review;verdict'\): separated by semicolons; tabs or commas are read",
        ),
    ],
)
def test_a_label_or_a_header_that_does_not_fit_is_told(
    read: Callable[..., Corpus], leaves: dict[str, Any], content: Rows, wanted: str
) -> None:
    with pytest.raises(UserError, match=wanted):
        read(content, **leaves)


@pytest.mark.parametrize(
    ("leaves", "wanted"),
    [
        ({"labels": ["a", "b", "c"]}, "labels a, b, c are not 2 different ones"),
        ({"labels": ["a", "a"]}, "labels a, a are not 2 different ones"),
        ({"labels": ["a", "b", "a"]}, "labels a, b, a are not 2 different ones"),
        ({"kind": "classification", "labels": ["a", "b", "a"]}, "labels a, b, a are not 3 different ones"),
        ({"kind": "classification", "labels": ["a"]}, "labels a are not 2 different ones"),
        (
            {"kind": "classification", "classes": 2, "labels": ["a", "b", "c"]},
            "labels a, b, c are not 2 different ones, as classes says: write classes: 3, or name 2 labels",
        ),
        (
            {"kind": "classification", "classes": 4, "labels": ["a", "b", "c"]},
            "labels a, b, c are not 4 different ones, as classes says: write classes: 3, or name 4 labels",
        ),
        ({"kind": "regression", "labels": ["a", "b"]}, "it needs a classification or binary task"),
    ],
)
def test_labels_that_do_not_fit_the_task_are_refused(leaves: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        build_config({"tasks": {"mine": {**REVIEWS, **leaves}}})


def test_there_are_as_many_classes_as_labels_where_none_are_counted() -> None:
    labels = ["sport", "politics", "science"]
    named, counted = (
        build_config({"tasks": {"mine": {**REVIEWS, "kind": "classification", "labels": labels, **more}}})
        for more in ({}, {"classes": 3})
    )
    assert named == counted and named.tasks["mine"].class_count == 3
    assert TrainConfig.model_validate(named.model_dump(mode="json")) == named


@pytest.mark.parametrize("more", [{"labels": ["n", "y"]}, {"ordered": True}])
def test_what_only_the_tables_read_changes_nothing_of_what_is_trained(more: dict[str, Any]) -> None:
    classes = {**REVIEWS, "kind": "classification"}
    plain, told = (build_config({"tasks": {"mine": {**classes, **own}}}) for own in ({}, more))
    assert plain != told and config_id(plain) == config_id(told)


def test_of_the_default_tasks_the_classes_are_in_order_and_of_others_where_it_is_said() -> None:
    tasks = build_config({"tasks": {"mine": {**REVIEWS, "kind": "classification"}}}).tasks
    assert tasks["sst"].ordered and not tasks["mine"].ordered


def test_the_courses_two_review_sets_lie_in_one_folder(tmp_path: Path) -> None:
    for number, (name, classes) in enumerate((("sst", 5), ("cfimdb", 2))):
        for split in ("train", "dev", "test"):
            content = [[f"{name}{at}", f"film {at}", (at + number) % classes] for at in range(20)]
            header = ["id", "sentence", "sentiment"]
            kept = [row[: 3 - (split == "test")] for row in [header, *content]]
            write(tmp_path / f"ids-{name}-{split}{'-student' * (split == 'test')}.csv", kept, "\t")
    cfimdb = {"kind": "binary", "text": ["sentence"], "label": "sentiment", "head": {"kind": "linear"}}
    tasks = build_config({"tasks": {"qqp": None, "sts": None, "cfimdb": cfimdb}}).tasks
    corpus = read_corpus(tmp_path, tasks)
    assert corpus.notes == ()
    for name in ("sst", "cfimdb"):
        assert all(split.ids[0] == f"{name}0" for split in corpus.splits[name].values())
        assert len(corpus.splits[name]) == 3


def test_names_for_labels_that_are_numbers_are_refused_with_the_reason(tmp_path: Path) -> None:
    for name, classes in (("sst", 5), ("cfimdb", 2)):
        for split in ("train", "dev"):
            content = [[f"{name}{at}", f"film {at}", at % classes] for at in range(20)]
            write(tmp_path / f"ids-{name}-{split}.csv", [["id", "sentence", "sentiment"], *content], "\t")
    cfimdb = {
        "kind": "binary",
        "text": ["sentence"],
        "label": "sentiment",
        "labels": ["negative", "positive"],
    }
    tasks = build_config(
        {"tasks": {"qqp": None, "sts": None, "cfimdb": {**cfimdb, "head": {"kind": "linear"}}}}
    ).tasks
    told = "ignored: its name speaks of cfimdb, but its sentiment '0' is not 'negative' or 'positive'"
    with pytest.raises(UserError, match=f"no train file for task 'cfimdb'.* ids-cfimdb-train.csv {told}"):
        read_corpus(tmp_path, tasks)


def test_a_name_of_several_words_is_found_in_a_files_name(tmp_path: Path) -> None:
    for task in ("movie_reviews", "book-reviews"):
        for split in ("train", "dev"):
            write(tmp_path / f"{task.replace('_', '-')}.{split}.csv", rows(20 if task[0] == "m" else 10))
    corpus = read_corpus(
        tmp_path, build_config({"tasks": {**ALONE, "movie_reviews": REVIEWS, "book-reviews": REVIEWS}}).tasks
    )
    assert {name: len(splits["dev"]) for name, splits in corpus.splits.items()} == {
        "movie_reviews": 20,
        "book-reviews": 10,
    }


@pytest.mark.parametrize("name", ["keys", "type", "train", "forward", "half"])
def test_a_task_may_be_called_as_torchs_methods_are(name: str) -> None:
    config = build_config({"tasks": {**ALONE, name: REVIEWS}})
    files = open_encoder(ENCODER)
    model = build_model(config, files.config, files.weights())
    assert any(parameter.startswith(f"heads.{name}.") for parameter, _ in model.named_parameters())
    assert f"{name}.output.weight" in model.heads.state_dict()


def test_names_that_differ_in_capitals_alone_are_refused() -> None:
    with pytest.raises(ValueError, match="sst and SST differ in capitals alone"):
        build_config({"tasks": {"SST": REVIEWS}})


def test_a_dev_set_too_small_for_two_halves_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", rows())
    write(tmp_path / "dev.csv", rows(1))
    config = build_config({"tasks": {**ALONE, "mine": REVIEWS}})
    sources = resolve(str(tmp_path), str(ENCODER), config.tasks)
    with pytest.raises(UserError, match="the dev file of mine has 1 row with text and label, too few or"):
        check_data([config], sources)
    check_data([config.model_copy(update={"selection": "dev"})], sources)


def test_a_default_task_that_was_left_out_does_not_come_back_from_the_record_of_a_run(tmp_path: Path) -> None:
    config = build_config({"tasks": {"sts": None}, "stages": {"simcse": None}, "recipe": ["finetune"]})
    pinned = config.model_copy(update={"data": config.data.model_copy(update={"fingerprint": "1234"})})
    record = tmp_path / "config.yaml"
    record.write_text(dump_yaml(pinned.model_dump(mode="json", exclude_none=True)))
    assert load_config(record) == pinned
    assert build_config(content_of(config)) == config
    record.write_text(
        "tasks: {sts: null}\ndata: {fingerprint: '1234'}\n"
    )  # a part of one goes over the defaults
    assert load_config(record) == TrainConfig.model_validate(
        {
            "data": {"fingerprint": "1234"},
            "tasks": {k: v for k, v in TrainConfig().tasks.items() if k != "sts"},
        }
    )


def test_two_tasks_may_read_one_file(tmp_path: Path) -> None:
    table = [["review", "verdict", "stars"], *([f"film {at}", at % 2, 1 + at % 5] for at in range(20))]
    write(tmp_path / "all.csv", table)
    stars = {**REVIEWS, "kind": "regression", "label": "stars", "label_range": [1, 5]}
    files = {"files": {"train": "all.csv", "dev": "all.csv"}}
    tasks = build_config(
        {"tasks": {**ALONE, "verdicts": {**REVIEWS, **files}, "stars": {**stars, **files}}}
    ).tasks
    labels = {name: splits["dev"].labels for name, splits in read_corpus(tmp_path, tasks).splits.items()}
    assert labels["verdicts"].max() == 1 and labels["stars"].max() == 5


def test_the_bundled_corpus_is_read_as_before() -> None:
    assert read_corpus(CORPUS, TrainConfig().tasks).notes == ()
