"""Reading and writing encoders in Hugging Face's on-disk format (safetensors only).

Any folder with ``config.json``, ``model.safetensors`` and a WordPiece vocabulary of a
BERT-family model is read; names and shapes of all parameters are checked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tokenizers import BertWordPieceTokenizer, Tokenizer
from torch import Tensor

from minbert.encoder import BertEncoder, EncoderConfig
from minbert.errors import UserError
from minbert.files.strangers import refuse_irregular
from minbert.files.yaml_dialect import shorten
from minbert.seeds import stream_seed

WEIGHTS = "model.safetensors"
ENCODER_FILES = ("config.json", WEIGHTS, "tokenizer.json", "vocab.txt", "tokenizer_config.json")
_LEGACY = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
_UNUSED = re.compile(r"(^cls\.|position_ids$|^classifier\.)")
_MOST_LAYERS, _LARGEST = 1000, 10_000_000
"""Sizes that no BERT has, so that a damaged config.json asks for no memory."""
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class EncoderFiles:
    """A checkpoint folder whose configuration has been checked."""

    folder: Path
    config: EncoderConfig
    fingerprint: str

    def weights(self) -> dict[str, Tensor]:
        """All parameters by Hugging Face name, fp32, checked for names and shapes.

        A pooler that the checkpoint lacks (masked-language models have none) is initialised
        from a fixed seed.

        Raises:
            UserError: the file changed since it was checked and is not the configured BERT's any more.
        """
        tensors = _read_tensors(self.folder / WEIGHTS)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        _check_shapes(self.folder / WEIGHTS, shapes, self.config)
        if not _has_pooler(tensors):
            tensors |= _fresh_pooler(self.config)
        return {name: tensors[name].float() for name in empty_encoder(self.config).state_dict()}

    def tokenizer(self) -> Tokenizer | BertWordPieceTokenizer:
        """The checkpoint's WordPiece tokenizer."""
        return _read_tokenizer(self.folder)


def open_encoder(folder: Path) -> EncoderFiles:
    """Check a local checkpoint folder.

    Raises:
        UserError: the folder, its configuration, weights or vocabulary is missing or not BERT's.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such encoder folder")
    for name in ENCODER_FILES:
        refuse_irregular(folder / name)
    config = _read_config(folder / "config.json")
    if not (folder / WEIGHTS).is_file():
        others = [path.name for path in folder.glob("*.bin")]
        hint = (
            f" ({others[0]} is a pickle, which is never loaded: convert it to safetensors)" if others else ""
        )
        raise UserError(f"{folder}: no {WEIGHTS}{hint}")
    shapes = _read_shapes(folder / WEIGHTS)
    words = _read_tokenizer(folder).get_vocab_size()
    if words > config.vocab_size:
        raise UserError(
            f"{folder}: the vocabulary has {words} words, but vocab_size in config.json is {config.vocab_size}"
        )
    _check_shapes(folder / WEIGHTS, shapes, config)
    return EncoderFiles(folder, config, _fingerprint(folder))


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
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
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


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of BERT's parameters in a file, from its header alone.

    Raises:
        UserError: the file is not safetensors, is cut short, or its header contradicts itself or the file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return _by_own_name({name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file: {error}") from None


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        raw = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file: {error}") from None
    return _by_own_name(raw)


def _by_own_name(stored: Mapping[str, _Value]) -> dict[str, _Value]:
    """Name parameters as our encoder does, and leave out what it has no use for."""
    named = {}
    for name, value in stored.items():
        clean = name.removeprefix("bert.")
        for old, new in _LEGACY:
            clean = clean.replace(old, new)
        if not _UNUSED.search(clean):
            named[clean] = value
    return named


def _has_pooler(names: Iterable[str]) -> bool:
    return any(name.startswith("pooler.") for name in names)


def _check_shapes(path: Path, found: Mapping[str, tuple[int, ...]], config: EncoderConfig) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in empty_encoder(config).state_dict().items()}
    if not _has_pooler(found):
        expected = {name: shape for name, shape in expected.items() if not _has_pooler([name])}
    missing = sorted(set(expected) - set(found))
    unknown = sorted(set(found) - set(expected))
    if missing or unknown:
        kind, names = ("lacks", missing) if missing else ("has unknown", unknown)
        raise UserError(f"{path}: {kind} {len(names)} parameter(s) of BERT, the first is {names[0]!r}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise UserError(f"{path}: {name} has shape {found[name]}; config.json asks for {shape}")


def _fresh_pooler(config: EncoderConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(stream_seed(0, "pooler"))
    weight = torch.empty(config.hidden_size, config.hidden_size)
    weight.normal_(0.0, config.initializer_range, generator=generator)
    return {"pooler.dense.weight": weight, "pooler.dense.bias": torch.zeros(config.hidden_size)}


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
