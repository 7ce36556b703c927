"""The files by which sentence-transformers makes the sentence vectors that our heads read.

Its modules, in order: the encoder, pooling, BERT's pooler as a dense layer with tanh where a model pools by it, and
the shared layer, another one, where every head reads through it. So each of our models has a counterpart there.
Source of the layout: Reimers and Gurevych 2019; the names are those that all its versions read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.config import TrainConfig
from minbert.weights_file import WEIGHTS


def write_sentence_transformers(folder: Path, config: TrainConfig) -> None:
    """Write them beside an encoder's files and ``heads.safetensors``."""
    encoder = load_file(folder / WEIGHTS)
    pooler = {name: encoder[f"pooler.dense.{name}"] for name in ("weight", "bias")}
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    _write_pooling(folder / "1_Pooling", config, len(pooler["bias"]))
    layers = [pooler] if config.pooling == "pooler" else []
    if config.shared_layer == "all":
        heads = load_file(folder / "heads.safetensors")
        layers.append({name: heads[f"shared.dense.{name}"] for name in ("weight", "bias")})
    for number, layer in enumerate(layers, len(modules)):
        modules.append(("Dense", f"{number}_Dense"))
        _write_dense(folder / f"{number}_Dense", layer)
    listed = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, path) in enumerate(modules)
    ]
    _write_json(folder / "modules.json", listed)
    _write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": config.max_length, "do_lower_case": False}
    )
    _write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})


def _write_pooling(folder: Path, config: TrainConfig, width: int) -> None:
    folder.mkdir()
    settings = {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": config.pooling != "mean",
        "pooling_mode_mean_tokens": config.pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    _write_json(folder / "config.json", settings)


def _write_dense(folder: Path, layer: Mapping[str, Tensor]) -> None:
    folder.mkdir()
    out_features, in_features = layer["weight"].shape
    settings = {
        "in_features": in_features,
        "out_features": out_features,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    _write_json(folder / "config.json", settings)
    weights = {f"linear.{name}": tensor.contiguous() for name, tensor in layer.items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
