"""Further text files: sentences, triplets, triplets from labelled pairs; mistakes are named with file and line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minbert.bundled import CORPUS
from minbert.checkpoint import EncoderFiles
from minbert.config import TrainConfig, build_config
from minbert.corpora.reader import read_corpus
from minbert.corpora.texts import Text, read_sentences, read_text, read_triplets, role_of, texts_needed
from minbert.corpora.tokenised import open_tokenised, tokenised
from minbert.errors import UserError
from minbert.task_config import default_tasks

TASKS = default_tasks()
PAIRS = """premise,hypothesis,label
A,yes one,entailment
B,b no,2
A,maybe,neutral
A,no one,contradiction
A,no two,Contradiction
B,b yes,0.0
A,no label,-
C,c yes,0
A,no three,2
A,yes two,0
"""


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(folder: Path, name: str, role: str) -> str:
    with pytest.raises(UserError) as caught:
        read_text(folder, name, role)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


def recipe(**stages: dict[str, object]) -> TrainConfig:
    return build_config({"stages": stages, "recipe": [*stages, "finetune"]})


# Which texts a configuration needs.


def test_running_stages_name_the_texts_that_are_read() -> None:
    config = recipe(
        a={"kind": "simcse", "epochs": 1, "text": "wiki.txt"},
        b={"kind": "simcse", "epochs": 0, "text": "other.txt"},
        c={"kind": "simcse", "epochs": 1},
        d={"kind": "supervised_simcse", "epochs": 1},
        e={"kind": "supervised_simcse", "epochs": 1, "triplets": "nli.csv"},
        f={"kind": "supervised_simcse", "epochs": 1, "task": "qqp"},
    )
    assert texts_needed(config) == {"wiki.txt": "sentences", "triplets": "triplets", "nli.csv": "triplets"}


def test_one_file_cannot_be_sentences_and_triplets() -> None:
    config = recipe(
        a={"kind": "simcse", "epochs": 1, "text": "x.csv"},
        b={"kind": "supervised_simcse", "epochs": 1, "triplets": "x.csv"},
    )
    with pytest.raises(UserError, match=r"stages\.b reads 'x.csv' as triplets, another stage as sentences"):
        texts_needed(config)


# Sentences.


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_sentences_are_the_lines_that_are_not_blank(tmp_path: Path, end: str) -> None:
    content = "\ufeff" + end.join(["one\u2028 line, ", "", " \t", "two\ttabs", '"three', ""])
    found = read_sentences(write(tmp_path / "s.txt", content))
    assert found.columns == (("one\u2028 line,", "two\ttabs", '"three'),)
    assert found.notes == ()


def test_bytes_that_are_no_text_are_named_by_line(tmp_path: Path) -> None:
    write(tmp_path / "s.txt", b"one\r\ntwo\r\n\r\nthr\xe9e\r\n")
    assert "s.txt, line 4: byte 0xe9 is not UTF-8" in refused(tmp_path, "s.txt", "sentences")


@pytest.mark.parametrize("content", ["", "\n\n", "only one\n"])
def test_fewer_than_two_sentences_are_refused(tmp_path: Path, content: str) -> None:
    write(tmp_path / "s.txt", content)
    assert "sentence(s)" in refused(tmp_path, "s.txt", "sentences")


# Triplets.


def test_triplets_are_read_by_column_name_with_commas_quotes_and_lines_in_texts(tmp_path: Path) -> None:
    content = 'hard_neg,x,sent0,sent1\nno,1,"a, ""b""","two\nlines"\nn,2,s,p\n\n'
    found = read_triplets(write(tmp_path / "t.csv", content))
    assert found.columns == (('a, "b"', "s"), ("two\nlines", "p"), ("no", "n"))


def test_a_tab_separated_file_is_read_as_well_with_stray_quotes(tmp_path: Path) -> None:
    content = 'sent0\tsent1\thard_neg\n"the 5 disk, it\ta disk\tno disk\nx\ty\tz\n'
    found = read_triplets(write(tmp_path / "t.tsv", content))
    assert found.columns == (('"the 5 disk, it', "x"), ("a disk", "y"), ("no disk", "z"))
    assert "unbalanced quotes" in found.notes[0]


def test_a_row_with_an_empty_text_is_skipped_and_noted(tmp_path: Path) -> None:
    found = read_triplets(write(tmp_path / "t.csv", "sent0,sent1,hard_neg\na,b,c\nd, ,f\n"))
    assert found.columns == (("a",), ("b",), ("c",))
    assert found.notes == ("t.csv: 1 row with an empty text (first at line 3) skipped",)


def test_labelled_pairs_become_triplets_of_a_premise_its_entailment_and_its_contradiction(
    tmp_path: Path,
) -> None:
    found = read_triplets(write(tmp_path / "p.csv", PAIRS))
    rows = list(zip(*found.columns, strict=True))
    assert rows == [
        ("A", "yes one", "no one"),
        ("A", "yes two", "no two"),
        ("A", "yes two", "no three"),
        ("B", "b yes", "b no"),
    ]
    assert found.notes == (
        "p.csv: 1 row without a label ('-') (first at line 8) skipped",
        "p.csv: 1 of 3 premises left out: they have no entailment or no contradiction",
    )


def test_snlis_own_columns_are_labelled_pairs_too(tmp_path: Path) -> None:
    content = "gold_label\tx\tsentence1\tsentence2\nentailment\t(\tP\tE\n-\t(\tP\tN\ncontradiction\t(\tP\tC\n"
    assert read_triplets(write(tmp_path / "snli.txt", content)).columns == (("P",), ("E",), ("C",))


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (
            "sent0,sent1,hard_neg\na,b,c\na,b\n",
            "t.csv, line 3: 2 comma-separated field(s), but line 1 has 3",
        ),
        ("sent0,sent1,hard_neg\na,b,c\na, d, e,f\n", "needs double quotes"),
        ('sent0,sent1,hard_neg\na,b,c\na,b,"c\nd,e,f\n', "t.csv, line 3: its quotes do not pair up"),
        ('sent0,sent1,hard_neg\na,b,c\na,"b" c,d\n', "t.csv, line 3: its quotes do not pair up"),
        ("sent0,sent1,hard_negs\na,b,c\n", "did you mean 'hard_negs'?"),
        ("sent0\tsent1\nx\ty\n", "t.csv, line 1: the header is 'sent0', 'sent1'; needed are the columns"),
        ("", "t.csv: no header line; the file is empty"),
        ("sent0,sent1,hard_neg\n", "holds no triplet"),
        ("sent0,sent1,hard_neg\na,b,\n", "holds no triplet; t.csv: 1 row with an empty text"),
        ("premise,hypothesis,label\na,b,entailment\n", "holds no triplet; t.csv: 1 of 1 premises left out"),
        (
            "premise,hypothesis,label\na,b,entailment\na,b,contradicts\n",
            "t.csv, line 3: label 'contradicts' is none of entailment (0), neutral (1), contradiction (2), "
            "or '-' for none; did you mean 'contradiction'?",
        ),
        ("premise,hypothesis,label\na,b,3\n", "t.csv, line 2: label '3' is none of"),
        (b"sent0,sent1,hard_neg\na,b,c\na,\xff,c\n", "t.csv, line 3: byte 0xff"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path: Path, content: str | bytes, wanted: str) -> None:
    write(tmp_path / "t.csv", content)
    assert wanted in refused(tmp_path, "t.csv", "triplets")


# Finding the file.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "README.txt", "about\nthis\n")
    write(tmp_path / "wiki.txt", "one\ntwo\n")
    write(tmp_path / "nli.csv", '"sent0","sent1","hard_neg"\na,b,c\n')
    write(tmp_path / "sts-train.csv", "id\tsentence1\tsentence2\tsimilarity\n")
    (tmp_path / "folder.txt").mkdir()
    return tmp_path


def test_files_say_what_they_are(folder: Path) -> None:
    write(folder / "pairs.tsv", "label\tpremise\thypothesis\n")
    write(folder / "snli.txt", "gold_label\tsentence1\tsentence2\n")
    write(folder / "quora.txt", "id\tsentence1\tsentence2\tis_duplicate\n")
    assert {path.name: role_of(path) for path in folder.iterdir()} == {
        "README.txt": None,
        "wiki.txt": "sentences",
        "nli.csv": "triplets",
        "sts-train.csv": None,
        "folder.txt": None,
        "pairs.tsv": "triplets",
        "snli.txt": "triplets",
        "quora.txt": None,
    }


def test_the_only_file_of_its_kind_needs_no_name(folder: Path) -> None:
    assert read_text(folder, "sentences", "sentences").columns == (("one", "two"),)
    assert read_text(folder, "triplets", "triplets").columns == (("a",), ("b",), ("c",))


def test_two_files_of_a_kind_need_a_name(folder: Path) -> None:
    write(folder / "more.txt", "three\nfour\n")
    assert "more.txt and wiki.txt" in refused(folder, "sentences", "sentences")
    assert read_text(folder, "more.txt", "sentences").columns == (("three", "four"),)
    only = read_text(folder, "sentences", "sentences", taken=[folder / "wiki.txt"])
    assert only.columns == (("three", "four"),)


def test_a_missing_file_is_named_with_what_there_is(folder: Path) -> None:
    assert (
        f"sentences 'wiki.text': there is no such file in {folder}; allowed are 'sentences', wiki.txt; "
        "did you mean 'wiki.txt'?"
    ) in refused(folder, "wiki.text", "sentences")
    (folder / "nli.csv").unlink()
    assert "expected a .csv or .tsv file with the columns sent0" in refused(folder, "triplets", "triplets")


@pytest.mark.parametrize("name", ["../x/wiki.txt", "/etc/passwd", "..", "", "sub/wiki.txt", "..\\wiki.txt"])
def test_a_text_cannot_be_outside_the_data_folder(folder: Path, name: str) -> None:
    (folder / "sub").mkdir()
    write(folder / "sub" / "wiki.txt", "one\ntwo\n")
    assert "without a path" in refused(folder / "sub", name, "sentences")


# In a corpus.


def test_the_fingerprint_is_of_the_strings_alone(tmp_path: Path) -> None:
    one = read_sentences(write(tmp_path / "a.txt", "one\ntwo\n"))
    same = read_sentences(write(tmp_path / "b.txt", "\ufeffone\r\n\r\n two"))
    other = read_sentences(write(tmp_path / "c.txt", "one\ntwo.\n"))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert Text((("a", "b"),)).fingerprint != Text((("a",), ("b",))).fingerprint


def test_texts_stand_in_the_corpus_and_change_nothing_else(corpus_folder: Path, tmp_path: Path) -> None:
    before = read_corpus(corpus_folder, TASKS)
    data = shutil.copytree(corpus_folder, tmp_path / "data")
    write(data / "wiki.txt", "one\ntwo\n")
    write(data / "nli.csv", PAIRS)
    write(data / "strange.dat", "no table\n")
    plain = read_corpus(data, TASKS)
    assert plain.texts == {} and plain.fingerprint == before.fingerprint
    assert [note.split()[0] for note in plain.notes] == ["strange.dat"]
    both = read_corpus(data, TASKS, {"sentences": "sentences", "nli.csv": "triplets"})
    assert both.fingerprint == before.fingerprint
    assert {name: len(text.columns) for name, text in both.texts.items()} == {"sentences": 1, "nli.csv": 3}
    assert any("premises left out" in note for note in both.notes)


def test_a_task_s_own_file_is_no_text_unless_it_is_named(corpus_folder: Path, tmp_path: Path) -> None:
    data = shutil.copytree(corpus_folder, tmp_path / "data")
    for split in ("train", "dev"):
        write(
            data / f"snli-{split}.csv",
            PAIRS.replace(",", "\t").replace("entailment", "0").replace("neutral", "1")
            .replace("contradiction", "2").replace("Contradiction", "2").replace("-\n", "1\n"),
        )  # fmt: skip
    tasks = build_config(
        {
            "tasks": {
                "nli": {
                    "kind": "classification", "classes": 3, "text": ["premise", "hypothesis"], "label": "label",
                    "head": {"kind": "cross"},
                }
            }
        }
    ).tasks  # fmt: skip
    with pytest.raises(UserError, match="'triplets': there is no such file"):
        read_corpus(data, tasks, {"triplets": "triplets"})
    assert len(read_corpus(data, tasks, {"snli-train.csv": "triplets"}).texts["snli-train.csv"]) == 4


def test_texts_are_tokenised_with_the_corpus(
    corpus_folder: Path, tmp_path: Path, encoder_files: EncoderFiles
) -> None:
    data = shutil.copytree(corpus_folder, tmp_path / "data")
    write(data / "wiki.txt", "ba be\ndan\n" + "ci\n" * 25_000)
    write(data / "nli.csv", "sent0,sent1,hard_neg\nba,be ba,bi\nda,de,di\n")
    needed = {"sentences": "sentences", "nli.csv": "triplets"}
    corpus = read_corpus(data, TASKS, needed)  # type: ignore[arg-type]
    folder = tokenised(corpus, TASKS, encoder_files, tmp_path / "cache")
    found = open_tokenised(folder)
    tokenizer = encoder_files.tokenizer()
    assert found.mask_id == tokenizer.token_to_id("[MASK]")
    assert list(found.texts) == ["sentences", "nli.csv"]
    for name, text in corpus.texts.items():
        assert len(found.texts[name]) == len(text.columns)
        for table, column in zip(found.texts[name], text.columns, strict=True):
            ids = [tokenizer.encode(line, add_special_tokens=False).ids for line in column[:50]]
            assert [table[n].tolist() for n in range(len(ids))] == ids
            assert len(table) == len(column) and table[len(table) - 1].tolist() == ids[-1]
    assert (
        open_tokenised(tokenised(read_corpus(data, TASKS), TASKS, encoder_files, tmp_path / "cache")).texts
        == {}
    )
    write(data / "wiki.txt", "ba be\ndan bi\n")
    other = read_corpus(data, TASKS, needed)  # type: ignore[arg-type]
    assert tokenised(other, TASKS, encoder_files, tmp_path / "cache") != folder


def test_the_bundled_texts_are_found_without_a_name() -> None:
    corpus = read_corpus(CORPUS, TASKS, {"sentences": "sentences", "triplets": "triplets"})
    assert {name: len(text) for name, text in corpus.texts.items()} == {"sentences": 3000, "triplets": 1200}
    assert corpus.notes == ()


@pytest.mark.parametrize("name", ["quora-train.csv", "nli.csv"])
def test_a_table_is_no_file_of_sentences(name: str) -> None:
    with pytest.raises(UserError, match=f"sentences '{name}': .* is no .txt file with a sentence a line"):
        read_text(CORPUS, name, "sentences", ())
