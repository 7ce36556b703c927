"""Sentence vectors of an exported model, and the nearest sentences by them."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from minbert import command_line, loaded_model
from minbert.checkpoint import EncoderFiles
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.embed import main
from minbert.exported import open_exported
from minbert.nearest import nearest
from tests.minbert.conftest import MakeConfig
from tests.minbert.exporting import train, write_exported, write_several

SENTENCES = ["ba be", "bi " * 60, "co", "da fa ga", "co"]
Run = Callable[..., list[str]]


@pytest.fixture(scope="module")
def folder(
    small_corpus: TokenisedCorpus,
    encoder_files: EncoderFiles,
    configure: MakeConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    config = configure(stages__finetune__epochs=1)
    place = tmp_path_factory.mktemp("exported")
    trial = train(place / "trial", config, small_corpus, encoder_files)
    write_several(
        place / "several",
        {"one": (trial, config), "two": (trial, config)},
        {
            "sts": {
                "members": [
                    {"folder": "members/one", "weight": 0.5},
                    {"folder": "members/two", "weight": 0.5},
                ]
            }
        },
    )
    return write_exported(place / "model", trial, config)


@pytest.fixture
def embed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run the command line on the folder, beside files with a sentence a line; returns the lines it prints."""
    monkeypatch.chdir(tmp_path)
    Path("lines.txt").write_text("\n".join(SENTENCES) + "\n\n", encoding="utf-8")

    def call(*arguments: str, stdin: str = "", model: Path = folder) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        assert main([str(model), *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return call


def test_vectors_stand_in_the_order_of_the_lines_in_either_kind_of_file(embed: Run, folder: Path) -> None:
    expected = open_exported(folder).embed(SENTENCES)
    assert embed("--file", "lines.txt", "--out", "a.npy") == ["5 vectors of 32 numbers: a.npy"]
    embed("--out", "b.safetensors", "--file", "-", stdin="\n".join(SENTENCES) + "\n\n")
    embed(*SENTENCES, "--out", "c.npy")
    for found in (np.load("a.npy"), load_file("b.safetensors")["vectors"], np.load("c.npy")):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
    one_by_one = np.concatenate([open_exported(folder).embed([one]) for one in SENTENCES])
    np.testing.assert_allclose(expected, one_by_one, atol=1e-5)
    assert sorted(path.name for path in Path().iterdir()) == ["a.npy", "b.safetensors", "c.npy", "lines.txt"]


def test_a_vector_is_the_mean_of_berts_states(folder: Path) -> None:
    tokens = transformers.BertTokenizer.from_pretrained(folder)(SENTENCES[0], return_tensors="pt")
    with torch.inference_mode():
        states = transformers.BertModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    found = open_exported(folder).embed(SENTENCES[:1])
    np.testing.assert_allclose(found[0], states[0].mean(0).numpy(), atol=1e-5)


def test_sentences_are_taken_in_blocks_without_a_difference(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, done = open_exported(folder), list[int]()
    at_once = model.embed(SENTENCES)
    monkeypatch.setattr(loaded_model, "AT_ONCE", 2)
    np.testing.assert_allclose(model.embed(SENTENCES, done.append), at_once, atol=1e-6)
    assert done == [2, 2, 1]
    assert model.embed([]).shape == (0, 32)


def test_progress_is_told_after_every_batch_not_after_every_block(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_model, "_TOKENS_PER_BATCH", 8)
    done = list[int]()
    open_exported(folder).embed(SENTENCES, done.append)
    assert sum(done) == len(SENTENCES) and len(done) > 2


def test_the_nearest_are_printed_nearest_first_and_a_sentence_is_nearest_to_itself(embed: Run) -> None:
    lines = [line.split("\t") for line in embed("co", "ba be", "--nearest", "3", "--corpus", "lines.txt")]
    assert [query for query, _, _ in lines] == ["co"] * 3 + ["ba be"] * 3
    assert [(float(cosine), sentence) for _, cosine, sentence in lines[:2]] == [(1.0, "co"), (1.0, "co")]
    assert lines[3][1:] == ["1.0000", "ba be"]
    assert float(lines[4][1]) >= float(lines[5][1])
    assert embed("co", "--nearest", "3", "--corpus", "-", stdin="\n".join(SENTENCES)) == embed(
        "co", "--nearest", "3", "--corpus", "lines.txt"
    )
    (told,) = embed("--nearest", "9", "--corpus", "lines.txt", "--json", stdin="co")
    found = json.loads(told)
    assert found["query"] == "co"
    assert [one["line"] for one in found["nearest"]][:2] == [3, 5]
    assert len(found["nearest"]) == len(SENTENCES)


def test_nearest_is_the_order_of_all_cosines_the_earlier_of_equal_ones_first() -> None:
    random = np.random.default_rng(0)
    queries, corpus = (random.integers(-2, 3, (rows, 3)).astype(np.float32) for rows in (300, 40))
    corpus[[3, 17]] = 0
    places, cosines = nearest(queries, corpus, 6)
    for query, own, near in zip(queries, places, cosines, strict=True):
        norms = np.linalg.norm(corpus, axis=1) * np.linalg.norm(query)
        expected = np.where(norms > 0, corpus @ query / np.where(norms > 0, norms, 1), 0)
        order = np.lexsort([np.arange(40), -np.round(expected, 5)])
        np.testing.assert_allclose(near, expected[order[:6]], atol=1e-5)
        np.testing.assert_allclose(near, expected[own], atol=1e-5)
    corpus[:] = corpus[0]
    assert nearest(queries[:1], corpus, 3)[0].tolist() == [[0, 1, 2]]


def test_a_column_sentence_is_read_whatever_else_a_table_has(embed: Run, folder: Path) -> None:
    with Path("table.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [[7, "ba, be", 1], [8, 'bi\n"bo"', 0], [9, "co", 1]]
        csv.writer(file).writerows([["id", "sentence", "stars"], *rows])
    assert embed("--file", "table.csv", "--out", "x.npy") == ["3 vectors of 32 numbers: x.npy"]
    expected = open_exported(folder).embed(["ba, be", 'bi\n"bo"', "co"])
    np.testing.assert_array_equal(np.load("x.npy"), expected)
    asked = ("ba, be", "co", "--nearest", "3", "--corpus", "table.csv")
    lines = [line.split("\t") for line in embed(*asked)]
    assert [lines[0], lines[3]] == [["ba, be", "1.0000", "ba, be"], ["co", "1.0000", "co"]]
    assert 'bi "bo"' in [sentence for _, _, sentence in lines]
    found = [json.loads(line)["nearest"][0]["line"] for line in embed(*asked, "--json")]
    assert found == [2, 5]


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("a",), "say what is wanted: --out FILE, or --nearest K --corpus FILE"),
    (("a", "--out", "x.npy", "--nearest", "2", "--corpus", "lines.txt"), "say what is wanted"),
    (("a", "--nearest", "2"), "--nearest K and --corpus FILE go together"),
    (("a", "--nearest", "0", "--corpus", "lines.txt"), "--nearest: '0' is not a whole number of at least 1"),
    (("a", "--nearest", "2", "--corpus", "none.txt"), "none.txt: No such file"),
    (("a", "--out", "x.txt"), "--out x.txt: name a file that ends with .npy or .safetensors"),
    (("a", "--out", "lines.npy"), "--out lines.npy: there is something already"),
    (("a", "--out", "no/x.npy"), "no is no folder"),
    (("a", "--json", "--out", "x.npy"), "--json goes with --nearest"),
    (("a", "--file", "lines.txt", "--out", "x.npy"), "give them once"),
    (
        ("--file", "gap.txt", "--out", "x.npy"),
        "gap.txt, line 2: empty; a sentence a line is read, without gaps: take the line out",
    ),
    (("--file", "binary.txt", "--out", "x.npy"), "binary.txt, line 2: byte 0xff is not UTF-8 text"),
    (
        ("a", "--nearest", "1", "--corpus", "other.csv"),
        "other.csv, line 1: 'sentence' is not among the columns 'id', 'review'; rename it",
    ),
    (
        ("--file", "lone.csv", "--out", "x.npy"),
        "lone.csv, line 1: 'sentence' is not among the columns 'text'",
    ),
    (("--out", "x.npy"), "standard input: empty; a sentence a line is read"),
    (("", "--out", "x.npy"), "sentence 1 is empty"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG)
def test_a_wrong_command_line_or_file_is_one_line_and_exit_code_2(
    embed: Run, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    Path("gap.txt").write_text("a\n\nb\n")
    Path("other.csv").write_text("id,review\n1,ba be\n")
    Path("lone.csv").write_text("text\nba be\n")
    Path("binary.txt").write_bytes(b"a line\n\xff\xfe")
    Path("lines.npy").write_text("mine")
    before = sorted(Path().iterdir())
    assert command_line.run(lambda: len(embed(*arguments))) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", errors)
    assert says in errors
    assert sorted(Path().iterdir()) == before


def test_several_models_have_no_vectors_in_common(
    embed: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = folder.parent / "several"
    assert command_line.run(lambda: len(embed("a", "--out", "x.npy", model=several))) == 2
    told = capsys.readouterr().err
    assert f"holds 2 models, each with vectors of its own; name one: {several}/members/one" in told
    assert embed("a", "--out", "x.npy", model=several / "members" / "one")
