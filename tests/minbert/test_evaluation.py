"""Metrics, the score, which examples choose, and the stored predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from minbert.config import Selection, TrainConfig, default_tasks
from minbert.corpora.batching import Batcher
from minbert.corpora.rows import training_rows
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.encoder import pack
from minbert.errors import TrainingFailure
from minbert.evaluation import Evaluator, metric, probabilities, score
from minbert.model import MultitaskModel, build_model
from minbert.trial import Materials

RNG = np.random.default_rng(0)
Made = tuple[Evaluator, MultitaskModel]


@pytest.fixture
def make(
    configure: Callable[..., TrainConfig], materials: Callable[[Path], Materials], tmp_path: Path
) -> Callable[[Selection], Made]:
    """An evaluator and an untrained model whose heads are large enough to give varied outputs."""

    def build(selection: Selection) -> Made:
        config = configure(selection=selection)
        given = materials(tmp_path)
        model = build_model(config, given.encoder.config, dict(given.weights))
        with torch.no_grad():
            for parameter in model.heads.parameters():
                parameter.mul_(40)
        inputs = {task: model.head(task).inputs for task in config.tasks}
        batcher = Batcher(given.corpus, inputs, config.max_length, torch.device("cpu"))
        return Evaluator(given.corpus, batcher, config.tasks, selection), model

    return build


def test_pearson_is_scipys() -> None:
    predictions, labels = RNG.normal(size=(50, 1)), RNG.uniform(0, 5, 50)
    expected = scipy.stats.pearsonr(predictions[:, 0], labels).statistic
    assert metric("regression", predictions, labels) == pytest.approx(expected, abs=1e-12)
    assert metric("regression", np.ones((50, 1)), labels) == 0.0
    assert metric("regression", predictions, np.ones(50)) == 0.0


def test_accuracies_count_equal_labels() -> None:
    logits, classes = RNG.normal(size=(60, 5)), RNG.integers(0, 5, 60)
    right = sum(
        int(max(range(5), key=row.__getitem__)) == label
        for row, label in zip(logits.tolist(), classes, strict=True)
    )
    assert metric("classification", logits, classes.astype(float)) == pytest.approx(right / 60)
    values, labels = np.array([[0.2], [0.5], [0.51], [0.9]]), np.array([0.0, 1.0, 1.0, 0.0])
    assert metric("binary", values, labels) == 0.5


def test_the_score_is_the_mean_with_pearson_mapped_to_0_1() -> None:
    assert score({"sst": 0.5, "qqp": 0.8, "sts": 0.6}, default_tasks()) == pytest.approx(
        (0.5 + 0.8 + 0.8) / 3
    )
    assert score({"sst": 0.0, "qqp": 0.0, "sts": -1.0}, default_tasks()) == 0.0


def test_outputs_become_probabilities_or_stay_values() -> None:
    logits = torch.tensor([[0.0, np.log(3.0)]])
    torch.testing.assert_close(probabilities("classification", logits), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(
        probabilities("binary", torch.tensor([0.0, np.log(3.0)])), torch.tensor([[0.5], [0.75]])
    )
    torch.testing.assert_close(probabilities("regression", torch.tensor([7.5])), torch.tensor([[7.5]]))


@pytest.mark.parametrize("task", ["sst", "qqp", "sts"])
def test_predictions_stand_in_the_order_of_the_examples(task: str, make: Callable[[Selection], Made]) -> None:
    evaluator, model = make("dev")
    together = evaluator.predict(model, task, "dev")
    alone = [evaluator.predict(model, task, "dev", np.array([row]))[0] for row in range(24)]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
    assert np.ptp(together) > 0.01
    some = np.array([2, 5, 11])
    np.testing.assert_allclose(
        evaluator.predict(model, task, "dev", some), together[some], rtol=1e-5, atol=1e-5
    )


def test_evaluation_has_no_dropout(make: Callable[[Selection], Made]) -> None:
    evaluator, model = make("dev")
    model.dropout.seed(1)
    one, two = (evaluator.predict(model, "sst", "dev") for _ in range(2))
    assert np.array_equal(one, two) and not model.dropout.active


def metrics_by_hand(
    evaluator: Evaluator, model: MultitaskModel, split: str, rows: Callable[[str], np.ndarray]
) -> dict[str, float]:
    found = {}
    for task, config in evaluator.tasks.items():
        labels = evaluator.corpus.splits[task][split].labels
        assert labels is not None
        chosen = rows(task)
        found[task] = metric(config.kind, evaluator.predict(model, task, split)[chosen], labels[chosen])
    return {**found, "score": score(found, evaluator.tasks)}


def test_dev_half_selects_on_one_half_and_reports_the_other(make: Callable[[Selection], Made]) -> None:
    evaluator, model = make("dev_half")
    parts = evaluator.evaluate(model).parts
    splits = evaluator.corpus.splits
    assert parts["select"] == pytest.approx(
        metrics_by_hand(evaluator, model, "dev", lambda t: splits[t]["dev"].selected)
    )
    assert parts["report"] == pytest.approx(
        metrics_by_hand(evaluator, model, "dev", lambda t: ~splits[t]["dev"].selected)
    )
    assert parts["dev"] == pytest.approx(metrics_by_hand(evaluator, model, "dev", lambda t: np.arange(24)))
    assert parts["select"] != parts["report"]


def test_train_holdout_selects_on_the_tenth_of_train_that_is_not_trained_on(
    make: Callable[[Selection], Made], small_corpus: TokenisedCorpus
) -> None:
    evaluator, model = make("train_holdout")
    parts = evaluator.evaluate(model).parts
    held = {task: splits["train"].selected for task, splits in small_corpus.splits.items()}
    expected = metrics_by_hand(evaluator, model, "train", lambda task: np.flatnonzero(held[task]))
    assert parts["select"] == pytest.approx(expected, abs=1e-6)
    assert parts["report"] == parts["dev"]
    for task, selected in held.items():
        assert selected is not None and 1 <= selected.sum() <= 8
        assert (
            training_rows(small_corpus, task, "train_holdout").tolist() == np.flatnonzero(~selected).tolist()
        )
        assert len(training_rows(small_corpus, task, "dev_half")) == 40


def test_train_is_scored_on_what_was_trained_on(
    make: Callable[[Selection], Made], small_corpus: TokenisedCorpus
) -> None:
    evaluator, model = make("train_holdout")
    rows = {task: training_rows(small_corpus, task, "train_holdout") for task in small_corpus.splits}
    expected = metrics_by_hand(evaluator, model, "train", lambda task: rows[task])
    assert evaluator.on_train(model) == pytest.approx(expected, abs=1e-6)


def test_of_a_large_training_set_a_fixed_sample_is_scored(
    make: Callable[[Selection], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minbert.evaluation._TRAIN_EXAMPLES", 11)
    evaluator, model = make("dev_half")
    sampled = evaluator.on_train(model)
    assert {round(sampled[task] * 11, 6) % 1 for task in ("sst", "qqp")} == {0}
    again, other = make("dev")
    other.load_state_dict(model.state_dict())
    assert again.on_train(other) == sampled


def test_dev_selects_and_reports_on_all_of_dev(make: Callable[[Selection], Made]) -> None:
    evaluator, model = make("dev")
    parts = evaluator.evaluate(model).parts
    assert parts["select"] == parts["report"] == parts["dev"]


def test_stored_predictions_name_split_half_id_and_label(
    make: Callable[[Selection], Made], small_corpus: TokenisedCorpus
) -> None:
    evaluator, model = make("dev_half")
    values = evaluator.predict(model, "sst", "dev")
    frame = evaluator.frame("sst", "dev", values)
    assert list(frame) == ["split", "half", "id", "label", *(f"output_{n}" for n in range(5))]
    assert frame["id"].tolist() == [f"dev{n}" for n in range(24)]
    assert frame["label"].tolist() == [n % 5 for n in range(24)]
    assert ((frame["half"] == "select") == small_corpus.splits["sst"]["dev"].selected).all()
    np.testing.assert_array_equal(frame[[f"output_{n}" for n in range(5)]], values)
    np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-5)
    test = evaluator.frame("qqp", "test", evaluator.predict(model, "qqp", "test"))
    assert list(test) == ["split", "half", "id", "label", "output_0"]
    assert test["label"].isna().all() and test["half"].isna().all() and len(test) == 8


@pytest.mark.parametrize("selection", ["dev", "train_holdout"])
def test_without_halves_all_of_dev_is_reported(
    selection: Selection, make: Callable[[Selection], Made]
) -> None:
    evaluator, model = make(selection)
    frame = evaluator.frame("sts", "dev", evaluator.predict(model, "sts", "dev"))
    assert set(frame["half"]) == {"report"}


def with_dev_examples(evaluator: Evaluator, **examples: int) -> Evaluator:
    tasks = {
        task: config.model_copy(update={"dev_examples": examples.get(task)})
        for task, config in evaluator.tasks.items()
    }
    return dataclasses.replace(evaluator, tasks=tasks)


@pytest.mark.parametrize("selection", ["dev", "dev_half", "train_holdout"])
def test_between_epochs_the_first_of_the_choosing_examples_are_scored(
    selection: Selection, make: Callable[[Selection], Made]
) -> None:
    whole, model = make(selection)
    evaluator = with_dev_examples(whole, qqp=3)
    assert evaluator.partial and not whole.partial
    data = whole.corpus.splits["qqp"]["train" if selection == "train_holdout" else "dev"]
    rows = np.arange(len(data)) if selection == "dev" else np.flatnonzero(data.selected)
    split = "train" if selection == "train_holdout" else "dev"
    first = metric("binary", whole.predict(model, "qqp", split, rows[:3]), data.labels[rows[:3]])
    found = evaluator.between_epochs(model).parts
    everything = whole.evaluate(model).parts["select"]
    assert set(found) == {"select"}
    assert found["select"]["qqp"] == first
    for task in ("sst", "sts"):  # in batches of other examples
        assert found["select"][task] == pytest.approx(everything[task], rel=1e-6)


def test_further_measures_stand_beside_the_metrics(make: Callable[[Selection], Made]) -> None:
    evaluator, model = make("dev_half")
    evaluation = evaluator.evaluate(model)
    for part, metrics in evaluation.parts.items():
        measures = evaluation.measures[part]
        assert measures["plain"] == pytest.approx((metrics["sst"] + metrics["qqp"] + metrics["sts"]) / 3)
        assert measures["plain"] != pytest.approx(metrics["score"])
        assert measures["sst"]["accuracy"] == metrics["sst"] and measures["sts"]["pearson"] == metrics["sts"]
        assert set(measures["qqp"]) == {"accuracy", "f1"} and set(measures["sts"]) == {"pearson", "spearman"}


def test_a_constant_answer_is_flagged(make: Callable[[Selection], Made]) -> None:
    evaluator, model = make("dev")
    before = evaluator.evaluate(model).constant
    with torch.no_grad():
        for parameter in model.head("qqp").parameters():
            parameter.zero_()
        model.head("qqp").output.bias.fill_(-1.0)  # type: ignore[union-attr, operator]
    evaluation = evaluator.evaluate(model)
    assert "qqp" in evaluation.constant and "sts" not in before
    labels = evaluator.corpus.splits["qqp"]["dev"].labels
    assert evaluation.parts["dev"]["qqp"] == pytest.approx(1 - labels.mean())  # the answer is "no"


def test_predictions_that_are_no_numbers_fail_the_trial(make: Callable[[Selection], Made]) -> None:
    evaluator, model = make("dev")
    with torch.no_grad():
        model.head("sts").output.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingFailure, match="sts") as failure:
        evaluator.evaluate(model)
    assert failure.value.cause == "nan"


def test_geometry_is_of_the_sentences_encoded_alone(make: Callable[[Selection], Made]) -> None:
    """Alignment over the pairs with a label of at least 4, uniformity over all sentences."""
    evaluator, model = make("dev")
    dev = evaluator.corpus.splits["sts"]["dev"]
    ends = (np.array([evaluator.corpus.cls_id]), np.array([evaluator.corpus.sep_id]))
    sides = []
    for table in dev.columns:
        vectors = []
        for row in range(len(dev)):
            sequence = np.concatenate([ends[0], table[row], ends[1]]).astype(np.int32)
            with torch.inference_mode():
                vector = model.embed(pack([sequence], [len(sequence)]), 0.0)[0].double().numpy()
            vectors.append(vector / np.linalg.norm(vector))
        sides.append(vectors)
    close = [float(((a - b) ** 2).sum()) for a, b, y in zip(*sides, dev.labels, strict=True) if y >= 4]
    both = [*sides[0], *sides[1]]
    apart = [
        np.exp(-2 * ((both[i] - both[j]) ** 2).sum())
        for i in range(len(both))
        for j in range(i + 1, len(both))
    ]
    found = evaluator.geometry(model)
    assert len(close) > 1
    assert found["alignment"] == pytest.approx(np.mean(close), rel=1e-4)
    assert found["uniformity"] == pytest.approx(np.log(np.mean(apart)), rel=1e-4)
