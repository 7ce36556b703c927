"""Reading a data folder in the CS224N layout."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from minbert.config import HeadConfig, TaskConfig, default_tasks
from minbert.corpora.reader import Corpus, read_corpus
from minbert.errors import UserError

SST = ["", "id", "sentence", "sentiment"]
QQP = ["", "id", "sentence1", "sentence2", "is_duplicate"]
STS = ["", "id", "sentence1", "sentence2", "similarity"]
TASKS = default_tasks()


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write a file as the course's were: tab-separated, quoted where needed."""
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows([header, *rows])
    path.write_bytes(text.getvalue().encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder with all three tasks and the course's file names."""
    for split in ("train", "dev"):
        reviews = [[n, f"a{split}{n}", f" a {split} film rated {n}", n] for n in range(5)]
        write(tmp_path / f"ids-sst-{split}.csv", SST, reviews)
        questions = [
            [n, f"b{split}{n}", f"{split} why {n}?", f"{split} how {n}?", float(n % 2)] for n in range(4)
        ]
        write(tmp_path / f"quora-{split}.csv", QQP, questions)
        pairs = [[n, f"c{split}{n}", f"{split} dog {n}", f"{split} cat {n}", n + 0.25] for n in range(4)]
        write(tmp_path / f"sts-{split}.csv", STS, pairs)
    return tmp_path


def sts_only(folder: Path, lines: bytes) -> Corpus:
    """Read the folder with this content as the training file of sts."""
    (folder / "sts-train.csv").write_bytes(b"\tid\tsentence1\tsentence2\tsimilarity\n" + lines)
    return read_corpus(folder, {"sts": TASKS["sts"]})


def refused(folder: Path, tasks: dict[str, TaskConfig] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_corpus(folder, tasks or TASKS)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_all_three_tasks_are_read(folder: Path) -> None:
    corpus = read_corpus(folder, TASKS)
    assert list(corpus.splits) == list(TASKS)
    assert all(list(splits) == ["train", "dev"] for splits in corpus.splits.values())
    sst = corpus.splits["sst"]["dev"]
    assert sst.ids == ("adev0", "adev1", "adev2", "adev3", "adev4")
    assert sst.texts == (tuple(f"a dev film rated {n}" for n in range(5)),)
    assert sst.labels is not None and sst.labels.tolist() == [0, 1, 2, 3, 4]
    sts = corpus.splits["sts"]["train"]
    assert [len(column) for column in sts.texts] == [4, 4] and len(sts) == 4
    assert sts.labels is not None and sts.labels.tolist() == [0.25, 1.25, 2.25, 3.25]
    assert corpus.notes == ()


def test_files_are_recognised_by_content_and_renaming_changes_nothing(folder: Path) -> None:
    before = read_corpus(folder, TASKS)
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"{number}_{'train' if 'train' in file.name else 'dev'}.txt")
    after = read_corpus(folder, TASKS)
    assert after.fingerprint == before.fingerprint
    assert re.fullmatch("[0-9a-f]{32}", after.fingerprint)


def test_another_label_changes_the_fingerprint(folder: Path) -> None:
    before = read_corpus(folder, TASKS).fingerprint
    file = folder / "sts-dev.csv"
    file.write_text(file.read_text().replace("3.25", "3.5"))
    assert read_corpus(folder, TASKS).fingerprint != before


def test_line_ends_byte_order_mark_quotes_and_column_order_change_nothing(folder: Path) -> None:
    before = read_corpus(folder, TASKS).fingerprint
    for file in folder.iterdir():
        rows = [row[::-1] for row in csv.reader(file.open(newline=""), delimiter="\t")]
        with file.open("w", newline="", encoding="utf-8-sig") as out:
            csv.writer(out, delimiter="\t", lineterminator="\r\n", quoting=csv.QUOTE_ALL).writerows(rows)
    assert read_corpus(folder, TASKS).fingerprint == before


def test_a_test_file_has_no_label_column_and_may_have_one_more_index(folder: Path) -> None:
    write(folder / "ids-sst-test-student.csv", ["0", "", "id", "sentence"], [[1, "0.0", "t1", "fine"]])
    write(folder / "student.csv", ["sentence2", "sentence1"], [["b", "a"]])
    corpus = read_corpus(folder, TASKS)
    test = corpus.splits["sst"]["test"]
    assert (test.ids, test.texts, test.labels) == (("t1",), (("fine",),), None)
    assert "test" not in corpus.splits["sts"]
    assert any("student.csv ignored" in note and "qqp or sts" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("file", "task"),
    [
        ("sts-test-student.csv", "sts"),
        ("para_tests.csv", "qqp"),
        ("similarity.csv", "sts"),
        ("QuoraTest.csv", "qqp"),
    ],
)
def test_the_name_tells_which_task_an_unlabelled_pair_file_is_of(folder: Path, file: str, task: str) -> None:
    write(folder / file, ["", "id", "sentence1", "sentence2"], [[0, "x", "one", "two"]])
    corpus = read_corpus(folder, TASKS)
    assert [name for name, splits in corpus.splits.items() if "test" in splits] == [task]


def test_another_tasks_test_file_is_not_taken(folder: Path) -> None:
    for file in ("quora-test.csv", "sts-test.csv"):
        write(folder / file, ["", "id", "sentence1", "sentence2"], [[0, file, "one", "two"]])
    corpus = read_corpus(folder, {"sts": TASKS["sts"]})
    assert corpus.splits["sts"]["test"].ids == ("sts-test.csv",)
    (folder / "sts-test.csv").unlink()
    corpus = read_corpus(folder, {"sts": TASKS["sts"]})
    assert "test" not in corpus.splits["sts"]
    assert any("its name speaks of qqp, not of sts" in note for note in corpus.notes)


def test_a_two_class_review_file_does_not_pass_for_the_five_class_one(folder: Path) -> None:
    write(folder / "ids-cfimdb-train.csv", SST, [[0, "m", "long", 0], [1, "n", "longer", 1]])
    corpus = read_corpus(folder, TASKS)
    assert len(corpus.splits["sst"]["train"]) == 5
    assert any(note.startswith("ids-cfimdb-train.csv ignored") for note in corpus.notes)


def two_sets(folder: Path, *absent: str, other: str = "cfimdb") -> None:
    """Add a two-class review set and both sets' test files, and take some files away."""
    for split in ("train", "dev"):
        write(folder / f"ids-{other}-{split}.csv", SST, [[n, f"m{n}", f"long {n}", n] for n in range(2)])
    for name in ("sst", other):
        write(folder / f"ids-{name}-test-student.csv", SST[:3], [[0, f"{name}-test", "fine"]])
    for file in absent:
        (folder / file).unlink()


def movies() -> dict[str, TaskConfig]:
    head = HeadConfig(kind="linear")
    return {"movies": TaskConfig(kind="binary", head=head, text=("sentence",), label="sentiment")}


@pytest.mark.parametrize("other", ["cfimdb", "short"])
@pytest.mark.parametrize(("split", "goes_with"), [("train", "dev"), ("dev", "train")])
def test_a_missing_file_is_not_replaced_by_another_sets(
    folder: Path, split: str, goes_with: str, other: str
) -> None:
    two_sets(folder, f"ids-sst-{split}.csv", other=other)
    told = f"no {split} file for task 'sst': .* found: ids-{other}-{split}.csv ignored: it looks like sst {split}, "
    told += (
        f"but goes with ids-{other}-{goes_with}.csv, not with ids-sst-{goes_with}.csv; .* tasks.sst.files$"
    )
    assert re.search(told, refused(folder))


def test_a_missing_test_file_is_not_replaced_by_another_sets(folder: Path) -> None:
    two_sets(folder, "ids-sst-test-student.csv", other="short")
    corpus = read_corpus(folder, TASKS)
    assert "test" not in corpus.splits["sst"]
    assert any(note.startswith("ids-short-test-student.csv ignored") for note in corpus.notes)


@pytest.mark.parametrize("absent", [["train", "dev", "test-student"], ["dev"]])
def test_the_two_class_set_alone_does_not_pass_for_the_five_class_one(
    folder: Path, absent: list[str]
) -> None:
    two_sets(folder, *(f"ids-sst-{split}.csv" for split in absent))
    if len(absent) == 1:
        for split in ("train", "test-student"):
            (folder / f"ids-cfimdb-{split}.csv").unlink()
    told = (
        f"no {absent[0]} file .* found: ids-cfimdb-{absent[0]}.csv ignored: .* the course's other review set"
    )
    assert re.search(told, refused(folder))
    named = {split: f"ids-cfimdb-{split}.csv" for split in absent[:1]}
    sst = read_corpus(folder, {"sst": TASKS["sst"].model_copy(update={"files": named})}).splits["sst"]
    assert sst["dev"].ids == ("m0", "m1")


def test_files_of_names_that_tell_nothing_go_together_still(folder: Path) -> None:
    two_sets(folder, *(f"ids-cfimdb-{split}.csv" for split in ("train", "dev", "test-student")))
    for new, old in {"mine-train": "train", "yours_dev": "dev", "tests": "test-student"}.items():
        (folder / f"ids-sst-{old}.csv").rename(folder / f"{new}.csv")
    corpus = read_corpus(folder, TASKS)
    assert list(corpus.splits["sst"]) == ["train", "dev", "test"] and corpus.notes == ()


@pytest.mark.parametrize("named", [{}, {"train": "ids-cfimdb-train.csv", "dev": "ids-cfimdb-dev.csv"}])
def test_the_test_file_is_of_the_set_that_train_and_dev_are_of(folder: Path, named: dict[str, str]) -> None:
    two_sets(folder)
    tasks = {"movies": movies()["movies"].model_copy(update={"files": named})}
    movie = read_corpus(folder, tasks).splits["movies"]
    assert [split.ids[0] for split in movie.values()] == ["m0", "m0", "cfimdb-test"]
    (folder / "ids-cfimdb-test-student.csv").unlink()
    corpus = read_corpus(folder, tasks)
    assert "test" not in corpus.splits["movies"]
    assert any(
        re.match(
            "ids-sst-test-student.csv ignored: .* goes with ids-sst-train.csv, not with ids-cfimdb-", note
        )
        for note in corpus.notes
    )


def test_label_values_tell_tasks_with_the_same_columns_apart(tmp_path: Path) -> None:
    def task(classes: int) -> TaskConfig:
        linear = HeadConfig(kind="linear")
        return TaskConfig(kind="classification", classes=classes, head=linear, text=("text",), label="label")

    for split in ("train", "dev"):
        write(tmp_path / f"{split}.tsv", ["text", "label"], [["x", n] for n in (0, 1, 6)])
        write(tmp_path / f"mood-{split}.tsv", ["text", "label"], [["y", n] for n in range(3)])
    corpus = read_corpus(tmp_path, {"mood": task(3), "topic": task(7)})
    assert {name: len(splits["train"]) for name, splits in corpus.splits.items()} == {"mood": 3, "topic": 3}


def test_named_files_are_used_whatever_they_look_like(folder: Path) -> None:
    write(folder / "mine", ["left", "right", "gold", "is_duplicate"], [["a", "b", 5, 1]])
    task = TaskConfig(
        kind="regression",
        head=HeadConfig(kind="cosine"),
        text=("left", "right"),
        label="gold",
        files={"train": "mine", "dev": "mine"},
    )
    assert read_corpus(folder, {"own": task}).splits["own"]["dev"].texts == (("a",), ("b",))
    wrong = task.model_copy(update={"text": ("left", "rihgt")})
    assert "line 1: column 'rihgt'" in refused(folder, {"own": wrong})
    assert "did you mean 'right'" in refused(folder, {"own": wrong})
    absent = task.model_copy(update={"files": {"train": "mien", "dev": "mine"}})
    assert "did you mean 'mine'" in refused(folder, {"own": absent})


def test_rows_without_a_label_or_a_second_sentence_are_skipped_and_noted(folder: Path) -> None:
    lines = b'0\ti0\ta\tb\t1\n1\ti1\ta\tb\t\n2\ti2\ta\t \t2\n3\ti3\tc\td\t\n4\ti4\t""\t\t\n'
    corpus = sts_only(folder, lines)
    assert corpus.splits["sts"]["train"].ids == ("i0",)
    assert [note for note in corpus.notes if note.startswith("sts-train.csv")] == [
        "sts-train.csv: 2 rows without a label (first at line 3) skipped",
        "sts-train.csv: 1 row without sentence2 (first at line 4) skipped",
        "sts-train.csv: 1 row without sentence1 and sentence2 and a label (first at line 6) skipped",
    ]


def test_missing_ids_are_made_from_the_row(folder: Path) -> None:
    corpus = sts_only(folder, b"0\t\ta\tb\t1\n1\tx\ta\tb\t1\n2\t\ta\tb\t1\n")
    assert corpus.splits["sts"]["train"].ids == ("train-0", "x", "train-2")
    assert "sts-train.csv: 2 rows without an id (first at line 2) called train-<row>" in corpus.notes


def test_quoted_fields_may_hold_quotes_tabs_and_newlines(folder: Path) -> None:
    texts = ['"So?" she said', "a\tb", 'two\n"lines"\n\nhere', '5" disk', '"""']
    write(folder / "sts-train.csv", STS, [[n, n, text, "b", 1] for n, text in enumerate(texts)])
    corpus = read_corpus(folder, {"sts": TASKS["sts"]})
    assert list(corpus.splits["sts"]["train"].texts[0]) == texts
    assert not any("sts-train" in note for note in corpus.notes)


@pytest.mark.parametrize("cell", [b'"open', b'"said" he', b'"', b'"a""', b'close"'])
def test_a_stray_quote_stays_in_its_row(folder: Path, cell: bytes) -> None:
    rows = b"0\tx\ta\tb\t1\n1\tx\t" + cell + b'\t"b ""c"""\t1\n2\tx\t"d\t"e\t1\n3\tx\tf"\tg\t1\n'
    corpus = sts_only(folder, rows)
    train = corpus.splits["sts"]["train"]
    assert train.texts == (("a", cell.decode(), '"d', 'f"'), ("b", 'b "c"', '"e', "g"))
    assert any("unbalanced quotes" in note and "read as they stand" in note for note in corpus.notes)


def test_a_stray_quote_in_each_text_of_a_row_keeps_the_texts_apart(folder: Path) -> None:
    corpus = sts_only(folder, b'0\tx\t"a\tb"\t1\n')
    assert corpus.splits["sts"]["train"].texts == (('"a',), ('b"',))


def test_stray_quotes_of_two_rows_do_not_swallow_the_rows_between(folder: Path) -> None:
    corpus = sts_only(folder, b'0\tx\t"a\tb\t1\n1\tx\tc\td\t1\n2\tx\te"\tf\t1\n')
    assert corpus.splits["sts"]["train"].texts == (('"a', "c", 'e"'), ("b", "d", "f"))


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        (b"0\tx\ta\tb\t1\n1\tx\ta\tb\n", 3, "4 tab-separated field"),
        (b'0\tx\t"a\n\nb"\tb\t1\n\n1\tx\ta\tb\t1\t\n', 6, "6 tab-separated field"),
        (b'0\tx\t"a\r\nb"\tb\t1\r\n1\tx\ta\tb\tnine\r\n', 4, "similarity 'nine' is not a number from 0 to 5"),
        (b"0\tx\ta\tb\t5.01\n", 2, "'5.01' is not a number from 0 to 5"),
        (b"0\tx\ta\tb\tnan\n", 2, "'nan' is not"),
        (b"0\tx\ta\tb\t1_0\n", 2, "'1_0' is not"),
        ("0\tx\ta\tb\t٣\n".encode(), 2, "'٣' is not a number from 0 to 5"),  # a digit, elsewhere
        (b'0\tx\t"a\nb"\tb\t1\n1\tx\ta\xff\tb\t1\n', 4, "byte 0xff"),
    ],
)
def test_a_line_that_is_not_of_the_layout_is_named(folder: Path, lines: bytes, line: int, words: str) -> None:
    with pytest.raises(UserError) as caught:
        sts_only(folder, lines)
    assert f"sts-train.csv, line {line}: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("value", ["5", "-1", "2.5", "good", "1e9", "inf"])
def test_a_class_that_does_not_exist_is_named_with_what_is_allowed(folder: Path, value: str) -> None:
    write(folder / "ids-sst-dev.csv", SST, [[0, "x", "fine", "2.0"], [1, "y", "bad", value]])
    assert f"ids-sst-dev.csv, line 3: sentiment '{value}' is not an integer from 0 to 4" in refused(folder)


def test_a_missing_split_says_what_was_found_and_what_is_expected(folder: Path) -> None:
    (folder / "quora-dev.csv").rename(folder / "quora-rest.csv")
    message = refused(folder)
    assert "no dev file for task 'qqp'" in message
    assert "sentence1, sentence2, is_duplicate" in message
    assert "quora-rest.csv ignored" in message and "sts" not in message.partition("found:")[2]


def test_two_files_for_one_split_are_refused_with_both_names(folder: Path) -> None:
    (folder / "copy-train.csv").write_bytes((folder / "sts-train.csv").read_bytes())
    message = refused(folder)
    assert (
        "copy-train.csv" in message and "sts-train.csv" in message and "train split of task 'sts'" in message
    )


def test_a_folder_that_is_missing_empty_or_a_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none")
    assert "is empty" in refused(tmp_path)
    (tmp_path / "file").touch()
    assert "Not a directory" in refused(tmp_path / "file")


@pytest.mark.parametrize(
    "content", ["\tid\tsentence\tsentiment\n", "\tid\tsentence\tsentiment\n0\tx\tfine\t\n"]
)
def test_a_split_without_a_usable_example_is_refused(folder: Path, content: str) -> None:
    (folder / "ids-sst-dev.csv").write_text(content)
    assert re.search(r"ids-sst-dev.csv: no usable example for the dev split of task 'sst'", refused(folder))


def test_other_files_are_ignored_and_noted(folder: Path) -> None:
    (folder / "model.bin").write_bytes(bytes(range(256)) * 1000)
    (folder / "empty").touch()
    (folder / "sub").mkdir()
    write(folder / "semicolons-train.csv", [";id;sentence;sentiment"], [])
    notes = read_corpus(folder, TASKS).notes
    assert [note.split()[0] for note in notes] == ["empty", "model.bin", "semicolons-train.csv"]


def test_overlap_counts_dev_pairs_that_stand_in_train_in_either_order(folder: Path) -> None:
    write(folder / "sts-train.csv", STS, [[0, "x", "A dog", "a  cat", 1], [1, "y", "red", "blue", 2]])
    write(folder / "sts-dev.csv", STS, [[0, "u", "a CAT", "a dog", 1], [1, "v", "red", "green", 2]])
    assert read_corpus(folder, TASKS).overlap == {"sst": {"dev": 0}, "qqp": {"dev": 0}, "sts": {"dev": 1}}


HEADERS = [
    b"\tid\tsentence1\tsentence2\tsimilarity\n",
    b"sentence\tsentiment\n",
    b"0\t\tid\tsentence\r\n",
    b"",
]
PIECES = [
    b"\t",
    b"\n",
    b'"',
    b'""',
    b"\r",
    b"\x00",
    b"\xff",
    b"0",
    b"1.0",
    b"a",
    "é\u2028".encode(),
    b"\xef\xbb\xbf",
]


@settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    header=st.sampled_from(HEADERS),
    body=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join),
    file=st.sampled_from(["sts-train.csv", "ids-sst-dev.csv", "ids-sst-test.csv", "other"]),
)
@example(header=HEADERS[0], body=b'0\tx\ta\t"' + b"b" * 200_000 + b'"\t1\n', file="sts-train.csv")
def test_whatever_the_bytes_it_returns_or_raises_a_user_error(
    folder: Path, header: bytes, body: bytes, file: str
) -> None:
    kept = (folder / file).read_bytes() if (folder / file).exists() else None
    (folder / file).write_bytes(header + body)
    try:
        corpus = read_corpus(folder, TASKS)
    except UserError:
        pass
    else:
        for examples in (examples for splits in corpus.splits.values() for examples in splits.values()):
            assert all(len(column) == len(examples) > 0 and all(column) for column in examples.texts)
    finally:
        if kept is None:
            (folder / file).unlink()
        else:
            (folder / file).write_bytes(kept)
