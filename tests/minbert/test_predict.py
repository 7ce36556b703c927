"""Predicting with an exported model: the same answers however examples are given, and as the trial stored them."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from minbert import command_line, loaded_model
from minbert.checkpoint import EncoderFiles
from minbert.config import TrainConfig
from minbert.corpora.reader import read_corpus
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.errors import UserError
from minbert.exported import open_exported
from minbert.exported_files import MANIFEST
from minbert.files.sealed import seal_folder
from minbert.predict import main
from tests.minbert.conftest import MakeConfig
from tests.minbert.exporting import train, write_exported, write_several

PAIRS = [("ba be", "bi"), ("co " * 40, "da"), ("fa", "ga ha ban"), ("bo bo bo", "bo bo bo")]
Run = Callable[..., list[str]]


@pytest.fixture(scope="module")
def trained(
    small_corpus: TokenisedCorpus,
    encoder_files: EncoderFiles,
    configure: MakeConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Path, TrainConfig]]:
    """Two trials with different heads."""
    folder = tmp_path_factory.mktemp("trained")
    configs = {
        "first": configure(stages__finetune__epochs=1, shared_layer="pairs"),
        "second": configure(
            stages__finetune__epochs=1,
            tasks__sts__head={"kind": "cosine"},
            tasks__qqp__head={"kind": "two_order"},
            pooling="pooler",
            seed=5,
        ),
    }
    return {
        name: (train(folder / name, config, small_corpus, encoder_files), config)
        for name, config in configs.items()
    }


@pytest.fixture(scope="module")
def folder(trained: dict[str, tuple[Path, TrainConfig]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_exported(tmp_path_factory.mktemp("exported") / "model", *trained["first"])


@pytest.fixture
def predict(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line on the folder; returns the lines it prints."""

    def call(*arguments: str, stdin: str | bytes = "") -> list[str]:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert main([str(folder), *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return call


def written(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return str(folder / name)


def test_arguments_files_and_standard_input_give_the_same_answers(predict: Run, tmp_path: Path) -> None:
    expected = predict("--task", "sts", *(text for pair in PAIRS for text in pair))
    tabs = [f"{first}\t{second}" for first, second in PAIRS]
    commas = [f'"{first}", "{second}"'.replace(", ", ",") for first, second in PAIRS]
    shuffled = ["id\tsimilarity\tsentence2\tsentence1", *(f"n\t0\t{b}\t{a}" for a, b in PAIRS)]
    files = {
        "plain.tsv": "\n".join(tabs),
        "plain.csv": "\n".join(commas) + "\n",
        "named.tsv": "\n".join(["sentence1\tsentence2", *tabs]) + "\n\n",
        "named.csv": "\r\n".join(["sentence1,sentence2", *commas]),
        "course.csv": "\n".join(shuffled),
    }
    assert len(expected) == len(PAIRS)
    for name, content in files.items():
        assert predict("--task", "sts", "--file", written(tmp_path, name, content)) == expected, name
        assert predict("--task", "sts", stdin=content) == expected, name
        assert predict("--task", "sts", "--file", "-", stdin=content) == expected, name
    assert predict("--task", "sts", stdin=b"\xef\xbb\xbf" + files["plain.tsv"].encode()) == expected


def test_sentences_are_read_a_line_each_commas_and_quotes_included(predict: Run, tmp_path: Path) -> None:
    sentences = ["ba, be", '"bi" bo', "co"]
    expected = predict("--task", "sst", *sentences)
    plain = "\n".join(sentences) + "\n"
    assert predict("--task", "sst", stdin=plain + "\n \n") == expected
    assert predict("--task", "sst", "--file", written(tmp_path, "lines.csv", plain)) == expected
    assert (
        predict("--task", "sst", stdin="id\tsentence\n" + "".join(f"1\t{one}\n" for one in sentences))
        == expected
    )
    assert all(re.fullmatch(r"[0-4]\t[01]\.\d{4}", line) for line in expected)


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.txt"])
def test_a_column_in_csv_quotes_is_read_with_its_line_breaks(predict: Run, tmp_path: Path, name: str) -> None:
    sentences = ["ba, be", "bi\nbo", 'co "da"', "fa", '"ga ha"']
    expected = predict("--task", "sst", *sentences)
    path = tmp_path / name
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["sentence"], *([one] for one in sentences)])
    assert predict("--task", "sst", "--file", str(path)) == expected
    assert predict("--task", "sst", stdin=path.read_bytes()) == expected


@pytest.mark.parametrize(
    ("task", "lines"),
    [
        ("sst", ["Superb", "a bad film", "good"]),
        ("sst", ["text", "review", "good"]),
        ("sst", ["Text"]),
        ("sst", ["ba be; bi", "bo; co", "da"]),
        ("sst", ["ba; be"]),
        ("sst", ["Good, bad and ugly", "ba, be"]),
        ("sst", ["ba, be", "bi, bo"]),
        ("sst", ["good , bad", "bi , bo"]),
        ("sst", ["Well, this sentence is it.", "ba, be"]),
        ("sst", ['"Ba be,', 'bi bo."']),
        ("sts", ["cat,dog", "car,bus"]),
        ("sts", ["cat\tdog", "a car\ta bus", "car\tbus"]),
        ("sts", ["ba,bb", "ba be,bi"]),
        ("sts", ["Hello.,Hi!", "who is he,who is she"]),
    ],
)
def test_a_first_line_that_is_a_text_is_answered(predict: Run, task: str, lines: list[str]) -> None:
    assert len(predict("--task", task, stdin="\n".join(lines))) == len(lines)


@pytest.mark.parametrize("name", ["words.csv", "words.TSV"])
def test_a_usual_name_heads_any_table(predict: Run, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="line 1: 'sentence' is not among the columns 'comment'"):
        predict("--task", "sst", "--file", written(tmp_path, name, "comment\ngood\nbad\n"))


def test_a_csv_whose_quotes_go_on_over_lines_needs_its_header(predict: Run, tmp_path: Path) -> None:
    file = written(tmp_path, "rows.csv", 'ba\n"c\nd"\n')
    with pytest.raises(
        UserError, match=r"rows\.csv, line 2: quotes go on over lines.* no header has 'sentence'"
    ):
        predict("--task", "sst", "--file", file)


def test_a_line_holds_the_answer_and_json_all_there_is_to_it(predict: Run, folder: Path) -> None:
    model = open_exported(folder)
    texts = [text for pair in PAIRS for text in pair]
    sts, qqp = model.predict("sts", PAIRS), model.predict("qqp", PAIRS)
    assert predict("--task", "sts", *texts) == [f"{value:.4f}" for (value,) in sts]
    assert [json.loads(line) for line in predict("--task", "sts", "--json", *texts)] == [
        {"score": value} for (value,) in sts
    ]
    for line, text, (value,) in zip(
        predict("--task", "qqp", "--json", *texts), predict("--task", "qqp", *texts), qqp, strict=True
    ):
        found, label = json.loads(line), int(value > 0.5)
        assert found == {
            "label": label,
            "probability": [1 - value, value][label],
            "probabilities": [1 - value, value],
        }
        assert text == f"{label}\t{found['probability']:.4f}"
    named = predict("--task", "sst", "--json", stdin="id\tsentence\na7\tba\nb8\tbe\n")
    assert [json.loads(line)["id"] for line in named] == ["a7", "b8"]
    assert sum(json.loads(named[0])["probabilities"]) == pytest.approx(1)


def test_labels_that_have_names_are_answered_with_both(
    trained: dict[str, tuple[Path, TrainConfig]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial, config = trained["first"]
    words = {"sst": ("awful", "bad", "so-so", "good", "great"), "qqp": ("other", "same")}
    named = {task: {"labels": names} for task, names in words.items()}
    tasks = {name: task.model_copy(update=named.get(name, {})) for name, task in config.tasks.items()}
    folder = write_exported(tmp_path / "named", trial, config.model_copy(update={"tasks": tasks}))
    for task, texts in (("sst", ["ba", "bi bo"]), ("qqp", ["ba", "bi"])):
        main([str(folder), "--task", task, *texts])
        for line in capsys.readouterr().out.splitlines():
            label, probability, name = line.split("\t")
            assert name == words[task][int(label)] and float(probability) > 0
        main([str(folder), "--task", task, "--json", *texts])
        for line in capsys.readouterr().out.splitlines():
            assert json.loads(line)["name"] == words[task][json.loads(line)["label"]]
    main([str(folder), "--task", "sts", "ba", "bi"])
    assert "\t" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["first", "second"])
def test_predictions_are_those_that_the_trial_stored(
    trained: dict[str, tuple[Path, TrainConfig]], corpus_folder: Path, tmp_path: Path, name: str
) -> None:
    trial, config = trained[name]
    model = open_exported(write_exported(tmp_path / "model", trial, config))
    for task, splits in read_corpus(corpus_folder, config.tasks).splits.items():
        frame = pd.read_parquet(trial / "predictions" / f"{task}.parquet")
        for split in ("dev", "test"):
            rows = frame[frame["split"] == split]
            expected = rows[[one for one in rows if one.startswith("output_")]].to_numpy()
            found = model.predict(task, list(zip(*splits[split].texts, strict=True)))
            np.testing.assert_array_equal(found.astype(np.float32), expected)


def test_several_models_answer_with_their_weighted_mean(
    trained: dict[str, tuple[Path, TrainConfig]], tmp_path: Path
) -> None:
    both = [{"folder": "members/first", "weight": 0.25}, {"folder": "members/second", "weight": 0.75}]
    tasks = {"sts": {"members": both}, "qqp": {"members": both[1:], "threshold": 0.5}}
    folder = write_several(tmp_path / "several", trained, tasks)
    first, second = (open_exported(folder / "members" / name) for name in ("first", "second"))
    model = open_exported(folder)
    expected = 0.25 * first.predict("sts", PAIRS) + 0.75 * second.predict("sts", PAIRS)
    np.testing.assert_allclose(model.predict("sts", PAIRS), expected, rtol=1e-12)
    np.testing.assert_allclose(model.predict("qqp", PAIRS), 0.75 * second.predict("qqp", PAIRS), rtol=1e-12)
    assert list(model.tasks) == ["sts", "qqp"]


def test_the_threshold_of_the_folder_decides(folder: Path, tmp_path: Path) -> None:
    model = open_exported(folder)
    (value,) = model.predict("qqp", PAIRS[:1])[0]
    for threshold, label in ((value - 1e-6, 1), (value, 0)):
        copy = shutil.copytree(folder, tmp_path / f"says{label}")
        manifest = json.loads((copy / MANIFEST).read_text())
        manifest["tasks"]["qqp"]["threshold"] = threshold
        (copy / MANIFEST).write_text(json.dumps(manifest))
        seal_folder(copy)
        changed = open_exported(copy)
        assert changed.answers("qqp", changed.predict("qqp", PAIRS[:1]))[0]["label"] == label


def test_examples_are_taken_in_blocks_without_a_difference_and_none_at_all_is_fine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, done = open_exported(folder), list[int]()
    at_once = model.predict("sts", PAIRS * 3)
    monkeypatch.setattr(loaded_model, "AT_ONCE", 5)
    np.testing.assert_allclose(model.predict("sts", PAIRS * 3, done.append), at_once, atol=1e-6)
    assert done == [5, 5, 2]
    assert model.predict("sst", []).shape == (0, 5)
    with pytest.raises(UserError, match="sts takes examples of 2 text"):
        model.predict("sts", [("one",)])


WRONG: list[tuple[tuple[str, ...], str, str]] = [
    (("a", "b"), "", "--task is missing: the tasks of .* are sst, qqp, sts"),
    (("--task", "stss", "a", "b"), "", "no task 'stss'; its tasks are sst, qqp, sts; did you mean 'sts'?"),
    (("--task", "sts", "a", "b", "c"), "", "3 sentences are no whole pairs"),
    (("--task", "sts", "a"), "", "error: 1 sentence is no whole pair: give two for each"),
    (("--task", "sts", "a", "  "), "", "sentence 2 is empty"),
    (("--task", "sst", "caf\udce9"), "", "sentence 1 is not UTF-8 text"),
    (("--task", "sts", "--file", "nowhere.csv"), "", "nowhere.csv: No such file"),
    (("--task", "sts", "--file", "."), "", "Is a directory"),
    (("--task", "sts", "--file", "x", "a", "b"), "", "give them once"),
    (("--task", "sts"), "", "standard input: empty; a pair a line is read"),
    (("--task", "sst"), "\n\n", "standard input: empty; a sentence a line is read"),
    (("--task", "sts"), "a\tb\nc\t\n", "standard input, line 2: sentence2 is empty"),
    (("--task", "sts"), "a\tb\nc\n", "line 2: 1 tab-separated field"),
    (("--task", "sts"), "id\tsentence1\tsentense2\n1\ta\tb\n", "line 1: 'sentence2' is not among the columns .*did you mean 'sentense2'\\? Without a header, just the two columns"),
    (("--task", "sts"), "a\tb\nc\n", "line 2: 1 tab-separated field\\(s\\), but line 1 has 2 \\('a', 'b'\\)"),
    (("--task", "sts"), "sentence1\tsentence2\n", "no row after the header"),
    (("--task", "sst"), "a\nb\n\nc\n", "standard input, line 3: empty; a sentence a line is read"),
    (("--task", "sst"), "a\nb\tc\n", "line 2: has a tab, as tables have; .* or a table whose header has 'sentence'"),
    (("--task", "sst"), 'id,review,stars\n1,"good, bad",3\n', "line 1: 'sentence' is not among the columns 'id', 'review', 'stars'; rename it"),
    (("--task", "sst"), "id,review,stars\n1,good, bad,3\n", "line 1: 'sentence' is not among the columns 'id'"),
    (("--task", "sst"), ",Review text,Stars\n0,good,3\n", "'Review text', 'Stars'; rename it, or, where line 1 is a sentence"),
    (("--task", "sst"), "Id, Review, Stars\n1, good, 3\n", "'Id', 'Review', 'Stars'"),
    (("--task", "sst"), "id\treview\n1\tgood\n", "line 1: 'sentence' is not among the columns 'id', 'review'"),
    (("--task", "sst"), "id;sentence;stars\n1;good;3\n", "'sentence' is not among the columns 'id;sentence;stars'; separated by semicolons; tabs or commas are read; rename"),
    (("--task", "sst"), "id;Review text\n1;ba\n2;bi; bo\n", "columns 'id;Review text'; separated by semicolons"),
    (("--task", "sts"), "sentence1;sentence2\na;b\n", "'sentence1' is not among the columns 'sentence1;sentence2'; separated by semicolons; tabs or commas are read;"),
    (("--task", "sst"), "text\nba be\nbi bo\n", "'sentence' is not among the columns 'text'; rename it, or, where line 1 is a sentence, put a header of just 'sentence' above"),
    (("--task", "sst"), '"Review Text"\nba be\n', "not among the columns 'Review Text'"),
    (("--task", "sst"), "Tweets\r\nba be\r\n", "not among the columns 'Tweets'"),
    (("--task", "sst"), "Sentence\nfoo bar\n", "not among the columns 'Sentence'; did you mean 'Sentence'\\? Rename it"),
    (("--task", "sst"), "SENTENCE\nfoo bar\n", "did you mean 'SENTENCE'"),
    (("--task", "sst"), "sentense\nfoo bar\n", "did you mean 'sentense'"),
    (("--task", "sts"), "question1,question2\nwho is he,who is she\n", "line 1: 'sentence1' is not among the columns 'question1', 'question2'.*; rename them, or, where line 1 is a pair, put a header of just 'sentence1' and 'sentence2' above"),
    (("--task", "sts"), "text_a\ttext_b\ncat\tdog\n", "not among the columns 'text_a', 'text_b'"),
    (("--task", "sts"), "Question 1,Question 2\ncat,dog\n", "not among the columns 'Question 1', 'Question 2'"),
    (("--task", "sts"), "premise,hypothesis\nhe is old,he is not young\n", "not among the columns 'premise', 'hypothesis'"),
    (("--task", "sts"), "Sentence1\tSentence2\na\tb\n", "did you mean 'Sentence1'"),
    (("--task", "sts"), "id\tSENTENCE1\tSENTENCE2\n1\ta\tb\n", "did you mean 'SENTENCE1'"),
    (("--task", "sts", "--fil", "x"), "", "unrecognized arguments: --fil"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "stdin", "says"), WRONG)
def test_a_wrong_command_line_or_file_is_one_line_and_exit_code_2(
    predict: Run, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], stdin: str, says: str
) -> None:
    assert command_line.run(lambda: len(predict(*arguments, stdin=stdin))) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", errors)
    assert re.search(says, errors), errors


def change_manifest(folder: Path, **fields: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **fields}))
    seal_folder(folder)


DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / MANIFEST).unlink(), "no exported model .*trainables.export STUDY --to DIR"),
    (lambda folder: (folder / "heads.safetensors").write_bytes(b"x"), "damaged: heads.safetensors is not what was"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "damaged: tokenizer.json is missing"),
    (lambda folder: (folder / MANIFEST).write_text("{}"), "damaged: minbert.json is not what was written"),
    (lambda folder: (folder / "checksums.json").unlink(), "damaged: checksums.json is missing"),
    (lambda folder: change_manifest(folder, format=2), "format 2 is newer than this program reads"),
    (lambda folder: change_manifest(folder, tasks={}), "damaged at tasks"),
    (lambda folder: change_manifest(folder, tasks={"sts": {"members": [{"folder": "../../etc", "weight": 1}]}}),
     "damaged at tasks.sts.members.0.folder"),
    (lambda folder: change_manifest(folder, tasks={"new": {"members": [{"folder": ".", "weight": 1}]}}),
     "does not answer new"),
    (shutil.rmtree, "no such folder"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "says"), DAMAGE)
def test_a_folder_that_is_not_whole_is_refused(
    folder: Path, tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy)
    with pytest.raises(UserError, match=says):
        _ = open_exported(copy).tasks


def test_heads_of_another_configuration_are_refused(
    trained: dict[str, tuple[Path, TrainConfig]], folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.copyfile(trained["second"][0] / "best" / "heads.safetensors", copy / "heads.safetensors")
    seal_folder(copy)
    with pytest.raises(UserError, match=r"as config\.yaml describes the heads"):
        open_exported(copy).predict("sts", PAIRS)


def test_heads_whose_header_lies_about_their_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    heads = (copy / "heads.safetensors").read_bytes()
    (copy / "heads.safetensors").write_bytes(heads.replace(b'"F32"', b'"I32"', 1))
    seal_folder(copy)
    with pytest.raises(UserError, match=r"heads\.safetensors: .* is stored as int32"):
        open_exported(copy).predict("sts", PAIRS)


def test_no_module_of_the_model_knows_of_the_search(folder: Path) -> None:
    found = set()
    for file in Path(loaded_model.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name.split(".")[0] for name in names}
    assert not found & {"ray", "optuna", "trainables", "analysis"}
