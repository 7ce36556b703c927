"""Checkpoints go to transformers and back, and bad ones are refused in one line."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from minbert.bundled import ENCODER
from minbert.checkpoint import load_encoder, open_encoder, save_encoder
from minbert.encoder import pack
from minbert.errors import UserError


@pytest.fixture
def folder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_encoder, tmp_path / "copy")


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})


def reconfigure(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def test_a_saved_encoder_is_loaded_by_transformers_and_by_us(tiny_encoder: Path, tmp_path: Path) -> None:
    files = open_encoder(tiny_encoder)
    encoder = load_encoder(files.config, files.weights())
    with torch.no_grad():
        encoder.embeddings.LayerNorm.bias += 0.5
    save_encoder(encoder, tmp_path / "saved", tiny_encoder)
    again = open_encoder(tmp_path / "saved")
    assert again.config == files.config
    assert again.fingerprint != files.fingerprint
    weights = again.weights()
    theirs = transformers.BertModel.from_pretrained(tmp_path / "saved").state_dict()
    for name, value in encoder.state_dict().items():
        assert torch.equal(weights[name], value) and torch.equal(theirs[name], value)
    assert (tmp_path / "saved" / "vocab.txt").read_text() == (tiny_encoder / "vocab.txt").read_text()


def test_legacy_names_and_extra_heads_are_understood(tiny_encoder: Path, folder: Path) -> None:
    def legacy(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        old = {}
        for name, value in weights.items():
            gamma = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            old["bert." + gamma.replace("LayerNorm.bias", "LayerNorm.beta")] = value
        old["cls.predictions.bias"] = torch.zeros(5)
        old["bert.embeddings.position_ids"] = torch.arange(64)
        return old

    rewrite(folder, legacy)
    found, expected = open_encoder(folder).weights(), open_encoder(tiny_encoder).weights()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_missing_pooler_is_made_and_always_the_same(folder: Path) -> None:
    rewrite(folder, lambda weights: {k: v for k, v in weights.items() if not k.startswith("pooler.")})
    one, two = open_encoder(folder).weights(), open_encoder(folder).weights()
    assert one["pooler.dense.weight"].std() > 0
    assert torch.equal(one["pooler.dense.weight"], two["pooler.dense.weight"])


def test_half_precision_weights_become_fp32(folder: Path) -> None:
    rewrite(folder, lambda weights: {name: value.half() for name, value in weights.items()})
    assert {value.dtype for value in open_encoder(folder).weights().values()} == {torch.float32}


def test_a_loaded_encoder_does_not_share_its_weights(tiny_encoder: Path) -> None:
    files = open_encoder(tiny_encoder)
    weights = files.weights()
    encoder = load_encoder(files.config, weights)
    before = weights["pooler.dense.bias"].clone()
    with torch.no_grad():
        encoder.pooler.dense.bias += 1
    assert torch.equal(weights["pooler.dense.bias"], before)


def test_the_fingerprint_follows_weights_and_vocabulary_but_not_the_readme(folder: Path) -> None:
    first = open_encoder(folder).fingerprint
    (folder / "README.md").write_text("a model")
    assert open_encoder(folder).fingerprint == first
    vocabulary = (folder / "vocab.txt").read_text()
    (folder / "vocab.txt").write_text(vocabulary.replace("ban\n", "bann\n"))
    second = open_encoder(folder).fingerprint
    rewrite(folder, lambda weights: {**weights, "pooler.dense.bias": weights["pooler.dense.bias"] + 1})
    assert len({first, second, open_encoder(folder).fingerprint}) == 3


def test_the_tokenizer_neither_cuts_nor_pads_and_lower_cases(folder: Path) -> None:
    tokenizer = open_encoder(folder).tokenizer()
    ids = tokenizer.encode("Ba BE xyz " * 300, add_special_tokens=False).ids
    assert (
        len(ids) == 900 and ids[2] == 1 and ids[:2] == tokenizer.encode("ba be", add_special_tokens=False).ids
    )
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert open_encoder(folder).tokenizer().encode("Ba", add_special_tokens=False).ids == [1]


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncated(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-50])


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def written(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def with_config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: reconfigure(folder, **values)


def lacking_parameter(folder: Path) -> None:
    rewrite(folder, lambda w: {k: v for k, v in w.items() if k != "encoder.layer.1.output.dense.bias"})


def wrong_shape(folder: Path) -> None:
    rewrite(folder, lambda w: {**w, "pooler.dense.bias": torch.zeros(31)})


def unknown_parameter(folder: Path) -> None:
    rewrite(folder, lambda w: {**w, "encoder.layer.2.output.dense.bias": torch.zeros(32)})


def with_numbers(dtype: torch.dtype) -> Callable[[Path], None]:
    return lambda folder: rewrite(
        folder, lambda w: {**w, "pooler.dense.bias": w["pooler.dense.bias"].to(dtype)}
    )


def with_weight(value: float) -> Callable[[Path], None]:
    def change(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights["encoder.layer.1.output.dense.weight"][3, 5] = value
        return weights

    return lambda folder: rewrite(folder, change)


def too_great_for_fp32(folder: Path) -> None:
    rewrite(folder, lambda w: {**w, "pooler.dense.bias": w["pooler.dense.bias"].double() + 1e300})


def with_padding(words: int) -> Callable[[Path], None]:
    """Fill the embedding up, as it is done for the speed of some GPUs."""

    def pad(folder: Path) -> None:
        reconfigure(folder, vocab_size=47 + words)
        name = "embeddings.word_embeddings.weight"
        rewrite(folder, lambda w: {**w, name: torch.cat([w[name], torch.zeros(words, 32)])})

    return pad


def enormous(name: str) -> Callable[[Path], None]:
    def grow(folder: Path) -> None:
        (folder / name).touch()
        os.truncate(folder / name, 200 * 2**30)  # takes no room on the disk

    return grow


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (shutil.rmtree, "no such encoder folder"),
        (without("config.json"), "no config.json"),
        (written("config.json", "{"), "not readable as JSON"),
        (written("config.json", "[]"), "model_type is 'list'"),
        (with_config(model_type="roberta"), "model_type is 'roberta'; only 'bert'"),
        (with_config(hidden_act="relu"), "hidden_act is 'relu'"),
        (with_config(position_embedding_type="relative_key"), "position_embedding_type"),
        (with_config(hidden_size=None), "hidden_size is missing"),
        (with_config(num_hidden_layers="two"), "num_hidden_layers is 'two'"),
        (with_config(hidden_size=-32), "hidden_size is -32"),
        (with_config(vocab_size=True), "vocab_size is True"),
        (with_config(num_attention_heads=5), "no multiple of num_attention_heads 5"),
        (with_config(num_hidden_layers=3), "lacks 16 parameter"),
        (with_config(intermediate_size=50), "config.json asks for (50"),
        (with_config(vocab_size=20), "the vocabulary has 47 words"),
        (without("model.safetensors"), "no model.safetensors"),
        (pickle_only, "pytorch_model.bin is a pickle, which is never loaded"),
        (truncated, "not a whole safetensors file"),
        (written("model.safetensors", ""), "not a whole safetensors file"),
        (
            written("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
            "a pointer of git-lfs",
        ),
        (lacking_parameter, "'encoder.layer.1.output.dense.bias'"),
        (wrong_shape, "pooler.dense.bias has shape (31,)"),
        (unknown_parameter, "'encoder.layer.2.output.dense.bias'"),
        (with_numbers(torch.int32), "pooler.dense.bias is stored as I32; weights are F32, F16, BF16, F64"),
        (with_numbers(torch.float8_e4m3fn), "pooler.dense.bias is stored as F8_E4M3"),
        (with_weight(math.nan), "encoder.layer.1.output.dense.weight holds nan"),
        (with_weight(-math.inf), "encoder.layer.1.output.dense.weight holds -inf"),
        (too_great_for_fp32, "pooler.dense.bias holds inf"),
        (with_padding(48), "the vocabulary has 47 words, but vocab_size in config.json is 95; one of"),
        (enormous("config.json"), "config.json: has 214748364800 bytes; no more than 16 MiB"),
        (enormous("vocab.txt"), "vocab.txt: has 214748364800 bytes; no more than 32 MiB"),
        (enormous("tokenizer.json"), "tokenizer.json: has 214748364800 bytes; no more than 256 MiB"),
        (enormous("tokenizer_config.json"), "tokenizer_config.json: has 214748364800 bytes"),
        (enormous("special_tokens_map.json"), "special_tokens_map.json: has 214748364800 bytes"),
        (enormous("model.safetensors"), "not a whole safetensors file"),
        (without("vocab.txt"), "neither tokenizer.json nor vocab.txt"),
        (written("vocab.txt", "[PAD]\n[UNK]\nword\n"), "vocabulary"),
        (written("tokenizer.json", "{}"), "the vocabulary cannot be read"),
        (written("tokenizer_config.json", "{"), "tokenizer_config.json: cannot be read"),
    ],
)
def test_a_bad_checkpoint_is_refused_in_one_line(
    spoil: Callable[[Path], object], told: str, folder: Path
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    spoil(folder)
    with pytest.raises(UserError) as caught:
        open_encoder(folder)
    assert told in str(caught.value) and str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_embedding_may_be_filled_up_beyond_the_vocabulary(folder: Path) -> None:
    with_padding(47)(folder)
    opened = open_encoder(folder)
    assert (opened.config.vocab_size, opened.note) == (94, "")


def test_an_embedding_that_is_much_larger_than_the_vocabulary_is_told_and_taken(tmp_path: Path) -> None:
    """As some published models are, and as a vocabulary is that was cut short."""
    folder = shutil.copytree(ENCODER, tmp_path / "encoder")
    words = (folder / "vocab.txt").read_text().splitlines(keepends=True)
    (folder / "vocab.txt").write_text("".join(words[:-128]))
    opened = open_encoder(folder)
    assert f"vocab.txt: the vocabulary has {len(words) - 128} words, but vocab_size" in opened.note


@pytest.mark.parametrize("head", ["qa_outputs.weight", "classifier.bias", "cls.predictions.bias"])
def test_a_models_heads_are_left_out_whatever_they_are_called(folder: Path, head: str) -> None:
    rewrite(folder, lambda weights: {f"bert.{name.removeprefix('bert.')}": w for name, w in weights.items()})
    before = open_encoder(folder).weights().keys()
    rewrite(folder, lambda weights: weights | {head: torch.zeros(2, 32)})
    assert open_encoder(folder).weights().keys() == before


def test_a_parameter_that_is_there_twice_is_refused(folder: Path) -> None:
    rewrite(folder, lambda weights: {name.removeprefix("bert."): w for name, w in weights.items()})
    rewrite(folder, lambda weights: weights | {"bert.pooler.dense.bias": torch.ones(32)})
    with pytest.raises(UserError, match=r"pooler\.dense\.bias is there twice, as"):
        open_encoder(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_may_be_of_every_real_number_type(dtype: torch.dtype, folder: Path) -> None:
    with_numbers(dtype)(folder)
    assert open_encoder(folder).weights()["pooler.dense.bias"].dtype == torch.float32


def test_what_the_encoder_has_no_use_for_may_be_anything(folder: Path) -> None:
    unused = {
        "bert.embeddings.position_ids": torch.arange(64),
        "cls.predictions.bias": torch.full((5,), math.nan),
    }
    rewrite(folder, lambda weights: weights | unused)
    assert not unused.keys() & open_encoder(folder).weights().keys()


def test_a_null_in_an_optional_place_means_its_default(folder: Path) -> None:
    reconfigure(folder, type_vocab_size=None)
    files = open_encoder(folder)
    assert files.config.type_vocab_size == 2
    load_encoder(files.config, files.weights())(pack([torch.tensor([5]).numpy()], [1]))
