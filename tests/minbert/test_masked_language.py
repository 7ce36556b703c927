"""The masked-language term: what is masked, the loss, and the gradient of the tied word embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from minbert.checkpoint import EncoderFiles
from minbert.config import TrainConfig
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.errors import UserError
from minbert.masked_language import Masked, MaskedLanguage, MaskedLanguageHead, mask_tokens
from minbert.model import MultitaskModel, build_model

CPU = torch.device("cpu")
MASK, VOCABULARY = 4, 47


@pytest.fixture
def model(configure: Callable[..., TrainConfig], encoder_files: EncoderFiles) -> MultitaskModel:
    return build_model(configure(), encoder_files.config, encoder_files.weights())


def term(
    model: MultitaskModel, corpus: TokenisedCorpus, share: float = 0.4, rate: float = 0.0
) -> MaskedLanguage:
    return MaskedLanguage(model, corpus, share, rate, CPU, seed=5)


def sequences(count: int, seed: int = 0) -> list[np.ndarray]:
    """Sentences of 1 to 9 words between [CLS] and [SEP], in no order of length."""
    rng = np.random.default_rng(seed)
    return [
        np.array([2, *rng.integers(5, VOCABULARY, rng.integers(1, 10)), 3], dtype=np.int32)
        for _ in range(count)
    ]


def masked(share: float, count: int = 2000) -> tuple[np.ndarray, Masked]:
    given = sequences(count)
    found = mask_tokens(given, share, MASK, VOCABULARY, np.random.default_rng(1))
    return np.concatenate(given), found


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_the_share_of_the_words_is_chosen_and_never_a_special_token(share: float) -> None:
    before, found = masked(share)
    words = before > MASK
    assert words[found.chosen].all()
    assert len(found.chosen) / words.sum() == pytest.approx(share, abs=0.015)
    assert found.answers.tolist() == before[found.chosen].tolist()
    untouched = np.ones(len(before), dtype=bool)
    untouched[found.chosen] = False
    assert (found.tokens[untouched] == before[untouched]).all()


def test_of_the_chosen_eight_tenths_are_masked_one_is_random_and_one_stays() -> None:
    _, found = masked(0.5)
    now = found.tokens[found.chosen]
    assert (now == MASK).mean() == pytest.approx(0.8 + 0.1 / VOCABULARY, abs=0.02)
    assert (now == found.answers).mean() == pytest.approx(0.1 + 0.1 / VOCABULARY, abs=0.02)
    other = now[(now != MASK) & (now != found.answers)]
    assert set(other) == set(range(VOCABULARY)) - {MASK}  # any word at all, special ones too


def test_one_token_is_chosen_where_it_would_be_none() -> None:
    for seed in range(20):
        given = [np.array([2, 9, 3], dtype=np.int32), np.array([2, 10, 11, 3], dtype=np.int32)]
        found = mask_tokens(given, 1e-9, MASK, VOCABULARY, np.random.default_rng(seed))
        assert len(found.chosen) == 1 and found.chosen[0] in (1, 4, 5)


def reference(
    model: MultitaskModel, folder: Path, given: list[np.ndarray], found: Masked
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of transformers' masked-language model with the same weights."""
    bert = transformers.BertForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    head = model.auxiliary["masked_language"]
    assert isinstance(head, MaskedLanguageHead)
    predictions = bert.cls.predictions
    predictions.transform.dense.load_state_dict(head.dense.state_dict())
    predictions.transform.LayerNorm.load_state_dict(head.LayerNorm.state_dict())
    assert predictions.decoder.weight is bert.bert.embeddings.word_embeddings.weight
    with torch.no_grad():
        predictions.bias.copy_(head.bias)
        predictions.decoder.bias.copy_(head.bias)
    longest = max(map(len, given))
    ids, labels = torch.zeros(2, len(given), longest, dtype=torch.int64)
    labels -= 100
    attention = torch.zeros_like(ids)
    answers = dict(zip(found.chosen.tolist(), found.answers.tolist(), strict=True))
    place = 0
    for row, sequence in enumerate(given):
        for column in range(len(sequence)):
            ids[row, column] = int(found.tokens[place])
            labels[row, column] = answers.get(place, -100)
            attention[row, column] = 1
            place += 1
    loss = bert(input_ids=ids, attention_mask=attention, labels=labels).loss
    loss.backward()
    return loss.item(), {name: p.grad for name, p in bert.named_parameters() if p.grad is not None}


def test_loss_and_gradients_are_those_of_transformers_model(
    model: MultitaskModel, small_corpus: TokenisedCorpus, tiny_encoder: Path
) -> None:
    given = sequences(7)
    loss, tokens = term(model, small_corpus).loss(given, np.random.default_rng(3))
    loss.backward()
    found = mask_tokens(given, 0.4, MASK, VOCABULARY, np.random.default_rng(3))
    assert 0 not in found.tokens  # transformers gives the padding word no gradient of its look-up
    expected, gradients = reference(model, tiny_encoder, given, found)
    assert tokens == sum(map(len, given))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    for name, gradient in gradients.items():
        if name.startswith("bert."):
            own = model.encoder.get_parameter(name.removeprefix("bert.")).grad
            torch.testing.assert_close(own, gradient, rtol=1e-4, atol=1e-6)
    own = model.auxiliary["masked_language"].get_parameter("dense.weight").grad
    torch.testing.assert_close(own, gradients["cls.predictions.transform.dense.weight"], rtol=1e-4, atol=1e-6)


def test_filler_tokens_do_not_move_the_chosen_ones(
    model: MultitaskModel, small_corpus: TokenisedCorpus
) -> None:
    given = sequences(7)
    objective = term(model, small_corpus)
    plain, _ = objective.loss(given, np.random.default_rng(3))
    model.token_multiple = 64
    filled, _ = objective.loss(given, np.random.default_rng(3))
    assert filled.item() == pytest.approx(plain.item(), rel=1e-5)


def test_clearing_leaves_no_word_with_a_gradient_whether_it_was_read_or_only_offered(
    model: MultitaskModel, small_corpus: TokenisedCorpus
) -> None:
    objective = term(model, small_corpus)
    given = [np.array([2, 9, 10, 11, 3], dtype=np.int32)] * 3
    results = []
    for _ in range(2):
        loss, _ = objective.loss(given, np.random.default_rng(3))
        loss.backward()
        gradient = model.encoder.embeddings.word_embeddings.weight.grad
        assert gradient is not None and (gradient.abs().sum(1) > 0).all()
        results.append(gradient.clone())
        model.clear_gradients()
        for parameter in model.parameters():
            assert parameter.grad is None or not parameter.grad.any()
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_dropout_goes_on_in_the_step_s_stream(model: MultitaskModel, small_corpus: TokenisedCorpus) -> None:
    objective = term(model, small_corpus, rate=0.3)

    def loss(seed: int) -> float:
        model.dropout.seed(seed)
        return objective.loss(sequences(4), np.random.default_rng(3))[0].item()

    assert loss(1) == loss(1) != loss(2)


def test_a_vocabulary_without_mask_is_refused(model: MultitaskModel, small_corpus: TokenisedCorpus) -> None:
    with pytest.raises(UserError, match=r"needs \[MASK\]"):
        term(model, dataclasses.replace(small_corpus, mask_id=None))
