"""Reading and writing encoders in Hugging Face's on-disk format (safetensors only).

Any folder with ``config.json``, ``model.safetensors`` and a WordPiece vocabulary of a
BERT-family model is read; names, number types and shapes of all parameters are checked, and their values.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import BertWordPieceTokenizer, Tokenizer
from torch import Tensor

from minbert.encoder import BertEncoder, EncoderConfig
from minbert.errors import UserError
from minbert.files.strangers import refuse_irregular
from minbert.files.yaml_dialect import shorten
from minbert.seeds import stream_seed
from minbert.weights_file import WEIGHTS, has_pooler, parameters, refuse_absent, refuse_no_numbers

ENCODER_FILES = ("config.json", WEIGHTS, "tokenizer.json", "vocab.txt", "tokenizer_config.json")
_VOCABULARY_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_MOST_MIB = {
    "config.json": 16,
    "vocab.txt": 32,
    "tokenizer.json": 256,
    "tokenizer_config.json": 16,
    "special_tokens_map.json": 16,
}
"""Many times what the largest vocabularies, of half a million words, need; these files are read whole."""
_MOST_LAYERS, _LARGEST = 1000, 10_000_000
"""Sizes that no BERT has, so that a damaged config.json asks for no memory."""
_MOST_PADDING = 127
"""Words of the embedding beyond the vocabulary, where it was filled up to a multiple of 128."""


@dataclass(frozen=True)
class EncoderFiles:
    """A checkpoint folder whose configuration has been checked."""

    folder: Path
    config: EncoderConfig
    fingerprint: str
    note: str = ""

    def weights(self) -> dict[str, Tensor]:
        """All parameters by Hugging Face name, fp32, checked for names, number types and shapes.

        A pooler that the checkpoint lacks (masked-language models have none) is initialised
        from a fixed seed.

        Raises:
            UserError: the file changed since it was checked and is not the configured BERT's any more.
        """
        shapes = _shapes(self.config)
        tensors = dict(parameters(self.folder / WEIGHTS, shapes))
        if not has_pooler(tensors):
            tensors |= _fresh_pooler(self.config)
        return {name: tensors[name].float() for name in shapes}

    def tokenizer(self) -> Tokenizer | BertWordPieceTokenizer:
        """The checkpoint's WordPiece tokenizer."""
        return _read_tokenizer(self.folder)


def open_encoder(folder: Path) -> EncoderFiles:
    """Check a local checkpoint folder.

    Raises:
        UserError: the folder, its configuration, weights or vocabulary is missing or not BERT's.
    """
    if not folder.is_dir():
        told = (
            f"is a file; give the folder that it lies in, {folder.parent}"
            if folder.is_file()
            else "no such encoder folder"
        )
        raise UserError(f"{folder}: {told}")
    for name in dict.fromkeys((*ENCODER_FILES, *_VOCABULARY_FILES)):
        refuse_irregular(folder / name)
        _refuse_absurd(folder / name)
    config = _read_config(folder / "config.json")
    refuse_absent(folder)
    note = _checked_vocabulary(folder, config)
    for name, values in parameters(folder / WEIGHTS, _shapes(config)):
        refuse_no_numbers(folder / WEIGHTS, name, values)
    return EncoderFiles(folder, config, _fingerprint(folder), note)


def save_encoder(encoder: BertEncoder, folder: Path, vocabulary_from: Path) -> None:
    """Write an encoder so that :func:`open_encoder` and ``transformers.BertModel`` load it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        **asdict(encoder.config),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    for name in _VOCABULARY_FILES:
        if (vocabulary_from / name).is_file():
            (folder / name).write_bytes((vocabulary_from / name).read_bytes())


def empty_encoder(config: EncoderConfig) -> BertEncoder:
    """An encoder whose parameters hold nothing yet."""
    with torch.device("meta"):
        encoder = BertEncoder(config)
    return encoder


def load_encoder(config: EncoderConfig, weights: dict[str, Tensor]) -> BertEncoder:
    """An encoder with a copy of these weights."""
    encoder = empty_encoder(config)
    # Filling an empty copy instead would import torch's compiler, for half a second.
    encoder.load_state_dict({name: tensor.clone() for name, tensor in weights.items()}, assign=True)
    return encoder


def _refuse_absurd(path: Path) -> None:
    """Refuse a file that would fill the memory when it is read."""
    most = _MOST_MIB.get(path.name)
    if most is not None and path.is_file() and (size := path.stat().st_size) > most * 2**20:
        raise UserError(f"{path}: has {size} bytes; no more than {most} MiB are possible")


def _read_config(path: Path) -> EncoderConfig:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent}: no config.json, so it is no Hugging Face checkpoint") from None
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(raw, dict) or raw.get("model_type") != "bert":
        kind = raw.get("model_type") if isinstance(raw, dict) else type(raw).__name__
        raise UserError(f"{path}: model_type is {shorten(kind)}; only 'bert' checkpoints can be loaded")
    activation = raw.get("hidden_act", "gelu")
    if activation != "gelu":
        raise UserError(f"{path}: hidden_act is {shorten(activation)}; only 'gelu' is supported")
    _refuse_other_positions(path, raw)
    values = {
        field.name: raw[field.name] for field in fields(EncoderConfig) if raw.get(field.name) is not None
    }
    return _checked_config(path, values)


def _refuse_other_positions(path: Path, raw: dict[str, Any]) -> None:
    kind = raw.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise UserError(f"{path}: position_embedding_type is {shorten(kind)}; only 'absolute' is supported")


def _checked_config(path: Path, values: dict[str, Any]) -> EncoderConfig:
    floats = ("layer_norm_eps", "initializer_range")
    for field in fields(EncoderConfig):
        value = values.get(field.name)
        if value is None and field.name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
        ):
            raise UserError(f"{path}: {field.name} is missing")
        number = isinstance(value, float | int) and not isinstance(value, bool)
        if value is not None and not (
            number and value > 0 and (field.name in floats or isinstance(value, int))
        ):
            raise UserError(f"{path}: {field.name} is {shorten(value)}; a positive number is needed")
        most = _MOST_LAYERS if field.name == "num_hidden_layers" else _LARGEST
        if value is not None and value > most:
            raise UserError(f"{path}: {field.name} is {shorten(value)}; at most {most} is possible")
    config = EncoderConfig(**values)
    if config.hidden_size % config.num_attention_heads:
        raise UserError(
            f"{path}: hidden_size {config.hidden_size} is no multiple of num_attention_heads {config.num_attention_heads}"
        )
    return config


def _shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in empty_encoder(config).state_dict().items()}


def _fresh_pooler(config: EncoderConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(stream_seed(0, "pooler"))
    weight = torch.empty(config.hidden_size, config.hidden_size)
    weight.normal_(0.0, config.initializer_range, generator=generator)
    return {"pooler.dense.weight": weight, "pooler.dense.bias": torch.zeros(config.hidden_size)}


def _checked_vocabulary(folder: Path, config: EncoderConfig) -> str:
    """A note on a vocabulary that is shorter than the embedding; empty of others.

    Some published models have embeddings that are larger by thousands of rows, which nothing uses.

    Raises:
        UserError: it is longer than the embedding, or so short that it was cut.
    """
    words = max(_read_tokenizer(folder).get_vocab().values(), default=-1) + 1
    told = f"the vocabulary has {words} words, but vocab_size in config.json is {config.vocab_size}"
    if words > config.vocab_size:
        raise UserError(f"{folder}: {told}")
    name = folder / ("tokenizer.json" if (folder / "tokenizer.json").is_file() else "vocab.txt")
    if 2 * words < config.vocab_size:
        raise UserError(
            f"{name}: {told}; one of the two was cut short or is another model's: use a whole copy"
        )
    if words + _MOST_PADDING < config.vocab_size:
        return f"{name}: {told}; some models are published so, but where the file was cut short, most words are unknown"
    return ""


def _read_tokenizer(folder: Path) -> Tokenizer | BertWordPieceTokenizer:
    whole, vocabulary = folder / "tokenizer.json", folder / "vocab.txt"
    try:
        if whole.is_file():
            tokenizer: Tokenizer | BertWordPieceTokenizer = Tokenizer.from_file(str(whole))
            tokenizer.no_truncation()
            tokenizer.no_padding()
        elif vocabulary.is_file():
            tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=_lowercases(folder))
        else:
            raise UserError(f"{folder}: neither tokenizer.json nor vocab.txt")
    except UserError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exception on a bad file
        raise UserError(f"{folder}: the vocabulary cannot be read: {error}") from None
    for token in ("[CLS]", "[SEP]"):
        if tokenizer.token_to_id(token) is None:
            raise UserError(f"{folder}: the vocabulary lacks {token}")
    return tokenizer


def _lowercases(folder: Path) -> bool:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return True
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("do_lower_case", True))
    except (ValueError, RecursionError, AttributeError, OSError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _fingerprint(folder: Path) -> str:
    """SHA-256 over what determines results: shape, weights and vocabulary."""
    total = hashlib.sha256()
    for name in ENCODER_FILES:
        path = folder / name
        if path.is_file():
            total.update(name.encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:32]
