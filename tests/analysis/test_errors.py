from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState
from scipy import stats

from analysis.description import TaskInfo
from analysis.error_groups import Feature, correlation, error_by_group, error_trends, text_features
from analysis.errors import (
    agreement,
    confusion,
    constant_predictors,
    error_tables,
    forgetting,
    main,
    mistakes_by_group,
    most_wrong,
)
from analysis.examples import dev_examples, judged, read_texts, readable_examples
from analysis.study import load
from analysis.wording import (
    Vocabulary,
    characters,
    polarity,
    polarity_words,
    read_vocabulary,
    unknown_words,
    word_overlap,
    words,
)
from minbert.config import build_config
from minbert.corpora.reader import read_corpus
from minbert.errors import UserError
from tests.analysis.conftest import StudyWriter, sample_parameters

EXAMPLES = 40
WORDS = ["red", "green", "blue", "dark", "pale", "cold", "warm", "soft"]


def sentence(place: int, salt: int) -> str:
    return " ".join(WORDS[(place * salt + step) % len(WORDS)] for step in range(3 + place % 4)) + f" {place}"


def write_data(folder: Path, labels: dict[str, np.ndarray], sst: Sequence[str] = "01234") -> None:
    """A data folder whose dev examples are the synthetic study's; ``sst``: what its classes are called."""
    folder.mkdir()
    names = {"sst": ("ids-sst", "sentiment"), "qqp": ("quora", "is_duplicate"), "sts": ("sts", "similarity")}
    for task, (name, label) in names.items():
        columns = ["sentence"] if task == "sst" else ["sentence1", "sentence2"]
        for split, salt in (("train", 3), ("dev", 5)):
            lines = ["\t".join(["", "id", *columns, label])]
            for place, value in enumerate(labels[task]):
                texts = [sentence(place, salt + 2 * column) for column in range(len(columns))]
                said = sst[int(value)] if task == "sst" else f"{value:g}"
                lines.append("\t".join([str(place), f"{task}{place}", *texts, said]))
            (folder / f"{name}-{split}.csv").write_text("\n".join(lines) + "\n")


KINDS = ["praise", "complaint", "question", "thanks", "other"]
NewStudy = Callable[..., StudyWriter]


def searched_study(new_study: NewStudy, folder: Path, **sst: Any) -> StudyWriter:
    """Three complete trials whose data folder and configuration are there; ``sst``: what the space says of it."""
    labels = new_study("labels", examples=EXAMPLES).labels
    write_data(folder / "data", labels, sst.get("labels", "01234"))
    config = build_config({"tasks": {"sst": sst}})
    fingerprint = read_corpus(folder / "data", config.tasks).fingerprint
    data = {"path": str(folder / "data"), "fingerprint": fingerprint}
    writer = new_study(examples=EXAMPLES, data=data, space={"name": "small", "tasks": {"sst": sst}})
    random = np.random.default_rng(1)
    for number in range(3):
        writer.add(TrialState.COMPLETE, sample_parameters(random))
        file = writer.path / "trials" / f"{number:05d}" / "config.yaml"
        file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    return writer


@pytest.fixture
def study(new_study: NewStudy, tmp_path: Path) -> StudyWriter:
    return searched_study(new_study, tmp_path)


@pytest.fixture
def unordered(new_study: NewStudy, tmp_path: Path) -> StudyWriter:
    """A study whose first task has classes with names and in no order."""
    return searched_study(new_study, tmp_path, labels=KINDS, ordered=False)


def frame(labels: list[float], *outputs: list[float]) -> pd.DataFrame:
    columns = {f"output_{place}": column for place, column in enumerate(outputs)}
    ids = [f"id{place}" for place in range(len(labels))]
    return pd.DataFrame(
        {"number": 0, "split": "dev", "half": "report", "id": ids, "label": labels, **columns}
    )


# What a prediction says


def test_a_class_is_judged_by_its_number_its_expectation_and_the_labels_probability() -> None:
    found = judged(frame([2.0, 0.0], [0.1, 0.6], [0.2, 0.3], [0.7, 0.1]), "classification")
    assert found["predicted"].tolist() == [2, 0]
    assert found["value"].tolist() == pytest.approx([1.6, 0.5])
    assert found["error"].tolist() == pytest.approx([-0.4, 0.5])
    assert found["mistake"].tolist() == [0, 0]
    assert found["doubt"].tolist() == pytest.approx([0.3, 0.4])


def test_a_probability_and_a_number_are_judged_in_label_units() -> None:
    binary = judged(frame([1.0, 0.0], [0.2, 0.6]), "binary")
    assert binary["predicted"].tolist() == [0, 1]
    assert binary["error"].tolist() == pytest.approx([-0.8, 0.6])
    assert binary["mistake"].tolist() == [1, 1]
    assert binary["doubt"].tolist() == pytest.approx([0.8, 0.6])
    number = judged(frame([1.0, 4.0], [3.5, 3.0]), "regression")
    assert number["error"].tolist() == number["value"].sub([1.0, 4.0]).tolist() == [2.5, -1.0]
    assert number["mistake"].tolist() == [2.5, 1.0]


def test_the_confusion_matrix_counts_answers_by_label() -> None:
    examples = pd.DataFrame({"label": [0.0, 0, 1, 2, 2], "predicted": [0.0, 1, 1, 0, 0]})
    assert confusion(examples, list("abcd")).to_numpy().tolist() == [
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [2, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_the_most_wrong_come_worst_first_and_never_are_right() -> None:
    examples = judged(frame([1.0, 0.0, 1.0, 0.0], [0.4, 0.9, 0.1, 0.45]), "binary")
    assert most_wrong(examples)["id"].tolist() == ["id1", "id2", "id0"]
    assert most_wrong(examples, 1)["id"].tolist() == ["id1"]


# Words


def test_words_are_split_and_folded_as_bert_does() -> None:
    assert words("Megan-Leigh's CAFÉ, 19!") == ["megan", "leigh", "s", "cafe", "19"]
    assert words("Megan Café", lowercase=False) == ["Megan", "Café"]


def test_length_and_overlap_are_of_both_sentences() -> None:
    texts = [["A red cat", "none", "same same"], ["a blue cat", "of these", "SAME!"]]
    assert characters(texts).tolist() == [19, 12, 14]
    assert word_overlap(texts).tolist() == pytest.approx([2 / 4, 0, 1])


def test_unknown_words_are_those_that_the_vocabulary_has_in_parts_only() -> None:
    vocabulary = Vocabulary(frozenset({"man", "##ly", "quizzed", "Paris"}), lowercase=True)
    assert unknown_words([["Man quizzed manly", "man"], ["Paris!", "."]], vocabulary).tolist() == [2, 0]
    cased = Vocabulary(vocabulary.words, lowercase=False)
    assert unknown_words([["Man quizzed Paris"]], cased).tolist() == [1]


def test_a_vocabulary_is_read_from_either_file(tmp_path: Path) -> None:
    assert read_vocabulary(tmp_path) is None
    (tmp_path / "vocab.txt").write_text("[PAD]\nman\n##ly\n")
    assert read_vocabulary(tmp_path) == Vocabulary(frozenset({"[PAD]", "man", "##ly"}), True)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert read_vocabulary(tmp_path) == Vocabulary(frozenset({"[PAD]", "man", "##ly"}), False)
    whole = {"model": {"vocab": {"woman": 0}}, "normalizer": {"lowercase": True}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    assert read_vocabulary(tmp_path) == Vocabulary(frozenset({"woman"}), True)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(UserError, match=r"tokenizer\.json: the vocabulary cannot be read"):
        read_vocabulary(tmp_path)


def test_polarity_words_are_learned_where_labels_differ_surely_and_strongly() -> None:
    texts = ["a great film"] * 20 + ["a dull film"] * 20 + ["a rare great one"] * 2
    labels = np.array([4.0, 3.0] * 10 + [0.0, 1.0] * 10 + [4.0, 4.0])
    assert polarity_words(texts, labels) == {"great": 1, "dull": -1}
    assert polarity_words(texts, labels, least=2) == {"great": 1, "dull": -1}, "two texts are not sure"
    assert polarity_words(texts, labels, least=21) == {"great": 1}
    assert polarity_words(texts, np.full(42, 2.0)) == {}
    lean = ["often good"] * 600 + ["often bad"] * 400 + ["good"] * 400 + ["bad"] * 600
    graded = np.array([float("good" in text) for text in lean])
    assert polarity_words(lean, graded) == {"good": 1, "bad": -1}, "often is sure, but not strong"
    assert polarity([["great great dull", "film", "Dull."]], {"great": 1, "dull": -1}).tolist() == [1, 0, -1]


# Errors against what is counted


def test_errors_are_grouped_by_a_features_edges() -> None:
    labels, values = [1.0, 1, 1, 1, 2], [2.0, 3, 0, 1, 5]
    examples = judged(frame(labels, values), "regression")
    feature = Feature(
        "characters", np.array([10.0, 299, 300, 301, 999]), (0, 300, 1000), ("short", "long", "none")
    )
    table = error_by_group(examples, [feature]).set_index("group")
    assert list(table.index) == ["short", "long"]
    assert table["n"].tolist() == [2, 3]
    assert table["error"].tolist() == pytest.approx([1.5, 2 / 3])
    assert table["over"].tolist() == pytest.approx([1, 1 / 3])
    assert table["mistakes"].tolist() == pytest.approx([1.5, 4 / 3])
    half_width = stats.t.isf(0.025, 2) * np.std([-1, 0, 3], ddof=1) / np.sqrt(3)
    assert table.loc["long", "high"] == pytest.approx(2 / 3 + half_width)


def test_of_classes_in_no_order_wrong_answers_are_counted() -> None:
    outputs = [0.2, 0.1, 0.1, 0.7], [0.7, 0.8, 0.3, 0.2], [0.1, 0.1, 0.6, 0.1]
    examples = judged(frame([0.0, 1, 2, 0], *outputs), "classification")
    feature = Feature("characters", np.array([10.0, 20, 30, 500]), (0, 300), ("short", "long"))
    table = mistakes_by_group(examples, [feature]).set_index("group")
    assert table["n"].tolist() == [3, 1]
    assert table["mistakes"].tolist() == pytest.approx([1 / 3, 0])
    z, p, n = stats.norm.isf(0.025), np.array([1 / 3, 0]), np.array([3, 1])
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    wilson = np.stack([centre - half, centre + half]) / (1 + z**2 / n)
    assert table["low"].tolist() == pytest.approx(wilson[0]) and table["high"].tolist() == pytest.approx(
        wilson[1]
    )


def test_long_pairs_that_are_overestimated_show_at_equal_labels() -> None:
    """Long pairs have low labels here, and low labels are overestimated: only the rest is length's doing."""
    random = np.random.default_rng(0)
    label = random.uniform(0, 5, 3000)
    length = -label + random.normal(size=3000)
    shrunk = -0.8 * label + random.normal(size=3000)
    for effect in (0.0, 0.5):
        examples = pd.DataFrame({"label": label, "error": shrunk + effect * (length + label)})
        trend = error_trends(examples, [Feature("length", length, (0,), ("all",))]).iloc[0]
        assert trend["rho"] > 0.3
        assert (trend["p_holm"] < 0.001) == (effect > 0)
        assert abs(trend["rho_at_label"] - (0.4 if effect else 0.0)) < 0.1


def test_a_trend_is_spearmans_and_its_p_is_of_the_partial_correlation() -> None:
    random = np.random.default_rng(2)
    x, label = random.integers(0, 4, 60).astype(float), random.uniform(0, 5, 60)
    error = random.normal(size=60) + 0.3 * x
    examples = pd.DataFrame({"label": label, "error": error})
    features = [Feature("x", x, (0,), ("all",)), Feature("same", np.ones(60), (0,), ("all",))]
    found = error_trends(examples, features)
    assert found.loc[0, "rho"] == pytest.approx(stats.spearmanr(x, error).statistic)
    ranks = [stats.rankdata(one) for one in (x, error, label)]
    design = np.stack([np.ones(60), ranks[2]], axis=1)
    residuals = [one - design @ np.linalg.lstsq(design, one, rcond=None)[0] for one in ranks[:2]]
    partial = np.corrcoef(*residuals)[0, 1]
    assert found.loc[0, "rho_at_label"] == pytest.approx(partial)
    regression = stats.t.sf(abs(partial) * np.sqrt(57 / (1 - partial**2)), 57) * 2
    assert found.loc[0, "p"] == found.loc[0, "p_holm"] == pytest.approx(regression)
    assert found.loc[1, ["rho", "p", "p_holm"]].isna().all()


def test_features_that_an_example_cannot_have_are_left_out() -> None:
    one, pair = [["a b"]], [["a b"], ["b c"]]
    assert [feature.name for feature in text_features(one)] == ["characters"]
    assert [feature.name for feature in text_features(pair)] == ["characters", "word overlap"]
    known = Vocabulary(frozenset({"a"}), True)
    found = text_features(one, known, {"a": -1})
    assert [feature.name for feature in found] == ["characters", "unknown words", "polarity words"]
    groups = error_by_group(judged(frame([1.0], [0.9]), "binary"), found).set_index("feature")["group"]
    assert groups["polarity words"] == "more negative"
    assert groups["unknown words"] == "1"


def test_correlation_with_a_constant_is_none() -> None:
    assert correlation(np.ones(5), np.arange(5.0)) == 0
    assert correlation(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1)


# Trials and stages


def history(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def test_forgetting_follows_every_task_through_the_stages() -> None:
    def row(stage: str, epoch: int, sst: float, qqp: float, **extra: object) -> dict[str, object]:
        return {"number": 4, "stage": stage, "epoch": epoch, "report/sst": sst, "report/qqp": qqp, **extra}

    nan = math.nan
    frame = history(
        {"number": 4, "stage": "simcse", "epoch": 1},
        row("first", 1, nan, nan, **{"train_loss/sst": 1.0}),
        row("first", 2, 0.5, 0.6, **{"train_loss/sst": 0.9}),
        row("second", 1, 0.3, 0.8, **{"train_loss/qqp": 0.9}),
        row("third", 1, 0.4, 0.7, final_stage=True, **{"train_loss/qqp": 0.9}),
    )
    found = forgetting(frame, ["sst", "qqp"]).set_index(["stage", "task"])
    assert list(found.index.get_level_values("stage").unique()) == ["first", "second", "third"]
    assert found["trained"].tolist() == [True, False, False, True, False, True]
    assert found.loc[("first", "sst"), ["change", "lost"]].isna().all()
    assert found.loc[("third", "sst"), ["value", "change", "lost"]].tolist() == pytest.approx([0.4, 0.1, 0.1])
    assert found.loc[("second", "qqp"), ["change", "lost"]].tolist() == pytest.approx([0.2, 0])


def test_forgetting_of_a_history_without_scores_is_empty() -> None:
    assert forgetting(pd.DataFrame(), ["sst"]).empty
    assert forgetting(history({"number": 0, "stage": "simcse", "epoch": 1}), ["sst"]).empty


def test_constant_predictors_are_counted_over_epochs() -> None:
    frame = history(
        {"number": 0, "constant": ["qqp", "sts"]},
        {"number": 0, "constant": ["sts"]},
        {"number": 1, "constant": []},
        {"number": 2, "constant": math.nan},
    )
    found = constant_predictors(frame)
    assert found.to_dict("records") == [
        {"number": 0, "task": "qqp", "epochs": 1, "scored": 2, "last": False},
        {"number": 0, "task": "sts", "epochs": 2, "scored": 2, "last": True},
    ]
    assert constant_predictors(frame.drop(columns="constant")).empty


def test_agreement_is_pairwise_over_the_same_examples() -> None:
    first, second = frame([1.0, 1, 0, 0], [0.9, 0.9, 0.9, 0.1]), frame([1.0, 1, 0, 0], [0.9, 0.1, 0.9, 0.1])
    both = pd.concat([first, second.assign(number=7)])
    found = agreement(both, "binary").iloc[0]
    assert found[["first", "second", "agreement"]].tolist() == [0, 7, 0.75]
    assert found["errors"] == pytest.approx(np.corrcoef([0, 0, 1, 0], [0, 1, 1, 0])[0, 1])
    numbers = agreement(both, "regression").iloc[0]
    assert numbers["agreement"] == pytest.approx(np.corrcoef(first["output_0"], second["output_0"])[0, 1])
    assert agreement(both.assign(split="test"), "binary").empty


# The study's texts and the command


def test_examples_carry_the_studys_texts_in_order(study: StudyWriter, tmp_path: Path) -> None:
    loaded = load(study.path)
    corpus = read_texts(loaded, 0)
    found = dev_examples(loaded, 0, "sts", corpus)
    assert found["text_0"].tolist() == [sentence(place, 5) for place in range(EXAMPLES)]
    assert found["text_1"].tolist() == [sentence(place, 7) for place in range(EXAMPLES)]
    assert found["label"].tolist() == study.labels["sts"].tolist()


def test_a_data_folder_that_is_gone_or_other_is_refused(study: StudyWriter, tmp_path: Path) -> None:
    loaded, moved = load(study.path), tmp_path / "moved"
    (tmp_path / "data").rename(moved)
    with pytest.raises(UserError, match="data: the study's data folder is gone"):
        read_texts(loaded, 0)
    assert read_texts(loaded, 0, moved).path == moved
    file = moved / "sts-dev.csv"
    file.write_text(file.read_text().replace("warm", "mild"))
    with pytest.raises(UserError, match="these are not the data that the study was run on"):
        read_texts(loaded, 0, moved)


def test_predictions_of_other_examples_are_refused(study: StudyWriter) -> None:
    loaded = load(study.path)
    corpus = read_texts(loaded, 0)
    file = study.path / "trials" / "00000" / "predictions" / "sst.parquet"
    pd.read_parquet(file).iloc[1:].to_parquet(file)
    with pytest.raises(UserError, match=r"sst\.parquet: its examples are not those of"):
        dev_examples(loaded, 0, "sst", corpus)
    file.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"sst\.parquet: cannot be read as Parquet"):
        dev_examples(loaded, 0, "sst", corpus)
    file.unlink()
    with pytest.raises(UserError, match="trial 0 has no stored predictions for sst"):
        dev_examples(load(study.path), 0, "sst", corpus)


def test_the_tables_are_text_and_hold_every_task(study: StudyWriter) -> None:
    loaded = load(study.path)
    corpus = read_texts(loaded, 1)
    tables = error_tables(loaded, 1, corpus, readable_examples(loaded, 1, corpus)[0])
    assert [title for title in tables if title.startswith("sst")] == [
        "sst: labels (rows) and answers",
        "sst: most wrong",
        "sst: error (value − label) by group",
        "sst: what errors go along with",
    ]
    counts = tables["sst: labels (rows) and answers"].iloc[:, 1:6].astype(int)
    assert counts.to_numpy().sum() == EXAMPLES
    right = np.diag(counts).sum() / EXAMPLES
    assert right == pytest.approx(loaded.trials.set_index("number").loc[1, "dev/sst"])
    assert "sts: labels (rows) and answers" not in tables
    assert any("report metrics after every stage" in title for title in tables)


def test_classes_in_no_order_get_no_signed_error_and_no_polarity(unordered: StudyWriter) -> None:
    loaded = load(unordered.path)
    corpus = read_texts(loaded, 1)
    tables = error_tables(loaded, 1, corpus, readable_examples(loaded, 1, corpus)[0])
    assert [title for title in tables if title.startswith("sst")] == [
        "sst: labels (rows) and answers",
        "sst: most wrong",
        "sst: share of mistakes by group",
    ]
    groups = tables["sst: share of mistakes by group"]
    assert list(groups) == ["feature", "group", "n", "mistakes", "95% interval"]
    assert "polarity words" not in set(groups["feature"])
    wrong = (groups["mistakes"].astype(float) * groups["n"].astype(int))[groups["feature"] == "characters"]
    accuracy = loaded.trials.set_index("number").loc[1, "dev/sst"]
    assert wrong.sum() == pytest.approx(EXAMPLES * (1 - accuracy), abs=0.1)
    assert "sts: error (value − label) by group" in tables


def test_classes_are_shown_by_their_labels(
    unordered: StudyWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load(unordered.path)
    corpus = read_texts(loaded, 1)
    tables = error_tables(loaded, 1, corpus, readable_examples(loaded, 1, corpus)[0])
    named = ["0 praise", "1 complaint", "2 question", "3 thanks", "4 other"]
    assert tables["sst: labels (rows) and answers"]["label"].tolist() == named
    assert list(tables["sst: labels (rows) and answers"])[1:6] == named
    assert set(tables["sst: most wrong"][["label", "answer"]].to_numpy().ravel()) <= set(named)
    main([str(unordered.path), "--trial", "1"])
    assert "2 question" in capsys.readouterr().out


def test_labels_that_are_numbers_stand_alone() -> None:
    info = TaskInfo.model_validate({"kind": "classification", "classes": 3, "labels": [1, 2, 3]})
    assert info.class_names == ("1", "2", "3")
    assert TaskInfo(kind="binary").class_names == ("0", "1")


@pytest.mark.parametrize(
    ("space", "ordered"),
    [
        ({"name": "of before"}, True),
        ({"name": "small", "tasks": {"sst": {"head": {"kind": "linear"}}}}, True),
        ({"name": "small", "tasks": {"sst": {"ordered": False}}}, False),
        ({"name": "small", "tasks": {"sst": {"ordered": {"choice": [True]}}}}, True),
    ],
)
def test_what_a_space_says_of_a_task_stands_over_the_default(
    new_study: NewStudy, space: dict[str, Any], ordered: bool
) -> None:
    assert load(new_study(space=space).path).tasks["sst"].is_scale == ordered


def test_classes_of_an_own_task_are_in_no_order_unless_it_says_so(new_study: NewStudy) -> None:
    own = {"kind": "classification", "classes": 3, "labels": ["a", "b", "c"]}
    space = {"name": "own", "tasks": {"tickets": own, "stars": {**own, "ordered": True}, "yes": {}}}
    shape = {"kind": "classification", "classes": 3}
    tasks = {"tickets": shape, "stars": shape, "yes": {"kind": "binary"}}
    found = load(new_study(space=space, tasks=tasks).path).tasks
    assert {name: info.is_scale for name, info in found.items()} == {
        "tickets": False,
        "stars": True,
        "yes": True,
    }
    assert found["tickets"].class_names == ("0 a", "1 b", "2 c")


def test_labels_that_do_not_fit_the_classes_are_damage(new_study: NewStudy) -> None:
    space = {"name": "own", "tasks": {"sst": {"labels": ["a", "b"]}}}
    with pytest.raises(UserError, match=r"study\.yaml: damaged at tasks\.sst: .*2 labels for 5 classes"):
        load(new_study(space=space).path)


def test_the_command_shows_the_best_trial_unless_one_is_named(
    study: StudyWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    best = int(load(study.path).trials["score"].idxmax())
    assert main([str(study.path)]) == 0
    printed = capsys.readouterr().out
    assert f"trial {best} of {study.path}, on all of dev" in printed
    assert "red green" in printed or "green blue" in printed
    main([str(study.path), "--trial", "1"])
    assert "trial 1 of" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--trial 9: .* has 3 trials"):
        main([str(study.path), "--trial", "9"])


def test_a_task_whose_predictions_are_damaged_is_named_and_the_others_are_shown(
    study: StudyWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study.path / "trials" / "00001" / "predictions"
    (folder / "sst.parquet").write_bytes(b"PAR1")
    assert main([str(study.path), "--trial", "1"]) == 0
    printed = capsys.readouterr().out
    assert f"warning: sst is left out: {folder / 'sst.parquet'}: cannot be read as Parquet" in printed
    assert "qqp: most wrong" in printed and "sts: most wrong" in printed and "sst: most wrong" not in printed
    for file in folder.iterdir():
        file.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"sst\.parquet: cannot be read as Parquet"):
        main([str(study.path), "--trial", "1"])


def test_a_mistake_is_one_line_and_exit_code_2(study: StudyWriter) -> None:
    command = [sys.executable, "-m", "analysis.errors", str(study.path), "--data", "/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: /nowhere: the study's data folder is gone")
    assert done.stderr.count("\n") == 1


def test_without_complete_trials_the_command_asks_for_one(new_study: Callable[..., StudyWriter]) -> None:
    with pytest.raises(UserError, match="no trial is complete; name one with --trial"):
        main([str(new_study("empty").path)])


def test_neither_command_imports_torch_or_ray() -> None:
    code = "import sys, analysis.errors, analysis.ensemble; print({'torch', 'ray', 'trainables'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
