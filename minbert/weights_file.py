"""The file of an encoder's weights: BERT's parameters under our encoder's names, and what is no such file.

A header may name any number type, and any bytes are numbers of it, so both are looked at before anything is trained.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from minbert.errors import UserError

WEIGHTS = "model.safetensors"
_INDEX = f"{WEIGHTS}.index.json"
_NUMBERS = ("F32", "F16", "BF16", "F64")
_LEGACY = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
_UNUSED = re.compile(r"(^cls\.|position_ids$|^classifier\.)")
_ENCODER = "bert."
_OWN = re.compile(r"(embeddings|encoder|pooler)\.")
_ENOUGH = 512
"""Bytes at a file's beginning that tell what it is."""


def parameters(path: Path, expected: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, Tensor]]:
    """Each parameter's name and values as they are stored, once the header was checked for names, number types and shapes.

    Args:
        path: a safetensors file; one without a pooler (masked-language models have none) gives none.
        expected: shape by the encoder's own name.

    Raises:
        UserError: the file is not safetensors, is cut short, its header contradicts itself or the file, or it holds
            other parameters.
    """
    try:
        with safe_open(path, framework="pt") as file:
            stored = _by_own_name(path, file.keys())
            if not has_pooler(stored):
                expected = {name: shape for name, shape in expected.items() if not has_pooler([name])}
            _check_names(path, stored, expected)
            for name, shape in expected.items():
                header = file.get_slice(stored[name])
                _check_header(path, name, header.get_dtype(), tuple(header.get_shape()), shape)
            for name in expected:
                yield name, file.get_tensor(stored[name])
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: {_told(path) or f'not a whole safetensors file: {error}'}") from None


def has_pooler(names: Iterable[str]) -> bool:
    """Whether parameters of a pooler are among these."""
    return any(name.startswith("pooler.") for name in names)


def refuse_no_numbers(path: Path, name: str, values: Tensor) -> None:
    """Refuse a parameter that holds NaN or, in fp32, an infinity, of which training makes nothing but NaN.

    Raises:
        UserError: it does.
    """
    for extreme in torch.aminmax(values):  # a tenth of the time of isfinite; NaN is both
        if not (value := extreme.float()).isfinite():
            raise UserError(
                f"{path}: {name} holds {value.item()}, and all weights are finite numbers; the file is damaged, or the "
                "training that wrote it had failed: use another copy"
            )


def refuse_absent(folder: Path) -> None:
    """Refuse a folder without the file, and say what lies there in its place.

    Raises:
        UserError: there is none.
    """
    if not (folder / WEIGHTS).is_file():
        hint = _in_its_place(folder)
        raise UserError(f"{folder}: no {WEIGHTS}{f' ({hint})' if hint else ''}")


def _in_its_place(folder: Path) -> str:
    if (folder / _INDEX).exists():
        return f"{_INDEX} tells of weights in several files: save them as one, with a greater max_shard_size"
    if pickles := sorted(path.name for path in folder.glob("*.bin")):
        return f"{pickles[0]} is a pickle, which is never loaded: convert it to safetensors"
    if others := sorted(
        path.name for ending in ("h5", "msgpack", "ckpt*") for path in folder.glob(f"*.{ending}")
    ):
        return f"{others[0]} is TensorFlow's or JAX's: convert it to safetensors"
    return ""


def _by_own_name(path: Path, stored: Collection[str]) -> dict[str, str]:
    """The file's names of parameters by our encoder's, without what it has no use for: heads, whatever they are called."""
    named: dict[str, str] = {}
    has_heads = any(name.startswith(_ENCODER) for name in stored)
    for name in stored:
        clean = name.removeprefix(_ENCODER)
        for old, new in _LEGACY:
            clean = clean.replace(old, new)
        if _UNUSED.search(clean) or (has_heads and clean == name and not _OWN.match(name)):
            continue
        if clean in named:
            raise UserError(f"{path}: {clean} is there twice, as {named[clean]!r} and as {name!r}")
        named[clean] = name
    return named


def _check_names(path: Path, found: Iterable[str], expected: Iterable[str]) -> None:
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        kind, names = ("lacks", missing) if missing else ("has unknown", unknown)
        raise UserError(f"{path}: {kind} {len(names)} parameter(s) of BERT, the first is {names[0]!r}")


def _check_header(path: Path, name: str, number: str, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if number not in _NUMBERS:
        raise UserError(f"{path}: {name} is stored as {number}; weights are {', '.join(_NUMBERS)}")
    if found != shape:
        raise UserError(f"{path}: {name} has shape {found}; config.json asks for {shape}")


def _told(path: Path) -> str:
    """What an unreadable file is instead, and what to do; empty where its beginning does not tell."""
    try:
        with path.open("rb") as file:
            beginning = file.read(_ENOUGH).lstrip().lower()
    except OSError:
        return ""
    if beginning.startswith(b"version https://git-lfs"):
        return "a pointer of git-lfs, not the weights; `git lfs pull` in the repository that it came from gets them"
    if beginning.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not the weights; download the file itself"
    return ""
